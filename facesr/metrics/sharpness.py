"""Measures of the power spectrum: detail in two bands, and lattices that networks leave."""

from functools import cache

import torch
from torch import Tensor

from facesr.metrics.fidelity import as_8_bit

# Radii of the two bands, in cycles over a side of 512 px: details of 3.2 to 5.3 px and of 2 to 3.2 px.
BANDS = {"mid": (96, 160), "fine": (160, 250)}
_SIDE = 512

PERIODS = (4, 8, 16)  # of lattices, in px
SMALLEST_PX = 192  # below it, the lines of a lattice of 16 px lie in each other's surroundings
_RING = (4, 8)  # Chebyshev distances of the surroundings of a line, in bins
_AXIS = 2  # bins this near to an axis hold the lines of straight edges, and are no surroundings

_LUMA = (0.299, 0.587, 0.114)


def detail(prediction: Tensor, *, band: str, crop: int = 0, y_channel: bool = False) -> Tensor:
    """Return how much detail an image has in a band of `BANDS`: the mean level of its spectrum, in dB.

    The power of the Hann-windowed luma is averaged over rings one cycle wide, then the rings' levels over the
    band. 0 dB is the level of white noise with a standard deviation of one grey level.

    Args:
        prediction: (B, 3, H, W), uint8 or float RGB in [0, 1]. Floats are rounded to 8 bits.
        band: Key of `BANDS`.
        crop: Pixels to ignore along each border.
        y_channel: Ignored, since this always uses luma.

    Returns:
        (B,) float64, NaN if a side is below 192 px after the crop, minus infinity for a flat image.
    """
    power = _power(prediction, crop=crop)
    if power is None:
        return _nothing(prediction)
    rings, counts, inside = _rings(*power.shape[-2:], band, power.device)
    sums = torch.zeros(len(power), len(counts), dtype=power.dtype, device=power.device)
    sums.index_add_(1, rings, power.flatten(1))
    return 10 * torch.log10(sums / counts)[:, inside].mean(1)


def spectrum_gap(
    prediction: Tensor, target: Tensor, *, band: str, crop: int = 0, y_channel: bool = False
) -> Tensor:
    """Return how much more detail than the target an image has in a band, in dB. 0 is best.

    The arguments are those of `detail`.

    Returns:
        (B,) float64, NaN if a side is below 192 px after the crop.
    """
    result, truth = (detail(images, band=band, crop=crop) for images in (prediction, target))
    return torch.where(result == truth, 0.0, result - truth)  # of two flat images, both are minus infinity


def grid(prediction: Tensor, *, period: int, crop: int = 0, y_channel: bool = False) -> Tensor:
    """Return how far the spectral lines of a lattice stand out from the spectrum around them, in dB.

    The lines are the frequencies of a lattice of `period` px that no smaller one of `PERIODS` has. At each
    line, the largest power of the 3x3 bins there is compared with the mean of the bins at a distance of 4 to
    8. Opposite frequencies have equal power, so only one of them counts. An image without a lattice has about
    3 dB, because the largest of nine bins exceeds their mean.

    Args:
        prediction: (B, 3, H, W), uint8 or float RGB in [0, 1]. Floats are rounded to 8 bits.
        period: Period of the lattice in px: 4, 8 or 16.
        crop: Pixels to ignore along each border.
        y_channel: Ignored, since this always uses luma.

    Returns:
        (B,) float64, NaN if a side is below 192 px after the crop or the image is flat.
    """
    power = _power(prediction, crop=crop)
    if power is None:
        return _nothing(prediction)
    lines, surroundings = _lattice(*power.shape[-2:], period, power.device)
    near, around = (power.flatten(1)[:, index] for index in (lines, surroundings.clamp(min=0)))
    mask = surroundings >= 0
    mean = (around * mask).sum(2) / mask.sum(1)
    return 10 * torch.log10(near.amax(2) / mean).mean(1)


def _nothing(images: Tensor) -> Tensor:
    return torch.full((len(images),), torch.nan, dtype=torch.float64, device=images.device)


def _power(images: Tensor, *, crop: int) -> Tensor | None:
    """Return the power spectrum of the Hann-windowed luma, (B, H, W), sides cropped to multiples of 16."""
    values = as_8_bit(images, crop=crop)
    height, width = (side // 16 * 16 for side in values.shape[-2:])
    if min(height, width) < SMALLEST_PX:
        return None
    weights = torch.tensor(_LUMA, dtype=values.dtype, device=values.device)
    luma = torch.einsum("c,bchw->bhw", weights, values[..., :height, :width])
    window = torch.outer(*(torch.hann_window(side, dtype=values.dtype) for side in (height, width)))
    window = window.to(values.device)
    spectrum = torch.fft.fft2((luma - luma.mean((1, 2), keepdim=True)) * window)
    power: Tensor = spectrum.abs().square() / window.square().sum()
    return power


@cache
def _rings(height: int, width: int, band: str, device: torch.device) -> tuple[Tensor, Tensor, slice]:
    """Return the ring of each bin, the number of bins of each ring, and the rings of the band."""
    side = min(height, width)  # a ring is as wide as a bin of the shorter side
    squares = [torch.fft.fftfreq(length, dtype=torch.float64) ** 2 for length in (height, width)]
    rings = (side * (squares[0][:, None] + squares[1]).sqrt()).long().flatten().to(device)
    low, high = (round(radius * side / _SIDE) for radius in BANDS[band])
    return rings, torch.bincount(rings), slice(low, high)


@cache
def _lattice(height: int, width: int, period: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return flat indices of the bins of each lattice line and of its surroundings, -1 for unused entries."""
    lines, surroundings = [], []
    reach = _RING[1]
    offsets = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
    for row in range(period):
        for column in range(period):
            of_half = row % 2 == 0 and column % 2 == 0
            is_opposite = (row, column) > (-row % period, -column % period)
            if (of_half and period > min(PERIODS)) or (row, column) == (0, 0) or is_opposite:
                continue
            y, x = row * height // period, column * width // period
            near, around = [], []
            for dy, dx in offsets:
                distance = max(abs(dy), abs(dx))
                bin_y, bin_x = (y + dy) % height, (x + dx) % width
                off_axis = min(bin_y, height - bin_y, bin_x, width - bin_x) > _AXIS
                index = bin_y * width + bin_x
                if distance <= 1:
                    near.append(index)
                elif distance >= _RING[0]:
                    around.append(index if off_axis else -1)
            lines.append(near)
            surroundings.append(around)
    return torch.tensor(lines, device=device), torch.tensor(surroundings, device=device)
