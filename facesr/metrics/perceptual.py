"""LPIPS, a perceptual distance (extra `metrics`)."""

import threading
from functools import cache
from typing import Any

import torch
from torch import Tensor

from facesr.errors import ConfigError, FacesrError, MissingExtra

_SMALLEST_PX = 31  # below it, nothing is left for the pools of AlexNet
_loading = threading.Lock()  # images are scored on several threads, and the first ones come at once


@cache
def _network() -> Any:
    try:
        import lpips as package
    except ImportError as error:
        raise MissingExtra("metrics") from error
    try:
        return package.LPIPS(net="alex", verbose=False).eval().requires_grad_(False)
    except Exception as error:  # the download of its backbone fails in many ways
        raise FacesrError(
            f"LPIPS cannot load its AlexNet backbone ({type(error).__name__})",
            hint="run `facesr eval --metric lpips` once with internet access, which stores the backbone",
        ) from error


@torch.inference_mode()
def lpips(prediction: Tensor, target: Tensor, *, crop: int = 0, y_channel: bool = False) -> Tensor:
    """Return LPIPS (Zhang et al. 2018, AlexNet), 0 for identical images.

    The arguments are those of `psnr`, except that `y_channel` must be off: the backbone needs colour.

    Returns:
        (B,) float64, NaN if a side is below 31 px after the crop.

    Raises:
        MissingExtra: The package is not installed.
        FacesrError: The backbone cannot be loaded.
        ConfigError: `y_channel` is on.
    """
    if y_channel:
        raise ConfigError("LPIPS has no luma version", hint="use `--protocol challenge`")
    a, b = (_prepare(images, crop=crop) for images in (prediction, target))
    if min(a.shape[-2:]) < _SMALLEST_PX:
        return torch.full((len(a),), torch.nan, dtype=torch.float64)
    with _loading:
        network = _network()
    distances: Tensor = network(a, b)
    return distances.flatten().double()


def _prepare(images: Tensor, *, crop: int) -> Tensor:
    images = images.cpu()  # where the network lies
    images = images.clamp(0, 1) if images.is_floating_point() else images.float() / 255
    return images[..., crop : images.shape[-2] - crop, crop : images.shape[-1] - crop] * 2 - 1
