"""Optimisers and learning rate: Adam, or Muon, which needs fewer steps for kernels and matrices."""

import math
from collections import defaultdict
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
    """Steps in the direction of the nearest semi-orthogonal matrix to the averaged gradient.

    A kernel of shape (out, in, h, w) is treated as a matrix of shape (out, in h w). The learning rate is on
    Adam's scale. `momentum`, the decay of the running average, is applied as in Nesterov's method.
    """

    def __init__(self, params: Iterable[Tensor], *, lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every tensor that has a gradient, all tensors of one shape together."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for parameters in alike.values():
                self._move(parameters, group["lr"], group["momentum"])

    def _move(self, parameters: list[Tensor], learning_rate: float | Tensor, momentum: float) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["average"] = torch.zeros_like(parameter)
        averages = [self.state[parameter]["average"] for parameter in parameters]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        matrices = torch.stack(gradients).lerp(torch.stack(averages), momentum).flatten(2)
        # A few hundred small products would take longer to start on a GPU than to compute.
        updates = orthogonalise(matrices) * (learning_rate * _ADAM_RMS * max(matrices.shape[1:]) ** 0.5)
        torch._foreach_sub_(parameters, updates.view(-1, *parameters[0].shape).unbind())


def orthogonalise(matrices: Tensor) -> Tensor:
    """Bring all singular values of (B, m, n) matrices close to 1 (0.7 to 1.2). Singular vectors stay."""
    a, b, c = _QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT.contiguous() if tall else x


def adam(parameters: list[Tensor], config: OptimConfig) -> list[Optimizer]:
    """Return Adam for all parameters. On CUDA it is fused and works inside a graph."""
    options = {"fused": True, "capturable": True} if parameters[0].device.type == "cuda" else {}
    return [Adam(parameters, lr=config.learning_rate, betas=config.betas, **options)]


def muon(parameters: list[Tensor], config: OptimConfig) -> list[Optimizer]:
    """Return Muon for all kernels except the first and the last, and Adam for the rest."""
    kernels = [parameter for parameter in parameters if parameter.ndim == 4][1:-1]
    inside = {id(kernel) for kernel in kernels}
    rest = adam([parameter for parameter in parameters if id(parameter) not in inside], config)
    return [*rest, Muon(kernels, lr=config.learning_rate)] if kernels else rest


# To add an optimiser: write its function, add a line here and a name to `facesr.config.optim.Method`.
OPTIMISERS: dict[str, Callable[[list[Tensor], OptimConfig], list[Optimizer]]] = {"adam": adam, "muon": muon}


def cosine_with_restarts(
    iteration: int, *, base: float, floor: float, periods: Sequence[int], warmup: int = 0
) -> float:
    """Return the learning rate of an iteration, counted from 1: one cosine per period (SGDR, no growth).

    The last iteration of a period still belongs to it, and the very first uses the full rate, as in the runs
    that facesr reproduces. After the last period the rate stays at `floor`. In the first `warmup` iterations
    it rises linearly, starting at `1 / warmup` of the rate.
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
