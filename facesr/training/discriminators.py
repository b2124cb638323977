"""Discriminators: networks that tell results from real images, position by position."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_DETAIL_GAIN = 8.0  # of the finest detail, a small part of what an image consists of


class HaarDiscriminator(nn.Module):
    """A small discriminator with receptive fields of 16 and 32 px, which gets the finest detail separately.

    Takes (B, 3, H, W), sides divisible by 16. Returns one score map at each of two sizes. Positive means
    real.
    """

    def __init__(self, *, features: int = 32) -> None:
        super().__init__()
        self.first = _normed(12, features, 4, stride=2)
        self.second = _normed(features, 2 * features, 4, stride=2)
        self.near = _normed(2 * features, 4 * features, 3)
        self.third = _normed(4 * features, 4 * features, 4, stride=2)
        self.far = _normed(4 * features, 4 * features, 3)
        self.scores = nn.ModuleList(nn.Conv2d(4 * features, 1, 1) for _ in "ab")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = haar(x)
        for layer in (self.first, self.second, self.near):
            x = F.leaky_relu(layer(x), 0.2)
        far = F.leaky_relu(self.far(F.leaky_relu(self.third(x), 0.2)), 0.2)
        return self.scores[0](x), self.scores[1](far)


class UNetDiscriminator(nn.Module):
    """Real-ESRGAN's discriminator: a U-Net of four sizes, which scores each pixel.

    Takes (B, 3, H, W), sides divisible by 8. Returns one score map. Positive means real.
    """

    def __init__(self, *, features: int = 64) -> None:
        super().__init__()
        widths = [features, 2 * features, 4 * features, 8 * features]
        self.first = nn.Conv2d(3, features, 3, padding=1)
        self.down = nn.ModuleList(_normed(a, b, 4, stride=2, bias=False) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_normed(b, a, 3, bias=False) for a, b in pairwise(widths))
        self.last = nn.ModuleList(_normed(features, features, 3, bias=False) for _ in "ab")
        self.score = nn.Conv2d(features, 1, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = F.leaky_relu(self.first(x), 0.2)
        skips = []
        for layer in self.down:
            skips.append(x)
            x = F.leaky_relu(layer(x), 0.2)
        for layer in reversed(self.up):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = F.leaky_relu(layer(x), 0.2) + skips.pop()
        for layer in self.last:
            x = F.leaky_relu(layer(x), 0.2)
        return (self.score(x),)


def _normed(before: int, after: int, side: int, *, stride: int = 1, bias: bool = True) -> nn.Module:
    conv = nn.Conv2d(before, after, side, stride=stride, padding=1, bias=bias)
    normed: nn.Module = spectral_norm(conv)
    return normed


def haar(images: Tensor) -> Tensor:
    """Split (B, C, H, W) into means and differences of 2x2 pixels, (B, 4C, H/2, W/2).

    The differences are multiplied by 8.
    """
    a, b, c, d = torch.unflatten(F.pixel_unshuffle(images, 2), 1, (-1, 4)).unbind(2)
    detail = [a - b + c - d, a + b - c - d, a - b - c + d]
    return torch.cat([(a + b + c + d) / 4, *(_DETAIL_GAIN / 4 * one for one in detail)], 1)


# To add one: write its class, add a line here and a name to `facesr.config.loss.DiscriminatorKind`.
DISCRIMINATORS: dict[str, type[HaarDiscriminator] | type[UNetDiscriminator]] = {
    "haar": HaarDiscriminator,
    "unet": UNetDiscriminator,
}
