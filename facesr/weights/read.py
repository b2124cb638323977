"""Reading tensors from a weight file and telling whose they are."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from facesr.errors import WeightsError, reason_of
from facesr.models import ARCHITECTURES
from facesr.models.base import Shapes

# Keys that give other people's networks away, so that the error can name what was found.
_FOREIGN = {
    "body.0.rdb1.conv1.weight": "RRDBNet (Real-ESRGAN, ESRGAN)",
    "model.1.sub.0.RDB1.conv1.0.weight": "RRDBNet in the first ESRGAN layout",
    "stylegan_decoder.style_mlp.1.weight": "GFPGAN",
    "quantize.embedding.weight": "CodeFormer or another VQGAN",
    "layers.0.residual_group.blocks.0.norm1.weight": "SwinIR",
    "head.0.weight": "EDSR in the EDSR-PyTorch or super-image layout",
    "upsample.0.upsample_conv.weight": "EDSR in the mmagic layout",
    "generator.conv_first.weight": "a network in the mmagic layout",
    "params_d": "a discriminator",
    "body.1.weight": "SRVGGNetCompact (Real-ESRGAN)",
}


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from `.safetensors` or `.pth`, unwrapped and without `module.` prefixes.

    In a `.pth` the tensors may stand under `params_ema` (preferred), under `params`, or bare, and in the
    checkpoint of a run under `ema`. Code in a pickle is never run.

    Raises:
        WeightsError: A damaged file, a pickle that holds more than tensors, no tensors in it, or tensors that
            promise more than the file holds.
    """
    tree = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    for wrapper in ("params_ema", "params", "ema"):
        if isinstance(tree, Mapping) and isinstance(tree.get(wrapper), Mapping):
            tree = tree[wrapper]
            break
    if not isinstance(tree, Mapping) or not tree or not all(isinstance(v, Tensor) for v in tree.values()):
        found = f"keys {_some(tree)}" if isinstance(tree, Mapping) else f"a {type(tree).__name__}"
        raise WeightsError(
            f"{path}: no state dict in it, found {found}",
            hint="tensors are read from `params_ema`, `params` or the top level",
        )
    # A tensor of one value can pass for one of billions, which would be built and looked through.
    if sum(tensor.numel() * tensor.element_size() for tensor in tree.values()) > path.stat().st_size:
        raise WeightsError(f"{path}: holds less than its tensors promise")
    return {str(key).removeprefix("module."): tensor for key, tensor in tree.items()}


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except Exception as error:  # a header may lie in any way
        raise WeightsError(f"{path}: truncated or not a safetensors file ({reason_of(error)})") from error


def _read_pickle(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                    raise WeightsError(f"{path}: is compressed and might unpack to any size")
        return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: holds more than plain tensors, or is damaged; nothing in it was run",
            hint="re-save only its state dict with torch.save, or convert it to .safetensors",
        ) from error
    except Exception as error:  # the bytes of a pickle drive a machine that fails in many ways
        raise WeightsError(f"{path}: truncated or not a PyTorch checkpoint") from error


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """Return the shape of every tensor, all that `identify` needs."""
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def identify(shapes: Shapes, *, path: Path) -> tuple[str, dict[str, Any]]:
    """Return the architecture and its constructor's arguments from names and shapes of tensors.

    Raises:
        WeightsError: The tensors belong to no supported architecture.
    """
    for arch, network in ARCHITECTURES.items():
        args = network.infer_args(shapes)
        if args is not None:
            return arch, args
    foreign = next((name for key, name in _FOREIGN.items() if key in shapes), None)
    found = foreign or f"tensors named {_some(shapes)}"
    raise WeightsError(
        f"{path}: not a supported network, found {found}",
        hint=f"supported are {', '.join(ARCHITECTURES)}, 4x, in BasicSR's layout",
    )


def check_state(state: Mapping[str, Tensor], expected: Shapes, *, path: Path, arch: str) -> None:
    """Refuse tensors that do not fit the network, or that are not finite.

    Raises:
        WeightsError: Names the missing, unexpected, misshapen or broken tensors.
    """
    problems = []
    shapes = shapes_of(state)
    if missing := expected.keys() - shapes.keys():
        problems.append(f"missing {_some(sorted(missing))}")
    if unexpected := shapes.keys() - expected.keys():
        problems.append(f"unexpected {_some(sorted(unexpected))}")
    for key in sorted(expected.keys() & shapes.keys()):
        if shapes[key] != expected[key]:
            problems.append(f"{key} is {shapes[key]} instead of {expected[key]}")
            break
        if not state[key].is_floating_point() or not bool(torch.isfinite(state[key]).all()):
            problems.append(f"{key} holds values that are not finite numbers")
            break
    if problems:
        raise WeightsError(f"{path}: does not fit {arch}: {'; '.join(problems)}")


def _some(names: Any, limit: int = 3) -> str:
    names = [str(name) for name in names]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
