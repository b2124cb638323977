"""The sum of losses that training lowers."""

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import TypeVar

from torch import Tensor

from facesr.config.loss import LossConfig, LossName
from facesr.degradation.kernels import usm_sharpen
from facesr.training.losses import LOSSES

Value = TypeVar("Value", Tensor, float)


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
