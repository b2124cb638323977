"""What every network declares about itself, and running it on any size or twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Halo:
    """An exact receptive field: pixels farther than `px` LQ pixels from an output pixel do not affect it."""

    px: int

    def __str__(self) -> str:
        return f"exact halo, {self.px} px"


@dataclass(frozen=True)
class Margin:
    """An approximate receptive field: pixels farther than `px` LQ pixels away have no visible effect."""

    px: int

    def __str__(self) -> str:
        return f"margin, {self.px} px"


@dataclass(frozen=True)
class Window:
    """A global receptive field. Larger images are computed in blended windows of `px` LQ pixels."""

    px: int

    def __str__(self) -> str:
        return f"windows, {self.px} px"


@dataclass(frozen=True, kw_only=True)
class SizeRule:
    """Which input sizes a network takes, in px. Other sizes are padded."""

    minimum: int = 1  # of the smaller side
    multiple_of: int = 1  # of both sides
    square: bool = False

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """Return the smallest allowed (height, width) that covers the given one."""
        # Without a needless `max`, so that a network is exported for sizes that are not known yet.
        if self.square:
            height = width = max(height, width)
        if self.minimum > 1:
            height, width = max(self.minimum, height), max(self.minimum, width)
        return height + -height % self.multiple_of, width + -width % self.multiple_of


@dataclass(frozen=True, kw_only=True)
class Traits:
    """Facts about a network, for tiling, evaluation, training and export."""

    scale: int
    view: Halo | Margin | Window  # which decides how large images are computed in pieces
    size: SizeRule = SizeRule()
    # Precisions in which its weights may be held: fp32 first, then the preferred half precision.
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    channels: Literal[1, 3] = 3  # with 1 it sees red, green and blue one after the other
    # `sr` enlarges any image, `aligned-face` restores a face in the standard position.
    purpose: Literal["sr", "aligned-face"] = "sr"

    @property
    def face_px(self) -> int | None:
        """Side in px of the aligned faces that the network takes. None if it takes any image."""
        return self.size.minimum if self.purpose == "aligned-face" else None


class SRNetwork(nn.Module):
    """Base of all networks: enlarges (B, 3, h, w) to (B, 3, scale h, scale w), RGB in [0, 1].

    Input and result are fp32, since half precision near 1 is coarser than a grey level. Features have the
    dtype of the weights.

    A constructor takes keyword arguments of JSON types only, all with defaults. They are the schema of
    `config.json` and of `train --set args.NAME=VALUE`.

    Attributes:
        limits: Allowed values of arguments that have limits.
        aliases: Pairs of a regular expression for the start of another layout's tensor names, and its
            replacement.
        memory_format: Memory format of the weights while the network runs.
        traits: Facts about the network.
    """

    limits: ClassVar[Mapping[str, Sequence[Any]]] = {}
    aliases: ClassVar[Sequence[tuple[str, str]]] = ()
    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    traits: Traits

    @classmethod
    def infer_args(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the constructor's arguments, read from tensor names and shapes. None for another network."""
        raise NotImplementedError


class FlipEnsemble(SRNetwork):
    """Averages a network's results for an image and for its mirror image, mirrored back."""

    def __init__(self, network: SRNetwork) -> None:
        super().__init__()
        self.traits = network.traits
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        plain: Tensor = self.network(x)
        mirrored: Tensor = self.network(x.flip(-1))
        return (plain + mirrored.flip(-1)) / 2


def enlarge(network: SRNetwork, lq: Tensor) -> Tensor:
    """Run the network on any image size: pad to an allowed size, and crop the result.

    The input is (B, 3, h, w) fp32 in [0, 1], the result (B, 3, scale h, scale w) fp32, not clamped.
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
