"""RRDBNet, the network of ESRGAN (Wang et al. 2018) and Real-ESRGAN (Wang et al. 2021)."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facesr.models.base import Margin, Shapes, SizeRule, SRNetwork, Traits, count_blocks
from facesr.models.row_strips import Stage, run_stages

_SLOPE = 0.2
_RES_SCALE = 0.2
_STEPS = 5  # convolutions of a dense block
_ENLARGED = 4  # how many times larger its end is than its body

# Its exact view is 15 pixels a block, 345 for the 23 blocks of Real-ESRGAN: five times the work. With
# this margin a photograph cut in two differs from the whole by 1 grey level at most with
# `RealESRGAN_x4plus`, and by 8 with a margin of 32.
_MARGIN_PX = 48


class RRDBNet(SRNetwork):
    """Residual-in-residual dense blocks, then twice a nearest enlargement and a convolution.

    At 1x and 2x a pixel unshuffle comes first, so that the body works at a quarter or half of the LQ size.
    Parameter names are BasicSR's (`RRDBNet`). Checkpoints of ESRGAN and BSRGAN use other names, see
    `aliases`.

    Args:
        blocks: Number of blocks, of three dense blocks each.
        features: Channels between blocks.
        growth: Channels that each convolution of a dense block adds.
        scale: Enlargement.
    """

    limits: ClassVar = {
        "blocks": range(1, 129),
        "features": range(1, 1025),
        "growth": range(1, 513),
        "scale": (1, 2, 4),
    }
    aliases: ClassVar = (
        (r"model\.0\.", "conv_first."),
        (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
        (r"model\.1\.sub\.\d+\.(?=weight|bias)", "conv_body."),
        (r"model\.3\.", "conv_up1."),
        (r"model\.6\.", "conv_up2."),
        (r"model\.8\.", "conv_hr."),
        (r"model\.10\.", "conv_last."),
        (r"RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
        (r"trunk_conv\.", "conv_body."),
        (r"upconv([12])\.", r"conv_up\1."),
        (r"HRconv\.", "conv_hr."),
    )

    def __init__(self, *, blocks: int = 23, features: int = 64, growth: int = 32, scale: int = 4) -> None:
        super().__init__()
        self.unshuffle = _ENLARGED // scale
        self.traits = Traits(
            scale=scale,
            view=Margin(_MARGIN_PX),
            size=SizeRule(multiple_of=self.unshuffle),
            dtypes=(torch.float32, torch.float16, torch.bfloat16),
        )
        self.conv_first = nn.Conv2d(3 * self.unshuffle**2, features, 3, padding=1)
        self.body = nn.Sequential(*(_Block(features, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, padding=1)
        self.conv_up1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv_up2 = nn.Conv2d(features, features, 3, padding=1)
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    @classmethod
    def infer_args(cls, shapes: Shapes) -> dict[str, Any] | None:
        blocks = count_blocks(shapes, "body.{}.rdb1.conv1.weight")
        first = shapes.get("conv_first.weight", ())
        grown = shapes.get("body.0.rdb1.conv1.weight", ())
        factors = {3 * factor**2: factor for factor in (1, 2, 4)}
        if len(first) != 4 or len(grown) != 4 or "conv_up2.weight" not in shapes or first[1] not in factors:
            return None
        scale = _ENLARGED // factors[first[1]]
        return {"blocks": blocks, "features": first[0], "growth": grown[0], "scale": scale}

    def forward(self, x: Tensor) -> Tensor:
        out = F.pixel_unshuffle(x, self.unshuffle).to(self.conv_first.weight.dtype)
        out = self.conv_first(out)
        out = _twice(out + self.conv_body(self.body(out)))
        stages: list[Stage] = [
            (self.conv_up1, lambda x: _twice(_leaky(x))),
            (self.conv_up2, _leaky),
            (self.conv_hr, _leaky),
            (self.conv_last, nn.Identity()),
        ]
        return run_stages(stages, out).to(x.dtype)


class _Block(nn.Module):
    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = _Dense(features, growth)
        self.rdb2 = _Dense(features, growth)
        self.rdb3 = _Dense(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=_RES_SCALE)


class _Dense(nn.Module):
    """Densely connected convolutions: each sees the input and the outputs of all earlier ones."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for step in range(_STEPS):
            channels = features if step == _STEPS - 1 else growth
            convolution = nn.Conv2d(features + step * growth, channels, 3, padding=1)
            if not convolution.weight.is_meta:  # without memory there is nothing to draw
                nn.init.kaiming_normal_(convolution.weight)
                with torch.no_grad():
                    convolution.weight.mul_(0.1)
                nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            self.add_module(f"conv{step + 1}", convolution)

    def forward(self, x: Tensor) -> Tensor:
        *grow, last = self.children()
        seen = x
        for convolution in grow:
            seen = torch.cat((seen, _leaky(convolution(seen))), dim=1)
        return torch.add(x, last(seen), alpha=_RES_SCALE)


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE, inplace=True)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
