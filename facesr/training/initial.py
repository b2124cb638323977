"""The network that a run starts from."""

import torch
from torch import nn

from facesr.config.model import describe_args
from facesr.config.train import TrainConfig
from facesr.errors import ConfigError, shorten
from facesr.events import Reporter
from facesr.models import build_network, resolve_args
from facesr.models.base import SRNetwork
from facesr.models.blocks import Residual
from facesr.weights.find import find_weights
from facesr.weights.load import read_network

# Of a network's values, when the weights are of another architecture: fewer are no use, and hint at a slip.
_LEAST_SHARE = 0.5

_SHOWN_LAYERS = 5


def initial_network(config: TrainConfig, reporter: Reporter) -> SRNetwork:
    """Build the network with all arguments in `args`, and load the weights in `init` if given.

    Tensors that fit by name and shape are loaded. New residual blocks start by adding nothing, and other
    layers start as in a fresh network. One warning lists what was not loaded.

    Raises:
        ConfigError: There are no such weights, or too few of them fit.
        WeightsError: The weights cannot be read.
    """
    torch.manual_seed(config.seed % 2**63)
    arch, args = config.arch, dict(config.args)
    if config.init is None:
        return build_network(arch, args)
    given, found, _ = read_network(find_weights(config.init))
    found_args = resolve_args(found.arch, found.args)
    if (found.arch, found_args) == (arch, args):
        return given
    network = build_network(arch, args)
    own, weights = network.state_dict(), given.state_dict()
    fitting = {name: w for name, w in weights.items() if name in own and w.shape == own[name].shape}
    difference = (
        f"`--init {config.init}` holds {found.arch} ({describe_args(found_args)}),"
        f" but the run is for {arch} ({describe_args(args)})"
    )
    taken, wanted = (sum(tensor.numel() for tensor in part.values()) for part in (fitting, own))
    share = taken / wanted
    # A bias that fits may be as short as the three colours, so it takes a kernel.
    if all(tensor.ndim < 2 for tensor in fitting.values()) or (found.arch != arch and share < _LEAST_SHARE):
        raise ConfigError(
            f"{difference}, and {share:.0%} of its weights fit",
            hint="give the `--arch`, `--blocks` and `--features` of those weights, or leave out `--init`",
        )
    network.load_state_dict(fitting, strict=False)
    new = own.keys() - fitting.keys()
    for name, module in network.named_modules():
        if isinstance(module, Residual) and any(key.startswith(f"{name}.") for key in new):
            nn.init.zeros_(module.last.weight)
            nn.init.zeros_(module.last.bias)  # type: ignore[arg-type]
    reporter.warn(
        f"{difference}: {share:.0%} of its weights are used"
        + _listed("new layers", [name for name in own if name in new])
        + _listed("not used", [name for name in weights if name not in fitting])
    )
    return network


def _listed(title: str, tensors: list[str]) -> str:
    layers = list(dict.fromkeys(name.rpartition(".")[0] or name for name in tensors))
    return f", {title}: {shorten(layers, limit=_SHOWN_LAYERS)}" if layers else ""
