"""The networks, by name, and what can be asked of any of them."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from facesr.errors import ConfigError
from facesr.models.base import Shapes, SRNetwork, enlarge
from facesr.models.edsr import EDSR
from facesr.models.faceunet import FaceUNet
from facesr.models.flip import FlipEnsemble
from facesr.models.msrresnet import MSRResNet

# To add an architecture: write its file, add a line here and a name to `facesr.config.model.Arch`.
ARCHITECTURES: dict[str, type[SRNetwork]] = {
    "msrresnet": MSRResNet,
    "edsr": EDSR,
    "faceunet": FaceUNet,
}


# Beyond these nothing useful is trained, and a typing slip would ask for terabytes.
_LIMITS = {"blocks": 512, "detail_blocks": 512, "features": 1024}


def resolve_args(arch: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Check `args` against the architecture's constructor and fill in its defaults.

    Raises:
        ConfigError: An unknown architecture or argument, or a value out of range.
    """
    if arch not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture `{arch}`", hint=f"known are {', '.join(ARCHITECTURES)}")
    parameters = inspect.signature(ARCHITECTURES[arch]).parameters
    for name, value in args.items():
        if name not in parameters:
            raise ConfigError(f"`{arch}` has no argument `{name}`", hint=f"it has {', '.join(parameters)}")
        kind = type(parameters[name].default)
        if not isinstance(value, (int, float) if kind is float else int) or isinstance(value, bool):
            raise ConfigError(f"`{name}` of `{arch}` must be of type {kind.__name__}, found {value!r}")
        if kind is int and not 1 <= value <= _LIMITS[name]:
            raise ConfigError(f"`{name}` of `{arch}` must be 1 to {_LIMITS[name]}, found {value}")
    return {name: args.get(name, parameter.default) for name, parameter in parameters.items()}


def build_network(arch: str, args: Mapping[str, Any]) -> SRNetwork:
    """Return a freshly initialised network.

    Raises:
        ConfigError: As `resolve_args`.
    """
    resolved = resolve_args(arch, args)
    return ARCHITECTURES[arch](**resolved)


def count_parameters(network: torch.nn.Module) -> int:
    """Return the number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(arch: str, args: Mapping[str, Any], *, height: int = 128, width: int = 128) -> int:
    """Return the multiply-adds of one pass over one (3, height, width) input, computed without running it."""
    with torch.device("meta"):
        network = build_network(arch, args)
        counter = FlopCounterMode(display=False)
        with counter:
            network(torch.empty(1, 3, height, width))
    return counter.get_total_flops() // 2


__all__ = [
    "ARCHITECTURES",
    "FlipEnsemble",
    "SRNetwork",
    "Shapes",
    "build_network",
    "count_multiply_adds",
    "count_parameters",
    "enlarge",
    "resolve_args",
]
