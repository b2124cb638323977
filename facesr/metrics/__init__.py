"""Measures of how near a prediction is to the truth."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facesr.metrics.fidelity import psnr, ssim
from facesr.metrics.perceptual import lpips


@dataclass(frozen=True)
class Metric:
    """A measure of a (B, 3, H, W) prediction against its target, one value a picture.

    Attributes:
        function: `(prediction, target, *, crop, y_channel) -> (B,)`.
        unit: Shown beside the number.
        higher_is_better: Its direction.
    """

    function: Callable[..., Tensor]
    unit: str
    higher_is_better: bool


# To add a metric: write its function, and a line here.
METRICS: dict[str, Metric] = {
    "psnr": Metric(psnr, "dB", True),
    "ssim": Metric(ssim, "", True),
    "lpips": Metric(lpips, "", False),
}


Scores = dict[str, float]


def measure(
    prediction: NDArray[np.uint8],
    target: NDArray[np.uint8],
    *,
    names: Iterable[str] = ("psnr", "ssim"),
    crop: int = 0,
    y_channel: bool = False,
) -> Scores:
    """Score one (H, W, 3) uint8 picture against its target, by the metrics named."""
    a, b = (torch.from_numpy(np.stack([pixels])).permute(0, 3, 1, 2) for pixels in (prediction, target))
    return {name: float(METRICS[name].function(a, b, crop=crop, y_channel=y_channel)[0]) for name in names}


__all__ = ["METRICS", "Metric", "Scores", "measure", "psnr", "ssim"]
