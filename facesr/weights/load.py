"""Loads weights by name or path into a network that is ready to run."""

import hashlib
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facesr.config.model import DEFAULT_MODEL, ModelConfig, describe_args
from facesr.device import is_out_of_memory, pick_device, pick_dtype
from facesr.errors import ConfigError, DeviceError, FacesrError, WeightsError
from facesr.models import build_network, resolve_args
from facesr.models.base import SRNetwork, Window, enlarge
from facesr.weights.blend import blend
from facesr.weights.find import WeightFiles, find_model
from facesr.weights.read import check_finite, check_state, identify, read_state, shapes_of

_RAMP_PX = 64


@dataclass(frozen=True)
class Model:
    """A network with its weights, ready for inference on its device.

    Attributes:
        network: An `nn.Module` in evaluation mode, from (B, 3, h, w) to (B, 3, scale h, scale w), RGB in [0,
            1]. The input is fp32, of a size that `network.traits.size` allows. The result is not clamped.
        config: Metadata of its weight folder. For a bare file, only name, architecture and arguments.
        device: Device of the network.
        dtype: Dtype of its weights.
        sha256: Hash of its weight file, hexadecimal.
        notes: Messages for the user, such as why another precision is used, a few words each.
        tf32: Whether fp32 is computed in tf32, on CUDA.
    """

    network: SRNetwork
    config: ModelConfig
    device: torch.device
    dtype: torch.dtype
    sha256: str
    notes: tuple[str, ...] = ()
    tf32: bool = False

    @property
    def precision(self) -> str:
        """Name of the precision of the computation, such as float16 or tf32."""
        return "tf32" if self.tf32 else str(self.dtype).removeprefix("torch.")


def load_model(
    name_or_path: str | Path | WeightFiles = DEFAULT_MODEL,
    *,
    device: str = "auto",
    dtype: str = "auto",
    sharpness: float | None = None,
) -> Model:
    """Load a model by bundled name, weight folder, `.safetensors` or `.pth` file, or Hub repository.

    Half precision is tested on a small image. If it breaks the network on this device, fp32 is used.

    Args:
        name_or_path: Name or path, as for `facesr upscale --model`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        dtype: `auto`, `fp32`, `tf32`, `fp16` or `bf16`.
        sharpness: Sharpness from 0 to 1, as for `facesr upscale --sharpness` (default: the model's own).

    Raises:
        ConfigError: No such model, or a sharpness that it does not have.
        WeightsError: Damaged weights, weights of another network, or a wrong sha256.
        DeviceError: The device or the precision is not available, or the device has too little memory.
    """
    files = (
        name_or_path
        if isinstance(name_or_path, WeightFiles)
        else find_model(str(name_or_path), sharpness=sharpness)
    )
    place = pick_device(device)
    network, config, sha256 = read_network(files)
    precision = pick_dtype(dtype, place, network.traits.dtypes)
    network.requires_grad_(False).eval()
    notes: tuple[str, ...] = (files.note,) if files.note else ()
    try:
        if precision is not torch.float32 and not _is_usable(
            _place(deepcopy(network), place, precision), place
        ):
            half = str(precision).removeprefix("torch.")
            notes += (f"{half} gives no usable image on {place}, so fp32 is used",)
            precision = torch.float32
        network = _place(network, place, precision)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        other = " or use another `--device`" if place.type != "cpu" else ""
        raise DeviceError(
            f"{place} has too little free memory for `{config.name}`",
            hint=f"close other programs that use it{other}",
        ) from error
    return Model(
        network=network,
        config=config,
        device=place,
        dtype=precision,
        sha256=sha256,
        notes=notes,
        tf32=dtype == "tf32",
    )


def _place(network: SRNetwork, device: torch.device, dtype: torch.dtype) -> SRNetwork:
    network.to(device, dtype)
    network.to(memory_format=network.memory_format)  # type: ignore[call-overload]
    return network


@torch.inference_mode()
def _is_usable(network: SRNetwork, device: torch.device) -> bool:
    # Some devices give not-a-number or a black image in half precision, for a ramp from black to white.
    ramp = torch.linspace(0, 1, _RAMP_PX, device=device).expand(1, 3, _RAMP_PX, _RAMP_PX)
    out = enlarge(network, ramp)
    return bool(torch.isfinite(out).all()) and float(out.max() - out.min()) > 1 / 255


def read_network(files: WeightFiles) -> tuple[SRNetwork, ModelConfig, str]:
    """Read, check and build a network in fp32 on the CPU. Return it, its configuration and its sha256.

    The sha256 is that of the weight file. Blended weights have that of a line with both files' sha256 and the
    share.
    """
    state, sha256 = _read_checked(files)
    found = identify(shapes_of(state))
    network, config = _build_foreign(files, state) if found is None else _build_own(files, state, *found)
    return network, replace(config, name=files.name), sha256


def _read_checked(files: WeightFiles) -> tuple[dict[str, Tensor], str]:
    """Return the tensors and the sha256 of their file."""
    if not files.ends:
        sha256 = _checked_sha256(files)
        return read_state(files.tensors), sha256
    (first, first_sha256), (second, second_sha256) = map(_read_checked, files.ends)
    try:
        # What only a sharp sibling has, such as its noise, grows from nothing.
        state = blend(first, second, files.share, missing_as_zero=files.sharpness > 0)
    except WeightsError as error:
        raise WeightsError(
            f"{' and '.join(map(str, files.all_tensors))} cannot be blended, {error.message}",
            hint="blend weights of the same architecture and size",
        ) from error
    return state, hashlib.sha256(f"{first_sha256} {second_sha256} {files.share}".encode()).hexdigest()


def _checked_sha256(files: WeightFiles) -> str:
    try:
        with files.tensors.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{files.tensors}: cannot be read, {error.strerror}") from error
    promised = files.config.sha256 if files.config else ""
    if promised and promised != sha256:
        raise WeightsError(
            f"{files.tensors}: sha256 is {sha256[:12]}…, config.json says {promised[:12]}…",
            hint="the file is damaged or was replaced. Download the weight folder again",
        )
    return sha256


def _build_foreign(files: WeightFiles, state: dict[str, Tensor]) -> tuple[SRNetwork, ModelConfig]:
    from facesr.models.foreign import build_foreign

    if files.config:
        raise WeightsError(f"{files.tensors}: holds no {files.config.arch}, which its config.json says")
    check_finite(state, path=files.tensors)
    try:
        network = build_foreign(state)
    except FacesrError as error:
        raise WeightsError(f"{files.tensors}: holds {error.message}", hint=error.hint) from error
    config = ModelConfig(name=files.name, arch=network.arch, args={}, scale=network.traits.scale)  # type: ignore[arg-type]
    return network, config


def _build_own(
    files: WeightFiles, state: dict[str, Tensor], arch: str, args: dict[str, Any]
) -> tuple[SRNetwork, ModelConfig]:
    config = files.config or ModelConfig(name=files.name, arch=arch, args=args)  # type: ignore[arg-type]
    try:
        resolved = resolve_args(config.arch, config.args)
        # Sizes must agree before anything is built, so that a wrong number asks for no memory. No tensor
        # records a factor.
        sizes = {key: value for key, value in args.items() if not isinstance(value, float)}
        if config.arch != arch or any(resolved[key] != value for key, value in sizes.items()):
            raise WeightsError(
                f"{files.tensors}: holds {arch} ({describe_args(args)}),"
                f" but its config.json says {config.arch} ({describe_args(config.args)})"
            )
        # First without memory: the tensors' names alone can ask for a network of many gigabytes.
        with torch.device("meta"):
            expected = shapes_of(build_network(config.arch, resolved).state_dict())
    except ConfigError as error:
        raise WeightsError(f"{files.tensors}: {error.message}", hint=error.hint) from error
    check_state(state, expected, path=files.tensors, arch=arch)
    network = build_network(config.arch, resolved)
    network.load_state_dict(state)
    traits = network.traits
    if config.scale not in {0, traits.scale}:
        raise WeightsError(
            f"{files.tensors}: enlarges {traits.scale} times, but its config.json says {config.scale}"
        )
    if isinstance(traits.view, Window) and config.patch_px >= traits.size.multiple_of:
        network.traits = replace(traits, view=Window(config.patch_px))
    return network, replace(config, args=resolved, scale=traits.scale)
