"""FaceUNet, facesr's own network. It sees the whole face at low resolution, at little cost."""

import math
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facesr.models.base import Shapes, SizeRule, SRNetwork, Traits, Window, count_blocks
from facesr.models.blocks import Residual

# Channels of each level over those of the first, which is at half the LQ size.
_GROWTH = (1.0, 1.25, 1.5, 1.5)
_LEVELS = len(_GROWTH)

_NOISE = 0.1  # of each channel, at first
_PATTERN_PX = 128
# Vigna's splitmix64, with factors as signed numbers.
_HASH_STEP = 0x9E3779B97F4A7C15 - 2**64
_HASH_ROUNDS = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64), (31, 1))

# Side of the LQ images it is trained on, unless its weights say otherwise.
_WINDOW_PX = 128


class FaceUNet(SRNetwork):
    """A U-Net of 3x3 residual blocks without normalisation, from half the LQ size to a sixteenth of it.

    The input enters by a pixel unshuffle. The way down uses 2x2 convolutions of stride 2. The way up uses 1x1
    convolutions and pixel shuffles, and adds the skip connections. Thin blocks at LQ size then combine the
    result with the input again for its detail. Their 48 channels (at 4x) are pixel-shuffled, and the bilinear
    enlargement is added.

    Args:
        blocks: Residual blocks at each level, both on the way down and on the way up. The first level has one
            more.
        features: Channels of the first level. Deeper levels have up to 1.5 times as many, the LQ size has
            half.
        detail_blocks: Residual blocks at LQ size.
        scale: Enlargement.
        noise: Whether to add noise to the thin blocks, from which they can make fine detail. Each channel
            learns its strength. The noise is new at each training step, and always the same otherwise.
    """

    limits: ClassVar = {
        "blocks": range(1, 513),
        "features": range(2, 1025),
        "detail_blocks": range(1, 513),
        "scale": (2, 4),
        "noise": (False, True),
    }

    pattern: Tensor

    def __init__(
        self,
        *,
        blocks: int = 2,
        features: int = 64,
        detail_blocks: int = 5,
        scale: int = 4,
        noise: bool = False,
    ) -> None:
        super().__init__()
        self.traits = Traits(
            scale=scale,
            view=Window(_WINDOW_PX),
            size=SizeRule(multiple_of=2**_LEVELS),
            dtypes=(torch.float32, torch.float16, torch.bfloat16),
        )
        widths = [int(features * growth) for growth in _GROWTH]
        counts = [blocks + 1, *[blocks] * (_LEVELS - 1)]
        thin = features // 2
        self.stem = nn.Conv2d(3 * 2**2, widths[0], 3, padding=1)
        self.enc = nn.ModuleList(_level(c, n) for c, n in zip(widths, counts, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths))
        self.dec = nn.ModuleList(_level(c, n) for c, n in zip(widths[:-1], counts[:-1], strict=True))
        self.lift = nn.Conv2d(widths[0], 4 * thin, 1)
        self.detail = nn.Conv2d(3, thin, 3, padding=1)
        self.join = _level(thin, detail_blocks)
        self.out = nn.Conv2d(thin, 3 * scale**2, 3, padding=1)
        if noise:
            self.noise = nn.Parameter(torch.full((thin,), _NOISE))
            self.register_buffer("pattern", _pattern(thin), persistent=False)
        for module in self.modules():
            if isinstance(module, _Block):  # each block starts as nearly nothing, so that depth does no harm
                with torch.no_grad():
                    module.last.weight.mul_(0.1)

    @classmethod
    def infer_args(cls, shapes: Shapes) -> dict[str, Any] | None:
        blocks = count_blocks(shapes, "enc.1.{}.a.weight")
        detail_blocks = count_blocks(shapes, "join.{}.a.weight")
        first = shapes.get("stem.weight", ())
        last = shapes.get("out.weight", ())
        if not blocks or not detail_blocks or len(first) != 4 or len(last) != 4:
            return None
        scale = math.isqrt(last[0] // 3)
        args = {"blocks": blocks, "features": first[0], "detail_blocks": detail_blocks, "scale": scale}
        return {**args, "noise": True} if "noise" in shapes else args

    def forward(self, x: Tensor) -> Tensor:
        base = F.interpolate(x, scale_factor=self.traits.scale, mode="bilinear", align_corners=False)
        x = x.to(self.stem.weight.dtype)
        out = self.stem(F.pixel_unshuffle(x, 2))
        skips = []
        for encode, down in zip(self.enc, self.down, strict=False):
            out = encode(out)
            skips.append(out)
            out = down(out)
        out = self.enc[-1](out)
        for decode, up in zip(reversed(self.dec), reversed(self.up), strict=True):
            # A sum has the layout of its first term, and on CUDA a pixel shuffle leaves channels-last.
            out = decode(skips.pop() + F.pixel_shuffle(up(out), 2))
        out = self.detail(x) + F.pixel_shuffle(self.lift(out), 2)
        if hasattr(self, "noise"):
            out = out + self.noise.view(-1, 1, 1) * self._draw(out)
        out = self.join(out)
        return torch.add(base, F.pixel_shuffle(self.out(out), self.traits.scale))

    def _draw(self, features: Tensor) -> Tensor:
        """Return noise shaped like features: drawn anew in training, else a fixed pattern of the position."""
        if self.training:
            return torch.randn_like(features)
        rows, columns = (torch.arange(side, device=features.device) for side in features.shape[-2:])
        return self.pattern[:, rows[:, None] % _PATTERN_PX, columns % _PATTERN_PX]


def _pattern(channels: int) -> Tensor:
    """Return normal noise, (channels, 128, 128), from hashed positions. It is the same on every machine."""
    value = torch.arange(1, 2 * channels * _PATTERN_PX**2 + 1) * _HASH_STEP
    for shift, factor in _HASH_ROUNDS:  # the bits that a shift brings in from the sign are cleared
        value = (value ^ ((value >> shift) & (2 ** (64 - shift) - 1))) * factor
    uniform = (((value >> 12) & (2**52 - 1)).double() + 0.5) / 2**52
    radius, angle = uniform.chunk(2)
    normal = (-2 * radius.log()).sqrt() * torch.cos(2 * math.pi * angle)
    return normal.float().view(channels, _PATTERN_PX, _PATTERN_PX)


class _Block(Residual):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(features, features, 3, padding=1)
        self.b = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.b(F.relu(self.a(x), inplace=True)))


def _level(features: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(features) for _ in range(blocks)))
