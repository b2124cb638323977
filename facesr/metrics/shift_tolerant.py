"""ST-LPIPS, a perceptual distance that small shifts change little (Ghildyal and Liu 2022).

Its values are not comparable with LPIPS. The weights are data files of the package `stlpips_pytorch`, or come
from a folder. No code of that package is run.
"""

import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from facesr.errors import ConfigError, MissingExtra, WeightsError
from facesr.metrics.data_files import folders

Trunk = Literal["alex", "vgg"]

SMALLEST_PX = 64
_loading = threading.Lock()  # images are scored on several threads, and the first ones come at once

# What each slice of a trunk does. The numbers name the layers that have weights.
_SLICES: dict[Trunk, tuple[tuple[str, ...], ...]] = {
    "alex": (
        ("conv 0", "blur", "relu"),
        ("max", "blur", "conv 5", "relu"),
        ("max", "blur", "conv 9", "relu"),
        ("conv 11", "relu"),
        ("conv 13", "relu"),
    ),
    "vgg": (
        ("conv 0", "relu", "conv 2", "relu"),
        ("max", "blur", "conv 6", "relu", "conv 8", "relu"),
        ("max", "blur", "conv 12", "relu", "conv 14", "relu", "conv 16", "relu"),
        ("max", "blur", "conv 20", "relu", "conv 22", "relu", "conv 24", "relu"),
        ("max", "blur", "conv 28", "relu", "conv 30", "relu", "conv 32", "relu"),
    ),
}
_MAX_PX = {"alex": 3, "vgg": 2}  # side of the windows of the pools


def stlpips(
    prediction: Tensor,
    target: Tensor,
    *,
    trunk: Trunk = "alex",
    crop: int = 0,
    y_channel: bool = False,
    weights: Path | None = None,
) -> Tensor:
    """Return the ST-LPIPS distance, 0 for identical images. It is differentiable, so it can be a loss.

    Args:
        prediction: (B, 3, H, W), uint8 or float RGB in [0, 1], neither rounded nor clamped.
        target: The same shape.
        trunk: Network whose features are compared.
        crop: Pixels to ignore along each border.
        y_channel: Must be off, since the networks need colour.
        weights: Folder with `stlpips_alex.safetensors` and `stlpips_vgg.safetensors`, or with the files of
            the package. Without one, or if it lacks them, the installed package is used.

    Returns:
        (B,) float32 on the device of the images, NaN if a side is below 64 px after the crop.

    Raises:
        MissingExtra: The package is not installed.
        WeightsError: The file cannot be read, or lacks tensors.
        ConfigError: `y_channel` is on, or there is a folder and the file is nowhere.
    """
    if y_channel:
        raise ConfigError("ST-LPIPS has no luma version", hint="use `--protocol challenge`")
    height, width = (side - 2 * crop for side in prediction.shape[-2:])
    if min(height, width) < SMALLEST_PX:
        return torch.full((len(prediction),), torch.nan, device=prediction.device)
    with _loading:
        tensors = _load(trunk, find_stlpips(trunk, weights), prediction.device)
    rows, columns = slice(crop, crop + height), slice(crop, crop + width)
    both = [_features(images[..., rows, columns], tensors, trunk) for images in (prediction, target)]
    total = torch.zeros(len(prediction), device=prediction.device)
    for number, (a, b) in enumerate(zip(*both, strict=True)):
        linear = tensors[f"lin{number}.model.1.weight"]
        total = total + functional.conv2d((a - b).square(), linear).mean((1, 2, 3))
    return total


def _features(images: Tensor, tensors: dict[str, Tensor], trunk: Trunk) -> Iterator[Tensor]:
    """Yield the output of each slice of the trunk for (B, 3, H, W), normalised to length 1 per position."""
    images = images.float() / (1 if images.is_floating_point() else 255) * 2 - 1
    values = (images - tensors["scaling_layer.shift"]) / tensors["scaling_layer.scale"]
    for number, layers in enumerate(_SLICES[trunk]):
        for layer in layers:
            values = _apply(layer, values, tensors, f"net.slice{number + 1}", trunk)
        # The root of 0 has no gradient, and a flat region can leave features that are all 0.
        norm = values.square().sum(1, keepdim=True).clamp(min=1e-20).sqrt()
        yield values / (norm + 1e-10)


def find_stlpips(trunk: Trunk, weights: Path | None = None) -> Path:
    """Return the file of the weights, without reading it or running code of the package.

    Raises:
        MissingExtra: There is neither a folder nor the package.
        ConfigError: There is a folder, and neither it nor the package has the file.
    """
    names = (f"stlpips_{trunk}.safetensors", f"{trunk}_shift_tolerant.pth")
    for folder in folders("stlpips_pytorch", "weights/vST0.0", named=weights):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    if weights is None:
        raise MissingExtra("metrics")
    raise ConfigError(
        f"no {' or '.join(names)} in {weights}",
        hint="give the folder that holds it with `--metric-weights`, in a training with"
        " `--set metric_weights=FOLDER`, or install the extra `metrics`",
    )


@cache
def _load(trunk: Trunk, path: Path, device: torch.device) -> dict[str, Tensor]:
    try:
        if path.suffix == ".pth":
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        else:
            tensors = load_file(path)
        names = [name for name in _names(trunk) if name not in tensors]
    except Exception as error:  # of a damaged file, which has many kinds
        raise WeightsError(f"{path}: cannot be read as the weights of ST-LPIPS ({error})") from error
    if names:
        raise WeightsError(f"{path}: lacks {names[0]}, so it does not hold the weights of ST-LPIPS {trunk}")
    return {name: tensors[name].float().to(device) for name in _names(trunk)}


def _names(trunk: Trunk) -> list[str]:
    names = ["scaling_layer.shift", "scaling_layer.scale"]
    for number, layers in enumerate(_SLICES[trunk]):
        names.append(f"lin{number}.model.1.weight")
        convolutions = [layer.split()[1] for layer in layers if layer.startswith("conv")]
        prefixes = [f"net.slice{number + 1}.{index}" for index in convolutions]
        names += [f"{prefix}.{part}" for prefix in prefixes for part in ("weight", "bias")]
    return names


def _apply(layer: str, values: Tensor, tensors: dict[str, Tensor], slice_name: str, trunk: Trunk) -> Tensor:
    kind, _, index = layer.partition(" ")
    if kind == "relu":
        return functional.relu(values)
    if kind == "max":
        return functional.max_pool2d(values, _MAX_PX[trunk], stride=1)
    if kind == "blur":
        return _blur(values)
    weight, bias = (tensors[f"{slice_name}.{index}.{part}"] for part in ("weight", "bias"))
    side = weight.shape[-1]
    return functional.conv2d(values, weight, bias, padding=2 if side == 11 else side // 2)


def _blur(values: Tensor) -> Tensor:
    channels = values.shape[1]
    kernel = _blur_kernel(values.device).expand(channels, 1, 3, 3)
    return functional.conv2d(_reflect(values), kernel, stride=2, groups=channels)


@cache
def _blur_kernel(device: torch.device) -> Tensor:
    line = torch.tensor([0.25, 0.5, 0.25], device=device)
    return torch.outer(line, line)


def _reflect(values: Tensor) -> Tensor:
    """Pad (B, C, h, w) by 2 px on each side, reflected."""
    if not torch.are_deterministic_algorithms_enabled():
        return functional.pad(values, (2, 2, 2, 2), mode="reflect")
    for axis in (2, 3):  # slower, but on CUDA there is no deterministic gradient of the above
        starts = (1, values.shape[axis] - 3)
        before, after = (values.narrow(axis, start, 2).flip(axis) for start in starts)
        values = torch.cat([before, values, after], axis)
    return values
