"""What training lowers: a sum of losses."""

from collections.abc import Callable, Mapping
from functools import reduce
from operator import add
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from facesr.config.loss import LossConfig, LossName
from facesr.degradation.kernels import usm_sharpen

Value = TypeVar("Value", Tensor, float)

_CHARBONNIER_EPSILON = 1e-3

_PSNR_EPSILON = 1e-8  # of the squared error, which bounds the PSNR at 80 dB and keeps the gradient finite


def charbonnier(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean of sqrt(d^2 + 1e-6), an absolute error that is smooth at 0 (Lai et al. 2017)."""
    return torch.sqrt((prediction - target).square() + _CHARBONNIER_EPSILON**2).mean()


def negative_psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean of 10 log10(MSE) over images in [0, 1], their PSNR in dB with the sign changed.

    Unlike under the mean squared error, images that can be restored well count as much as those that cannot
    (Chen et al. 2022, NAFNet).
    """
    errors = (prediction - target).square().mean((1, 2, 3))
    return 10 * torch.log10(errors + _PSNR_EPSILON).mean()


# To add a loss, (prediction, target) to a scalar: write its function, add a line here and a name to
# `facesr.config.loss.LossName`.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "charbonnier": charbonnier,
    "mse": F.mse_loss,
    "psnr": negative_psnr,
}


class Objective:
    """Compares results with HQ by those losses of a configuration whose weight is above 0, in its order."""

    def __init__(self, losses: Mapping[LossName, LossConfig]) -> None:
        self._losses: dict[str, LossConfig] = {name: one for name, one in losses.items() if one.weight > 0}
        self.names = tuple(self._losses)

    def __call__(self, prediction: Tensor, hq: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return each loss by its name, without its weight, and the weighted sum, all of them scalars.

        Args:
            prediction: (B, 3, H, W), RGB, not clamped.
            hq: Ground truth of the same shape, in [0, 1].
        """
        targets = {"hq": hq}
        if any(one.target == "sharpened" for one in self._losses.values()):
            targets["sharpened"] = usm_sharpen(hq)
        values = {name: LOSSES[name](prediction, targets[one.target]) for name, one in self._losses.items()}
        return values, self.total(values)

    def total(self, values: Mapping[str, Value]) -> Value:
        """Return the weighted sum of losses by name."""
        return reduce(add, (values[name] * one.weight for name, one in self._losses.items()))
