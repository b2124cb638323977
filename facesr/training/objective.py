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

# Of a lattice: the longest period, and how many periods each way share a mean.
_PERIOD_PX, _PERIODS = 16, 8

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


def phase(prediction: Tensor, target: Tensor) -> Tensor:
    """Return how much stronger lattices of 4, 8 and 16 px are than in the target, in grey levels.

    A network that shuffles channels into pixels may give each place within such a period a small offset of
    its own. Of details finer than 3 px the mean at each place is taken, over 128x128 px, and the excess of
    its absolute value over the target's.
    """
    (found, wanted) = (_place_means(images) for images in (prediction, target))
    excess = [(a.abs() - b.abs()).clamp_min(0).mean() for a, b in zip(found, wanted, strict=True)]
    return 255 * reduce(add, excess)


def _place_means(images: Tensor) -> list[Tensor]:
    """Return (B, C, p, p, h, w) for the periods p of 16, 8 and 4 px and windows h by w."""
    height, width = images.shape[-2:]
    fine = images - F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    fine = F.pad(fine, (0, -width % _PERIOD_PX, 0, -height % _PERIOD_PX), mode="replicate")
    places = F.avg_pool2d(F.pixel_unshuffle(fine, _PERIOD_PX), _PERIODS, ceil_mode=True)
    found = [torch.unflatten(places, 1, (-1, _PERIOD_PX, _PERIOD_PX))]
    for period in (8, 4):
        halves = torch.unflatten(torch.unflatten(found[-1], 3, (2, period)), 2, (2, period))
        found.append(halves.mean((2, 4)))
    return [means - means.mean((2, 3), keepdim=True) for means in found]


# To add a loss, (prediction, target) to a scalar: write its function, add a line here and a name to
# `facesr.config.loss.LossName`.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "charbonnier": charbonnier,
    "mse": F.mse_loss,
    "psnr": negative_psnr,
    "phase": phase,
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
