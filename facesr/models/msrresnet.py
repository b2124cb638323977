"""MSRResNet, the residual network without normalisation of Real-ESRGAN's repository."""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facesr.models.base import Halo, Shapes, SRNetwork, Traits, count_blocks
from facesr.models.blocks import ResidualBlock
from facesr.models.row_strips import Stage, run_stages

_SLOPE = 0.1


class MSRResNet(SRNetwork):
    """Residual blocks at LQ size, one or two pixel shuffles, and the bilinear enlargement added at the end.

    Parameter names are BasicSR's (`MSRResNet`), so its checkpoints load unchanged.

    Args:
        blocks: Number of residual blocks.
        features: Channels throughout.
        scale: Enlargement. 4 takes two shuffles, 2 and 3 take one.
    """

    limits: ClassVar = {"blocks": range(1, 513), "features": range(1, 1025), "scale": (2, 3, 4)}

    def __init__(self, *, blocks: int = 20, features: int = 64, scale: int = 4) -> None:
        super().__init__()
        self.traits = Traits(
            scale=scale, view=Halo(2 * blocks + 3), dtypes=(torch.float32, torch.float16, torch.bfloat16)
        )
        self.factor = 2 if scale == 4 else scale
        self.conv_first = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(features=features) for _ in range(blocks)))
        self.upconv1 = nn.Conv2d(features, self.factor**2 * features, 3, padding=1)
        if scale == 4:
            self.upconv2 = nn.Conv2d(features, 4 * features, 3, padding=1)
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)
        for module in self.modules():
            # Without memory there is nothing to draw, and PyTorch would load its compiler to do so.
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight)
                with torch.no_grad():
                    module.weight.mul_(0.1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    @classmethod
    def infer_args(cls, shapes: Shapes) -> dict[str, Any] | None:
        blocks = count_blocks(shapes, "body.{}.conv1.weight")
        first = shapes.get("conv_first.weight", ())
        grown = shapes.get("upconv1.weight", ())
        if not blocks or len(first) != 4 or len(grown) != 4 or "conv_hr.weight" not in shapes:
            return None
        scale = 4 if "upconv2.weight" in shapes else math.isqrt(grown[0] // first[0])
        return {"blocks": blocks, "features": first[0], "scale": scale}

    def forward(self, x: Tensor) -> Tensor:
        base = F.interpolate(x, scale_factor=self.traits.scale, mode="bilinear", align_corners=False)
        out = _leaky(self.conv_first(x.to(self.conv_first.weight.dtype)))
        out = self.body(out)
        grow = [self.upconv1, self.upconv2] if self.traits.scale == 4 else [self.upconv1]
        stages: list[Stage] = [(convolution, self._shuffle_leaky) for convolution in grow]
        stages += [(self.conv_hr, _leaky), (self.conv_last, nn.Identity())]
        return torch.add(base, run_stages(stages, out))

    def _shuffle_leaky(self, x: Tensor) -> Tensor:
        # In this order, other than in BasicSR, the activation can be fused to the convolution before it.
        return F.pixel_shuffle(_leaky(x), self.factor)


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE, inplace=True)
