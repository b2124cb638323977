"""The training objective: a sum of losses, some of which get a fixed share of the gradient."""

from collections.abc import Mapping
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from facesr.config.loss import DiscriminatorConfig, LossConfig, LossName
from facesr.degradation.kernels import usm_sharpen
from facesr.training.adversary import Adversary
from facesr.training.losses import make_loss

Value = TypeVar("Value", Tensor, float)

# Of the running mean of what a share comes to as a weight.
_DECAY = 0.99


class Objective:
    """Compares results with HQ, using the losses of the configuration that count, in its order.

    A loss with a weight is added to the sum. For a loss with a share, its gradient on the results is scaled
    to that share of the norm of the sum's gradient. The scale of such a loss does not matter.
    """

    def __init__(
        self,
        losses: Mapping[LossName, LossConfig],
        discriminator: DiscriminatorConfig | None = None,
        device: torch.device | None = None,
        *,
        weights: Path | None = None,
    ) -> None:
        self._losses: dict[str, LossConfig] = {name: one for name, one in losses.items() if one.counts}
        self._shares = {name: one for name, one in self._losses.items() if one.share}
        self._functions = {name: make_loss(name, weights=weights) for name in self._losses if name != "gan"}
        self.adversary: Adversary | None = None
        if "gan" in self._losses:
            self.adversary = Adversary(discriminator or DiscriminatorConfig(), device or torch.device("cpu"))
            self._functions["gan"] = self.adversary.loss
        self.names = (*self._losses, *(["discriminator"] if self.adversary else []))
        # What the shares came to as weights, in the order of `_shares`.
        self._weights = torch.zeros(len(self._shares), device=device)

    def __call__(self, prediction: Tensor, hq: Tensor, *, step: int = 0) -> tuple[dict[str, Tensor], Tensor]:
        """Return each loss by name, without its weight, and a scalar to call `backward` on.

        With neither shares nor a discriminator, the scalar is the weighted sum. Otherwise only its gradient
        is of use. This call also trains the discriminator.

        Args:
            prediction: (B, 3, H, W), RGB, not clamped.
            hq: Ground truth of the same shape, in [0, 1].
            step: Steps done, for losses that start later. Until then they are reported as 0.
        """
        targets = {"hq": hq}
        if any(one.target == "sharpened" for one in self._losses.values()):
            targets["sharpened"] = usm_sharpen(hq)
        # Shares need the gradient on the results, and so does a discriminator, whose weights change below.
        apart = self._shares or self.adversary
        results = prediction.detach().requires_grad_() if apart else prediction
        values: dict[str, Tensor] = {}
        for name, one in self._losses.items():
            if step < one.start:
                values[name] = hq.new_zeros(())
            else:
                values[name] = self._functions[name](*_part(results, targets[one.target], one.part_px))
        total = self.total(values)
        if apart:
            total = (prediction * self._gradient(results, total, values)).sum()
        if self.adversary:
            part_px = self._losses["gan"].part_px
            values["discriminator"] = self.adversary.learn(*_part(results, hq, part_px))
        return values, total

    def _gradient(self, results: Tensor, total: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Return the gradient of all losses on the results, and update the weights that shares amount to."""
        (gradient,) = torch.autograd.grad(total, results)
        norm = _norm(gradient)
        parts = []
        for index, (name, one) in enumerate(self._shares.items()):
            if values[name].requires_grad:  # it has begun
                (part,) = torch.autograd.grad(values[name], results)
                length = _norm(part)
                weight = (one.share * norm / length).clamp_max(one.cap or float("inf"))
                mean = self._weights[index]
                new = torch.where(mean == 0, weight, mean.lerp(weight, 1 - _DECAY))
                mean.copy_(torch.where(length > 0, new, mean))  # a loss of 0 tells nothing of its scale
                parts.append(part * mean)
        return reduce(add, parts, gradient)

    def total(self, values: Mapping[str, Value]) -> Value:
        """Return the weighted sum of losses given by name, without those that have a share."""
        return reduce(
            add,
            (values[name] * one.weight for name, one in self._losses.items() if name not in self._shares),
        )

    def state(self) -> dict[str, Any]:
        """Return what must be kept between two steps."""
        weights = dict(zip(self._shares, self._weights.tolist(), strict=True))
        return {"weights": weights, "adversary": self.adversary.state() if self.adversary else None}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned, for those losses that had started."""
        for index, name in enumerate(self._shares):
            self._weights[index] = state["weights"].get(name, 0.0)
        if self.adversary and state["adversary"]:
            self.adversary.load_state(state["adversary"])


def _norm(gradient: Tensor) -> Tensor:
    """Return the norm over the whole batch, of which each process has a part."""
    norm: Tensor = gradient.norm()
    if dist.is_initialized():
        square = norm.square()
        dist.all_reduce(square)
        norm = square.sqrt()
    return norm


def _part(results: Tensor, target: Tensor, part_px: int) -> tuple[Tensor, Tensor]:
    """Crop the same random square from both, or all of a smaller image. A side of 0 does not crop."""
    if not part_px:
        return results, target
    top, left = (int(torch.randint(max(0, side - part_px) + 1, ())) for side in results.shape[-2:])
    rows, columns = slice(top, top + part_px), slice(left, left + part_px)
    return results[..., rows, columns], target[..., rows, columns]
