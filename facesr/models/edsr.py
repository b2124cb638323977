"""EDSR (Lim et al. 2017) in BasicSR's layout."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from facesr.models.base import Halo, Shapes, SRNetwork, Traits, count_blocks
from facesr.models.blocks import ResidualBlock
from facesr.models.row_strips import Stage, run_stages

# The mean colour of DIV2K, and the 8-bit range in which the network works. Neither is in the state dict.
_MEAN, _MEAN_UNIT = (4488, 4371, 4040), 10_000
_RANGE = 255.0

# BasicSR's large configuration has 256 features and scales its residuals by 0.1, which no tensor records.
_LARGE_FEATURES = 256
_LARGE_RES_SCALE = 0.1


class EDSR(SRNetwork):
    """Residual blocks with one long skip connection, then one or two pixel shuffles without activations.

    Args:
        blocks: Number of residual blocks.
        features: Channels throughout.
        res_scale: Factor on each block's residual.
        scale: Enlargement. 4 takes two shuffles, 2 and 3 take one.
    """

    limits: ClassVar = {"blocks": range(1, 513), "features": range(1, 1025), "scale": (2, 3, 4)}
    mean: Tensor

    def __init__(
        self, *, blocks: int = 16, features: int = 64, res_scale: float = 1.0, scale: int = 4
    ) -> None:
        super().__init__()
        # fp16 is left out: features live in the 0..255 range, where its head-room is small.
        self.traits = Traits(scale=scale, view=Halo(2 * blocks + 4), dtypes=(torch.float32, torch.bfloat16))
        # As whole numbers, which a network that is moved to half precision does not round.
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(
            *(ResidualBlock(features=features, res_scale=res_scale) for _ in range(blocks))
        )
        self.conv_after_body = nn.Conv2d(features, features, 3, padding=1)
        self.upsample = nn.Sequential()
        for factor in (2, 2) if scale == 4 else (scale,):
            self.upsample.append(nn.Conv2d(features, factor**2 * features, 3, padding=1))
            self.upsample.append(nn.PixelShuffle(factor))
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    @classmethod
    def infer_args(cls, shapes: Shapes) -> dict[str, Any] | None:
        blocks = count_blocks(shapes, "body.{}.conv1.weight")
        first = shapes.get("conv_first.weight", ())
        grown = shapes.get("upsample.0.weight", ())
        if not blocks or len(first) != 4 or len(grown) != 4 or "conv_after_body.weight" not in shapes:
            return None
        res_scale = _LARGE_RES_SCALE if first[0] == _LARGE_FEATURES else 1.0
        scale = 4 if "upsample.2.weight" in shapes else math.isqrt(grown[0] // first[0])
        return {"blocks": blocks, "features": first[0], "res_scale": res_scale, "scale": scale}

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean.to(x.dtype) / _MEAN_UNIT
        features = self.conv_first(((x - mean) * _RANGE).to(self.conv_first.weight.dtype))
        out = features + self.conv_after_body(self.body(features))
        steps = list(self.upsample)
        stages: list[Stage] = list(zip(steps[::2], steps[1::2], strict=True))
        stages.append((self.conv_last, nn.Identity()))
        return torch.add(mean, run_stages(stages, out).to(x.dtype), alpha=1 / _RANGE)
