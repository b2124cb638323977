"""Reading tensors from a weight file, and recognising the network that they belong to."""

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from facesr.errors import WeightsError, reason_of
from facesr.models import ARCHITECTURES
from facesr.models.base import Shapes

# How tensors are wrapped, preferred ones first: running averages, then those of one step.
_WRAPPERS = (
    "params_ema", "params-ema", "ema", "g_ema", "params",
    "state_dict", "model_state_dict", "net_g", "generator", "model",
)  # fmt: skip
# What compilers and trainers put before every name.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net_g.", "generator.")

_AGAIN = "download it again"
# How a file starts that holds no tensors, what it is, and what to do.
_NO_WEIGHTS = (
    (rb"$", "an empty file", _AGAIN),
    (rb"version https://git-lfs", "a Git LFS pointer, not the weights", "run `git lfs pull`"),
    (rb"\s*<", "an HTML page, not weights", "download the file itself"),
    (rb"\x1f\x8b|7z\xbc\xaf|Rar!", "an archive, not weights", "unpack it first"),
)
_HEAD_BYTES = 512
_NOT_FINITE = "holds values that are not finite numbers"


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a weight file, unwrapped and with facesr's tensor names.

    Known wrappers (`params_ema`, `state_dict`, `net_g` and so on) are opened, also nested ones. Prefixes of
    compilers and trainers are removed. Other entries of the file are ignored. Code in a pickle is never run.

    Raises:
        WeightsError: A damaged file, a pickle with more than tensors and plain values, no tensors, or a
            truncated file.
    """
    _check_start(path)
    tree = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    while isinstance(tree, Mapping):
        inner = next((tree[name] for name in _WRAPPERS if isinstance(tree.get(name), Mapping)), None)
        if inner is None:
            break
        tree = inner
    state = (
        {str(key): value for key, value in tree.items() if isinstance(value, Tensor)}
        if isinstance(tree, Mapping)
        else {}
    )
    if not state:
        found = f"keys {_some(tree)}" if isinstance(tree, Mapping) else f"a {type(tree).__name__}"
        raise WeightsError(
            f"{path}: no state dict in it, found {found}",
            hint="save the network's `state_dict()` by itself or under `params`",
        )
    # A tensor of one value can pass for one of billions, which would be built and looked through.
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > path.stat().st_size:
        raise WeightsError(f"{path}: the file is truncated: its tensors need more bytes than it has")
    return rename(_without_prefixes(state))


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while True:
        # The first ESRGAN numbers the layers of its `model`, which is no prefix.
        found = [
            (prefix, [key for key in state if key.startswith(prefix) and not key[len(prefix)].isdigit()])
            for prefix in _PREFIXES
        ]
        # A trainer's file may hold a discriminator beside `net_g`.
        chosen = next(
            (one for one in found if one[1] and (len(one[1]) == len(state) or one[0] == "net_g.")), None
        )
        if chosen is None:
            return state
        prefix, keys = chosen
        state = {key[len(prefix) :]: state[key] for key in keys}


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with facesr's names, if they use those of another known layout."""
    for network in ARCHITECTURES.values():
        patterns = [(re.compile(old), new) for old, new in network.aliases]
        renamed = {_renamed(key, patterns): tensor for key, tensor in state.items()}
        if len(renamed) == len(state) and network.infer_args(shapes_of(renamed)) is not None:
            return renamed
    return dict(state)


def _renamed(key: str, patterns: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for pattern, new in patterns:
        if match := pattern.match(key):
            return match.expand(new) + key[match.end() :]
    return key


def _check_start(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read, {reason_of(error)}") from error
    for start, what, hint in _NO_WEIGHTS:
        if re.match(start, head):
            raise WeightsError(f"{path}: {what}", hint=hint)


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except Exception as error:  # a header may lie in any way
        raise WeightsError(f"{path}: truncated or not a safetensors file ({reason_of(error)})") from error


class _Inert:
    """Stands in for a NumPy type in a pickle, such as a score stored with the tensors, and does nothing."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_NUMPY = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")


def _read_pickle(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_archive(path, archive)
        with torch.serialization.safe_globals([(_Inert, name) for name in _NUMPY]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: contains more than plain tensors, or is damaged. Nothing in it was run",
            hint="re-save only its state dict with torch.save, or convert it to .safetensors",
        ) from error
    except Exception as error:  # the bytes of a pickle drive a machine that fails in many ways
        raise WeightsError(f"{path}: truncated or not a PyTorch checkpoint") from error


def _check_archive(path: Path, archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        raise WeightsError(
            f"{path}: a TorchScript program, not weights",
            hint="use the file that it was made from, or save its `state_dict()` with torch.save",
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise WeightsError(
            f"{path}: a zip with {_some(names)} in it", hint="unpack it and name the file inside"
        )
    if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
        raise WeightsError(f"{path}: is compressed and might unpack to any size")


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """Return the shape of every tensor, which is all that `identify` needs."""
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def identify(shapes: Shapes) -> tuple[str, dict[str, Any]] | None:
    """Return the architecture and its constructor's arguments, recognised by the names and shapes of tensors.

    Arguments that no tensor shows are left out. None means that the network is not one of facesr's.
    """
    for arch, network in ARCHITECTURES.items():
        args = network.infer_args(shapes)
        if args is not None:
            return arch, args
    return None


def check_state(state: Mapping[str, Tensor], expected: Shapes, *, path: Path, arch: str) -> None:
    """Reject tensors that do not fit the network, or that are not finite.

    Raises:
        WeightsError: The message names the missing, unexpected, misshapen or broken tensors.
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
        if not _is_finite(state[key]):
            problems.append(f"{key} {_NOT_FINITE}")
            break
    if problems:
        raise WeightsError(f"{path}: does not fit {arch}: {'; '.join(problems)}")


def read_license(path: Path) -> str:
    """Return the licence in the header of a safetensors file, empty without one."""
    if path.suffix.lower() != ".safetensors":
        return ""
    with safe_open(path, framework="pt") as file:
        header: dict[str, str] = file.metadata() or {}
    return header.get("license") or header.get("modelspec.license", "")


def check_finite(state: Mapping[str, Tensor], *, path: Path) -> None:
    """Reject tensors with values that are not finite. Integers, such as counters, are allowed.

    Raises:
        WeightsError: The message names the first such tensor.
    """
    for key, tensor in state.items():
        if tensor.is_floating_point() and not _is_finite(tensor):
            raise WeightsError(f"{path}: {key} {_NOT_FINITE}")


def _is_finite(tensor: Tensor) -> bool:
    try:
        return tensor.is_floating_point() and bool(torch.isfinite(tensor).all())
    except RuntimeError:  # a shape that a header made up
        return False


def _some(names: Any, limit: int = 3) -> str:
    names = [str(name) for name in names]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
