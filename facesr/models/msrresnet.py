"""MSRResNet, the residual network without normalisation that Real-ESRGAN's repository calls so."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facesr.models.base import Shapes, SRNetwork, count_blocks
from facesr.models.blocks import ResidualBlock
from facesr.models.row_strips import Stage, run_stages

_SLOPE = 0.1


class MSRResNet(SRNetwork):
    """Residual blocks at LQ size, two pixel shuffles, and the bilinear enlargement added at the end.

    Parameter names are BasicSR's (`MSRResNet`), so its checkpoints load as they are.

    Args:
        blocks: Residual blocks.
        features: Channels throughout.
    """

    dtypes = (torch.float32, torch.float16, torch.bfloat16)

    def __init__(self, *, blocks: int = 20, features: int = 64) -> None:
        super().__init__()
        self.halo = 2 * blocks + 3
        self.conv_first = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(features=features) for _ in range(blocks)))
        self.upconv1 = nn.Conv2d(features, 4 * features, 3, padding=1)
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
        if not blocks or len(first) != 4 or "upconv2.weight" not in shapes or "conv_hr.weight" not in shapes:
            return None
        return {"blocks": blocks, "features": first[0]}

    def forward(self, x: Tensor) -> Tensor:
        base = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        out = _leaky(self.conv_first(x.to(self.conv_first.weight.dtype)))
        out = self.body(out)
        stages: list[Stage] = [
            (self.upconv1, _shuffle_leaky),
            (self.upconv2, _shuffle_leaky),
            (self.conv_hr, _leaky),
            (self.conv_last, nn.Identity()),
        ]
        return torch.add(base, run_stages(stages, out))


def _shuffle_leaky(x: Tensor) -> Tensor:
    # In this order, other than in BasicSR, the activation can be fused to the convolution before it.
    return F.pixel_shuffle(_leaky(x), 2)


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE, inplace=True)
