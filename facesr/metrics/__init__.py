"""Measures of how near a prediction is to the truth."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from facesr.metrics.fidelity import psnr, ssim


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
}

__all__ = ["METRICS", "Metric", "psnr", "ssim"]
