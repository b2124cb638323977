"""What every network declares about itself, and the block that the residual ones share."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]


class SRNetwork(nn.Module):
    """A network that enlarges (B, 3, h, w) to (B, 3, 4h, 4w), RGB in [0, 1].

    The input is fp32; features run in the dtype of the weights, and the result is fp32 again, since
    half precision near 1 is coarser than a grey level.

    Attributes:
        scale: Enlargement.
        halo: Radius in LQ pixels outside which an output pixel depends on nothing; None for a global view.
        window: Side in LQ pixels of the pictures that a network with a global view was trained on.
        multiple_of: Input sides must be multiples of this.
        dtypes: Precisions in which the weights may be held, the preferred half precision first after fp32.
    """

    scale: int = 4
    halo: int | None = None
    window: int = 128
    multiple_of: int = 1
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)

    def declare_like(self, other: "SRNetwork") -> None:
        """Take over what another network declares, for one that computes the same in another way."""
        self.scale, self.halo, self.window = other.scale, other.halo, other.window
        self.multiple_of, self.dtypes = other.multiple_of, other.dtypes

    @classmethod
    def infer_args(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Read the constructor's arguments from tensors' names and shapes; None if it is another network."""
        raise NotImplementedError


def enlarge(network: SRNetwork, lq: Tensor) -> Tensor:
    """Run the network on any size, padding to its multiple and cropping the result.

    Args:
        network: On the device of `lq`.
        lq: (B, 3, h, w) fp32 in [0, 1].

    Returns:
        (B, 3, 4h, 4w) fp32, not clamped.
    """
    height, width = lq.shape[-2:]
    multiple = network.multiple_of
    if multiple > 1:
        lq = F.pad(lq, (0, -width % multiple, 0, -height % multiple), mode="replicate")
    out: Tensor = network(lq)
    return out[..., : height * network.scale, : width * network.scale]


def count_blocks(shapes: Shapes, pattern: str) -> int:
    """Count the consecutive indices from 0 for which `pattern`, such as `body.{}.weight`, names a tensor."""
    count = 0
    while pattern.format(count) in shapes:
        count += 1
    return count
