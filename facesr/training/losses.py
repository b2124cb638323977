"""The losses. Each compares results with a target, both (B, 3, H, W), and returns a scalar."""

from collections.abc import Callable
from functools import cache, reduce
from operator import add
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from facesr.errors import ConfigError
from facesr.metrics.shift_tolerant import SMALLEST_PX, Trunk, find_stlpips, stlpips

Loss = Callable[[Tensor, Tensor], Tensor]

_CHARBONNIER_EPSILON = 1e-3

_PSNR_EPSILON = 1e-8  # of the squared error, which bounds the PSNR at 80 dB and keeps the gradient finite

# Of a lattice: its periods, the side of windows that share a mean, and of dots how many periods each way do.
_PERIODS_PX, _LATTICE_PX, _DOTS = (4, 8, 16), 128, 8

# Of repeats: the side of windows, and the power of details too faint to see, half a grey level.
_REPEATS_PX, _FAINT = 64, (0.5 / 255) ** 2

_LDL_PX = 7

_POOL_PX = 4

# Of textures: how many filters of which side, windows of which side, at how many sizes, each half the last.
_FILTERS, _FILTER_PX, _WINDOW_PX, _SIZES = 16, 5, 32, 3
_ROOT_EPSILON = 1e-6  # keeps the gradient of a root at 0 finite


def charbonnier(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean of sqrt(d^2 + 1e-6), an absolute error that is smooth at 0 (Lai et al. 2017)."""
    return torch.sqrt((prediction - target).square() + _CHARBONNIER_EPSILON**2).mean()


def negative_psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean of 10 log10(MSE) over images in [0, 1], which is their negative PSNR in dB.

    Unlike with the mean squared error, images that are easy to restore count as much as hard ones (Chen et
    al. 2022, NAFNet).
    """
    errors = (prediction - target).square().mean((1, 2, 3))
    return 10 * torch.log10(errors + _PSNR_EPSILON).mean()


def pooled(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of images reduced to a quarter. It does not constrain fine detail."""
    side = min(_POOL_PX, *prediction.shape[-2:])
    return F.l1_loss(F.avg_pool2d(prediction, side), F.avg_pool2d(target, side))


def phase(prediction: Tensor, target: Tensor) -> Tensor:
    """Return how much stronger lattices of 4, 8 and 16 px are than in the target, in grey levels.

    A network that shuffles channels into pixels may add a small offset to each position within such a period.
    So the details finer than 3 px are averaged at each position, over 128x128 px. The loss is the excess of
    the means' mean absolute value over that of the target. Positions are not compared one by one, because the
    target's means are not 0 either, by chance, and each would be pushed below them.
    """
    found, wanted = (_fine(images) for images in (prediction, target))
    excess = [
        _excess(*(_by_place(fine, period, _LATTICE_PX // period) for fine in (found, wanted)))
        for period in _PERIODS_PX
    ]
    return 255 * reduce(add, excess)


def dots(prediction: Tensor, target: Tensor) -> Tensor:
    """Return how much more the contrast differs between positions within 4, 8 and 16 px than in the target.

    A network may also draw all its fine detail at one of these positions, as bright and dark dots whose mean
    is 0, or as a ramp within each block of 4 px. So this loss compares the root mean squares of differences
    between neighbouring pixels, in grey levels. They are over only 8 periods each way, since such patterns
    appear where detail is invented, in hair and on teeth.
    """
    excess = []
    for axis in (2, 3):
        (found, wanted) = (_steps(images, axis).square() for images in (prediction, target))
        excess += [
            _excess(*(_by_place(power, period, _DOTS, root=True) for power in (found, wanted)))
            for period in _PERIODS_PX
        ]
    return 255 * reduce(add, excess)


def repeats(prediction: Tensor, target: Tensor) -> Tensor:
    """Return how much more alike fine details 4, 8 and 16 px apart are than in the target, as correlations.

    Where a network must invent, it may draw the same lines over and over, a weave. They are at no fixed
    position of a grid, so `phase` misses them. The correlations are over windows of 64x64 px.
    """
    found, wanted = (_likeness(images) for images in (prediction, target))
    return (found - wanted).clamp_min(0).mean((1, 2, 3)).sum()


def _likeness(images: Tensor) -> Tensor:
    """Return the correlation of fine details with those a period further, (axes and periods, B, h, w)."""
    fine = _fine(images)
    side = min(_REPEATS_PX, *fine.shape[-2:])
    # Past the last pixel, it goes on with the first.
    others = [fine, *(fine.roll(-period, axis) for axis in (2, 3) for period in _PERIODS_PX)]
    power, *products = (F.avg_pool2d((fine * other).mean(1), side, ceil_mode=True) for other in others)
    return torch.stack(products) / (power + _FAINT)


def _steps(images: Tensor, axis: int) -> Tensor:
    """Return each pixel's difference from the next along an axis, 0 for the last one."""
    return torch.diff(images, dim=axis, append=images.narrow(axis, -1, 1))


def ldl(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the absolute error, weighted by how much it varies nearby, as artefacts do (Liang et al. 2022).

    The weight of an error is the variance of errors in the 7x7 px around it, times the fifth root of their
    variance over the image. The original also ignores pixels where the running mean of the network is no
    closer to the target.
    """
    errors = (prediction - target).abs()
    with torch.no_grad():
        summed = errors.sum(1, keepdim=True)
        padded = F.pad(summed, (_LDL_PX // 2,) * 4, mode="replicate")
        mean, power = (F.avg_pool2d(values, _LDL_PX, stride=1) for values in (padded, padded.square()))
        artefacts = (power - mean.square()).clamp_min(0) * summed.var((1, 2, 3), keepdim=True) ** 0.2
    return (artefacts * errors).mean()


def _fine(images: Tensor) -> Tensor:
    """Return the details finer than 3 px."""
    return images - F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)


def _by_place(values: Tensor, period: int, periods: int, *, root: bool = False) -> Tensor:
    """Return the mean at each position of a period minus the mean of all positions, (B, C, positions, h, w).

    There are h by w windows of `periods` each way. With `root`, the roots of the means are used.
    """
    height, width = values.shape[-2:]
    values = F.pad(values, (0, -width % period, 0, -height % period), mode="replicate")
    means = F.avg_pool2d(F.pixel_unshuffle(values, period), periods, ceil_mode=True)
    means = torch.unflatten(means, 1, (-1, period**2))
    if root:
        means = (means + _ROOT_EPSILON).sqrt()
    return means - means.mean(2, keepdim=True)


def _excess(found: Tensor, wanted: Tensor) -> Tensor:
    """Compare positions and channels together, since each by itself is large or small by chance."""
    return (found.abs().mean((1, 2)) - wanted.abs().mean((1, 2))).clamp_min(0).mean()


def texture(prediction: Tensor, target: Tensor) -> Tensor:
    """Compare how often fine patterns occur together, anywhere within windows of 32, 64 and 128 px.

    Patterns are responses to fixed random filters. For each pair of responses, the root of their mean product
    is compared (Gatys et al. 2016, with filters as in Ustyuzhaninov et al. 2017).
    """
    window = min(_WINDOW_PX, *prediction.shape[-2:])
    losses: list[Tensor] = []
    while len(losses) < _SIZES and min(prediction.shape[-2:]) >= window:
        losses.append(F.l1_loss(_together(prediction, window), _together(target, window)))
        prediction, target = (F.avg_pool2d(images, 2, ceil_mode=True) for images in (prediction, target))
    return reduce(add, losses)


def _together(images: Tensor, window: int) -> Tensor:
    """Return the root of the mean product of each pair of responses, (windows, responses, responses)."""
    height, width = (side // window * window for side in images.shape[-2:])
    answers = F.conv2d(images, _filters(images.device), padding=_FILTER_PX // 2)[..., :height, :width]
    both = torch.cat([answers.relu(), (-answers).relu()], 1)
    windows = torch.unflatten(torch.unflatten(both, 3, (-1, window)), 2, (-1, window))
    flat = windows.permute(0, 2, 4, 1, 3, 5).flatten(4).flatten(0, 2)
    return (flat @ flat.mT / flat.shape[-1] + _ROOT_EPSILON).sqrt()


@cache
def _filters(device: torch.device) -> Tensor:
    """Return filters that sum to 0 and whose squares sum to 1."""
    drawn = torch.randn(_FILTERS, 3, _FILTER_PX, _FILTER_PX, generator=torch.Generator().manual_seed(0))
    drawn -= drawn.mean((1, 2, 3), keepdim=True)
    return (drawn / drawn.square().sum((1, 2, 3), keepdim=True).sqrt()).to(device)


def _perceptual(name: str, trunk: Trunk, weights: Path | None) -> Loss:
    find_stlpips(trunk, weights)  # refused now if there are none

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        side = min(prediction.shape[-2:])
        if side < SMALLEST_PX:
            raise ConfigError(
                f"the loss `{name}` needs {SMALLEST_PX} px a side, and sees {side}",
                hint=f"raise `--crop` or `loss.{name}.part_px`",
            )
        return stlpips(prediction, target, trunk=trunk, weights=weights).mean()

    return loss


def make_loss(name: str, *, weights: Path | None = None) -> Loss:
    """Return a loss by name, except `gan`.

    Args:
        name: One of `facesr.config.loss.LossName`.
        weights: Folder with the weights of ST-LPIPS (default: those of the extra `metrics`).

    Raises:
        MissingExtra: The loss needs weights that are not installed.
    """
    return _perceptual(name, _TRUNKS[name], weights) if name in _TRUNKS else LOSSES[name]


# Losses that are metrics too, by their names there.
_TRUNKS: dict[str, Trunk] = {"stlpips_alex": "alex", "stlpips_vgg": "vgg"}

# To add a loss: write its function, add a line here and a name to `facesr.config.loss.LossName`.
LOSSES: dict[str, Loss] = {
    "l1": F.l1_loss,
    "charbonnier": charbonnier,
    "mse": F.mse_loss,
    "psnr": negative_psnr,
    "pooled": pooled,
    "phase": phase,
    "dots": dots,
    "repeats": repeats,
    "ldl": ldl,
    "texture": texture,
}
