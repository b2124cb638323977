"""What training minimises."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_CHARBONNIER_EPSILON = 1e-3


def charbonnier(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean of sqrt(d^2 + 1e-6), an absolute error that is smooth at 0 (Lai et al. 2017)."""
    return torch.sqrt((prediction - target).square() + _CHARBONNIER_EPSILON**2).mean()


# By the names in `facesr.config.train.Loss`: (prediction, target) to a scalar.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "charbonnier": charbonnier,
    "mse": F.mse_loss,
}
