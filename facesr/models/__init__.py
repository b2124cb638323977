"""The networks by name, and what you can ask of any of them."""

import inspect
import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, get_type_hints

import torch
from torch.utils.flop_counter import FlopCounterMode

from facesr.errors import ConfigError
from facesr.models.base import SRNetwork, enlarge
from facesr.models.edsr import EDSR
from facesr.models.faceunet import FaceUNet
from facesr.models.msrresnet import MSRResNet
from facesr.models.rrdbnet import RRDBNet
from facesr.models.srvgg import SRVGG

# To add an architecture: write its file, add a line here and a name to `facesr.config.model.Arch`.
ARCHITECTURES: dict[str, type[SRNetwork]] = {
    "msrresnet": MSRResNet,
    "edsr": EDSR,
    "faceunet": FaceUNet,
    "rrdbnet": RRDBNet,
    "srvgg": SRVGG,
}


def resolve_args(arch: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Check `args` against the architecture's constructor, and fill in its defaults.

    Values may have any JSON type that the constructor's annotations allow. Lists become tuples.

    Raises:
        ConfigError: An unknown architecture or argument, or a value of a wrong type or out of range.
    """
    if arch not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture `{arch}`", hint=f"known are {', '.join(ARCHITECTURES)}")
    parameters = inspect.signature(ARCHITECTURES[arch]).parameters
    if unknown := args.keys() - parameters.keys():
        raise ConfigError(
            f"`{arch}` has no argument `{min(unknown)}`", hint=f"it has {', '.join(parameters)}"
        )
    return {
        name: _check_arg(arch, name, args[name]) if name in args else parameter.default
        for name, parameter in parameters.items()
    }


def _check_arg(arch: str, name: str, value: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    network = ARCHITECTURES[arch]
    kind = get_type_hints(network.__init__)[name]
    try:  # as JSON, in which a list may stand for a tuple but `true` not for 1
        value = TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError, ValueError):
        expected = getattr(kind, "__name__", str(kind))
        raise ConfigError(f"`{name}` of `{arch}` must be of type {expected}, found {value!r}") from None
    limits = network.limits.get(name)
    if limits is not None and value not in limits:
        allowed = f"{limits[0]} to {limits[-1]}" if isinstance(limits, range) else ", ".join(map(str, limits))
        raise ConfigError(f"`{name}` of `{arch}` must be {allowed}, found {value}")
    return value


def build_network(arch: str, args: Mapping[str, Any]) -> SRNetwork:
    """Return a freshly initialised network. Errors are those of `resolve_args`."""
    resolved = resolve_args(arch, args)
    return ARCHITECTURES[arch](**resolved)


def count_parameters(network: torch.nn.Module) -> int:
    """Return the number of trainable values."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: SRNetwork) -> int:
    """Return the multiply-adds of one pass over a 128x128 image, computed without running the network.

    If the network only takes larger images, it is one of the smallest of these.
    """
    counter = FlopCounterMode(display=False)
    network = deepcopy(network).to("meta").eval()
    with torch.device("meta"), counter:
        enlarge(network, torch.empty(1, 3, 128, 128))
    return counter.get_total_flops() // 2
