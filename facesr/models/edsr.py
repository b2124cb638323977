"""EDSR (Lim et al. 2017) in BasicSR's layout."""

from typing import Any

import torch
from torch import Tensor, nn

from facesr.models.base import Shapes, SRNetwork, count_blocks
from facesr.models.blocks import ResidualBlock
from facesr.models.row_strips import Stage, run_stages

# The mean colour of DIV2K, and the 8-bit range in which the network works. Neither is in the state dict.
_MEAN = (0.4488, 0.4371, 0.4040)


_RANGE = 255.0


# BasicSR's large configuration has 256 features and scales its residuals by 0.1, which no tensor records.
_LARGE_FEATURES = 256


_LARGE_RES_SCALE = 0.1


class EDSR(SRNetwork):
    """Residual blocks under one long skip, then two pixel shuffles without activations.

    Args:
        blocks: Residual blocks.
        features: Channels throughout.
        res_scale: Factor on each block's residual.
    """

    # fp16 is left out: features live in the 0..255 range, where its head-room is small.
    dtypes = (torch.float32, torch.bfloat16)
    mean: Tensor

    def __init__(self, *, blocks: int = 16, features: int = 64, res_scale: float = 1.0) -> None:
        super().__init__()
        self.halo = 2 * blocks + 4
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(
            *(ResidualBlock(features=features, res_scale=res_scale) for _ in range(blocks))
        )
        self.conv_after_body = nn.Conv2d(features, features, 3, padding=1)
        self.upsample = nn.Sequential(
            nn.Conv2d(features, 4 * features, 3, padding=1),
            nn.PixelShuffle(2),
            nn.Conv2d(features, 4 * features, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    @classmethod
    def infer_args(cls, shapes: Shapes) -> dict[str, Any] | None:
        blocks = count_blocks(shapes, "body.{}.conv1.weight")
        first = shapes.get("conv_first.weight", ())
        needed = {"conv_after_body.weight", "upsample.0.weight", "upsample.2.weight"}
        if not blocks or len(first) != 4 or not needed <= shapes.keys():
            return None
        res_scale = _LARGE_RES_SCALE if first[0] == _LARGE_FEATURES else 1.0
        return {"blocks": blocks, "features": first[0], "res_scale": res_scale}

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean.to(x.dtype)
        features = self.conv_first(((x - mean) * _RANGE).to(self.conv_first.weight.dtype))
        out = features + self.conv_after_body(self.body(features))
        grow1, shuffle1, grow2, shuffle2 = self.upsample
        stages: list[Stage] = [(grow1, shuffle1), (grow2, shuffle2), (self.conv_last, nn.Identity())]
        return torch.add(mean, run_stages(stages, out).to(x.dtype), alpha=1 / _RANGE)
