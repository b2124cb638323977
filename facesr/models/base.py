"""What every network states about itself, and running one on any size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Halo:
    """An exact view: nothing farther than `px` LQ pixels from an output pixel counts for it."""

    px: int


@dataclass(frozen=True)
class Margin:
    """An approximate view: what lies farther than `px` LQ pixels away changes too little to be seen."""

    px: int


@dataclass(frozen=True)
class Window:
    """A global view: larger images go through overlapping, blended windows of `px` LQ pixels.

    It is the side of the images that the network was trained on.
    """

    px: int


@dataclass(frozen=True, kw_only=True)
class SizeRule:
    """Which input sizes a network takes; others are padded.

    Attributes:
        minimum: Smallest side, px.
        multiple_of: Divisor of both sides.
        square: Whether both sides must be equal.
    """

    minimum: int = 1
    multiple_of: int = 1
    square: bool = False

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """Return the smallest allowed (height, width) that holds the given one."""
        # Without a needless `max`, so that a network is exported for sizes that are not known yet.
        if self.square:
            height = width = max(height, width)
        if self.minimum > 1:
            height, width = max(self.minimum, height), max(self.minimum, width)
        return height + -height % self.multiple_of, width + -width % self.multiple_of


@dataclass(frozen=True, kw_only=True)
class Traits:
    """The facts about a network that tiling, evaluation, training and export ask for.

    Attributes:
        scale: Enlargement.
        view: How far an output pixel sees, which decides how large images are computed in pieces.
        size: Which input sizes it takes.
        dtypes: Precisions in which its weights may be held, fp32 first, then the preferred half precision.
        channels: 3 for RGB; a network of 1 channel sees red, green and blue one after the other.
        purpose: `sr` enlarges any image; `aligned-face` restores a face in the standard position.
    """

    scale: int
    view: Halo | Margin | Window
    size: SizeRule = SizeRule()
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    channels: Literal[1, 3] = 3
    purpose: Literal["sr", "aligned-face"] = "sr"


class SRNetwork(nn.Module):
    """A network that enlarges (B, 3, h, w) to (B, 3, scale h, scale w), RGB in [0, 1].

    The input is fp32; features run in the dtype of the weights, and the result is fp32 again, since
    half precision near 1 is coarser than a grey level. A constructor takes keyword arguments of JSON types
    only, all with defaults: they are the schema of `config.json` and of `train --set args.NAME=VALUE`.

    Attributes:
        traits: The facts about this instance.
        limits: Allowed values of constructor arguments, as a range or a list of them.
    """

    limits: ClassVar[Mapping[str, Sequence[Any]]] = {}
    traits: Traits

    @classmethod
    def infer_args(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the constructor's arguments from tensors' names and shapes; None if it is another network."""
        raise NotImplementedError


def enlarge(network: SRNetwork, lq: Tensor) -> Tensor:
    """Run the network on any size, padding to one that it takes and cropping the result.

    Args:
        network: On the device of `lq`.
        lq: (B, 3, h, w) fp32 in [0, 1].

    Returns:
        (B, 3, scale h, scale w) fp32, not clamped.
    """
    traits = network.traits
    batch, channels, height, width = lq.shape
    padded_height, padded_width = traits.size.fit(height, width)
    if traits.size != SizeRule():
        lq = F.pad(lq, (0, padded_width - width, 0, padded_height - height), mode="replicate")
    if traits.channels == 1:
        lq = lq.reshape(batch * channels, 1, padded_height, padded_width)
    out: Tensor = network(lq)
    if traits.channels == 1:
        out = out.reshape(batch, channels, *out.shape[2:])
    return out[..., : height * traits.scale, : width * traits.scale]


def count_blocks(shapes: Shapes, pattern: str) -> int:
    """Count the consecutive indices from 0 for which `pattern`, such as `body.{}.weight`, names a tensor."""
    count = 0
    while pattern.format(count) in shapes:
        count += 1
    return count
