"""SRVGGNetCompact, the small network of Real-ESRGAN (Wang et al. 2021)."""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facesr.models.base import Halo, Shapes, SRNetwork, Traits

_SLOPE = 0.1
_COLOURS = 3
_PRELU = "prelu"


class SRVGG(SRNetwork):
    """Convolutions at LQ size, one pixel shuffle, and the nearest enlargement added at the end.

    Parameter names are BasicSR's (`SRVGGNetCompact`).

    Args:
        blocks: Number of convolutions between the first and the last.
        features: Channels throughout.
        activation: Activation after each convolution but the last. Only `prelu` has tensors, so only it can
            be recognised from a checkpoint.
        scale: Enlargement.
    """

    limits: ClassVar = {
        "blocks": range(1, 513),
        "features": range(1, 1025),
        "activation": (_PRELU, "relu", "leakyrelu"),
        "scale": (1, 2, 3, 4),
    }

    def __init__(
        self, *, blocks: int = 16, features: int = 64, activation: str = _PRELU, scale: int = 4
    ) -> None:
        super().__init__()
        self.traits = Traits(
            scale=scale, view=Halo(blocks + 2), dtypes=(torch.float32, torch.float16, torch.bfloat16)
        )

        def activate() -> nn.Module:
            if activation == _PRELU:
                return nn.PReLU(features)
            return nn.LeakyReLU(_SLOPE if activation == "leakyrelu" else 0.0, inplace=True)

        self.body = nn.Sequential(nn.Conv2d(_COLOURS, features, 3, padding=1), activate())
        for _ in range(blocks):
            self.body.extend((nn.Conv2d(features, features, 3, padding=1), activate()))
        self.body.append(nn.Conv2d(features, _COLOURS * scale**2, 3, padding=1))

    @classmethod
    def infer_args(cls, shapes: Shapes) -> dict[str, Any] | None:
        first = shapes.get("body.0.weight", ())
        last = (len({key for key in shapes if key.endswith(".bias")}) - 1) * 2
        grown = shapes.get(f"body.{last}.weight", ())
        if last < 4 or len(first) != 4 or first[1] != _COLOURS or len(grown) != 4:
            return None
        scale = math.isqrt(grown[0] // _COLOURS)
        args = {"blocks": last // 2 - 1, "features": first[0], "scale": scale}
        return {**args, "activation": _PRELU} if "body.1.weight" in shapes else args

    def forward(self, x: Tensor) -> Tensor:
        scale = self.traits.scale
        out = F.pixel_shuffle(self.body(x.to(next(self.parameters()).dtype)), scale)
        return torch.add(F.interpolate(x, scale_factor=scale, mode="nearest"), out)
