"""What training minimises."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

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
