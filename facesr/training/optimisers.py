"""What moves the weights."""

import torch
from torch import Tensor

from facesr.config.optim import OptimConfig
from facesr.training.muon import Muon


def build_optimisers(parameters: list[Tensor], config: OptimConfig) -> list[torch.optim.Optimizer]:
    """Return what moves the weights: Adam, or Muon for the kernels inside and Adam for the rest."""
    kernels = [parameter for parameter in parameters if parameter.ndim == 4][1:-1]
    inside = {id(kernel) for kernel in kernels} if config.method == "muon" else set()
    rest = [parameter for parameter in parameters if id(parameter) not in inside]
    adam = torch.optim.Adam(rest, lr=config.learning_rate, betas=config.betas)
    return [adam, Muon(kernels, lr=config.learning_rate)] if inside else [adam]
