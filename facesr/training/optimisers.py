"""What moves the weights, and how far: Adam, or Muon, which needs fewer steps for kernels and matrices."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from facesr.config.optim import OptimConfig

# Of the quintic iteration that drives all singular values to about 1 (Jordan et al. 2024).
_QUINTIC = (3.4445, -4.7750, 2.0315)

_ITERATIONS = 5

# The root mean square of Adam's updates, so that both take the same learning rate (Liu et al. 2025).
_ADAM_RMS = 0.2


class Muon(Optimizer):
    """Steps along the nearest semi-orthogonal matrix to the averaged gradient.

    A kernel of shape (out, in, h, w) is taken as a matrix of shape (out, in h w). The learning rate is on
    Adam's scale, and momentum, the decay of the running average, is applied in Nesterov's way.
    """

    def __init__(self, params: Iterable[Tensor], *, lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every tensor that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group["lr"], group["momentum"])

    def _move(self, parameter: Tensor, gradient: Tensor, learning_rate: float, momentum: float) -> None:
        state = self.state[parameter]
        if not state:
            state["average"] = torch.zeros_like(parameter)
        average = state["average"].lerp_(gradient, 1 - momentum)
        matrix = gradient.lerp(average, momentum).flatten(1)
        update = orthogonalise(matrix).mul_(_ADAM_RMS * max(matrix.shape) ** 0.5)
        parameter.sub_(update.view(parameter.shape), alpha=learning_rate)


def orthogonalise(matrix: Tensor) -> Tensor:
    """Bring all singular values of an (m, n) matrix near 1 (0.7 to 1.2), keeping its singular vectors."""
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = (matrix.mT if tall else matrix) / (matrix.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT.contiguous() if tall else x


def adam(parameters: list[Tensor], config: OptimConfig) -> list[Optimizer]:
    """Return Adam for all parameters."""
    return [Adam(parameters, lr=config.learning_rate, betas=config.betas)]


def muon(parameters: list[Tensor], config: OptimConfig) -> list[Optimizer]:
    """Return Muon for all kernels but the first and the last, and Adam for the rest."""
    kernels = [parameter for parameter in parameters if parameter.ndim == 4][1:-1]
    inside = {id(kernel) for kernel in kernels}
    rest = adam([parameter for parameter in parameters if id(parameter) not in inside], config)
    return [*rest, Muon(kernels, lr=config.learning_rate)] if kernels else rest


# To add an optimiser: write its function, add a line here and a name to `facesr.config.optim.Method`.
OPTIMISERS: dict[str, Callable[[list[Tensor], OptimConfig], list[Optimizer]]] = {"adam": adam, "muon": muon}


def cosine_with_restarts(
    iteration: int, *, base: float, floor: float, periods: Sequence[int], warmup: int = 0
) -> float:
    """Return the learning rate of an iteration from 1, cosine within each period (SGDR, without growth).

    The last iteration of a period still belongs to it, and the first of all uses the full rate, as in the
    runs that are reproduced. After the last period the rate stays at the floor. In the first `warmup`
    iterations it rises linearly, from `1 / warmup` of itself.
    """
    passed, start = iteration - 1, 0
    for period in periods:
        if passed <= start + period:
            phase = (passed - start) / period
            rate = floor + (base - floor) * (1 + math.cos(math.pi * phase)) / 2
            break
        start += period
    else:
        rate = floor
    return rate * min(1.0, iteration / warmup) if warmup else rate
