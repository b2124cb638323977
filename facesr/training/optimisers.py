"""What moves the weights."""

from collections.abc import Callable

from torch import Tensor
from torch.optim import Adam, Optimizer

from facesr.config.optim import OptimConfig
from facesr.training.muon import Muon


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
