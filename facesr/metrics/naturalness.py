"""NIQE, which compares an image's statistics with those of good photographs (Mittal et al. 2013)."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from facesr.metrics.fidelity import as_8_bit

_BLOCK_PX = 96
SMALLEST_PX = 2 * _BLOCK_PX  # four blocks, of which there is a covariance
_WINDOW_PX, _SIGMA = 7, 7 / 6
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))  # neighbours whose products are looked at
_PRISTINE = Path(__file__).parent / "niqe.safetensors"


def niqe(prediction: Tensor, *, crop: int = 0, y_channel: bool = False) -> Tensor:
    """Return the distance of an image's statistics from those of good photographs. Lower is better.

    Args:
        prediction: (B, 3, H, W), uint8 or float RGB in [0, 1]. Floats are rounded to 8 bits.
        crop: Pixels to ignore along each border.
        y_channel: Ignored, since NIQE always uses luma (BT.601).

    Returns:
        (B,) float64, NaN if a side is below 192 px after the crop. Sides are cropped to multiples of 96 px.
    """
    luma = as_8_bit(prediction, crop=crop, y_channel=True)[:, 0].round().cpu()
    height, width = (side // _BLOCK_PX * _BLOCK_PX for side in luma.shape[-2:])
    if min(height, width) < SMALLEST_PX:
        return torch.full((len(luma),), torch.nan, dtype=torch.float64)
    luma = luma[:, :height, :width]
    features = torch.cat([_features(luma, _BLOCK_PX), _features(_half(luma), _BLOCK_PX // 2)], dim=2)
    return torch.stack([_distance(one) for one in features])


def _distance(features: Tensor) -> Tensor:
    mean, covariance = _pristine()
    difference = features.mean(0) - mean
    pooled = (covariance + torch.cov(features.T)) / 2
    square: Tensor = difference @ torch.linalg.pinv(pooled) @ difference
    return square.sqrt()


@cache
def _pristine() -> tuple[Tensor, Tensor]:
    model = load_file(_PRISTINE)
    return model["mean"], model["covariance"]


def _features(luma: Tensor, block_px: int) -> Tensor:
    """Return 18 features of each block of (B, H, W) luma, (B, blocks, 18)."""
    normal = _normalise(luma)
    blocks = normal.unfold(1, block_px, block_px).unfold(2, block_px, block_px).flatten(1, 2)
    shape, _, left, right = _fit(blocks)
    features = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, mean, left, right = _fit(blocks * blocks.roll(shift, (-2, -1)))
        # The pristine model was made with the left deviation twice for the two diagonals.
        features += [shape, mean, left, left if all(shift) else right]
    return torch.stack(features, dim=-1)


def _normalise(luma: Tensor) -> Tensor:
    """Subtract the local mean and divide by the local standard deviation."""
    # Single precision leaves exact zeros where an image is flat. The signs of last bits would count as sides.
    mean = _smooth(luma).float().double()
    deviation = (_smooth(luma * luma) - mean * mean).abs().sqrt()
    return (luma - mean) / (deviation + 1)


def _smooth(values: Tensor) -> Tensor:
    """Blur (B, H, W) by a Gaussian, with zeros beyond the border as in the pristine model."""
    reach = _WINDOW_PX // 2
    window = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=values.dtype) / _SIGMA) ** 2)
    kernel = torch.outer(window, window)[None, None] / window.sum() ** 2
    return functional.conv2d(values[:, None], kernel, padding=reach)[:, 0]


def _half(luma: Tensor) -> Tensor:
    """Return (B, H, W) luma at half its size, by Pillow's bicubic with antialiasing."""
    options: Any = {"scale_factor": 0.5, "mode": "bicubic", "antialias": True}
    return functional.interpolate(luma[:, None], **options)[:, 0].float().double()


@cache
def _ratios() -> tuple[Tensor, Tensor]:
    """Return shapes of a generalised Gaussian, and the ratio of squared mean size to variance for each."""
    shapes = torch.arange(200, 10_001, dtype=torch.float64) / 1000
    first, second, third = (torch.lgamma(order / shapes) for order in (1, 2, 3))
    return shapes, (2 * second - first - third).exp()


def _fit(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fit an asymmetric generalised Gaussian to each (h, w) block. Return shape, mean and two scales."""
    left, right = (
        ((blocks * blocks * side).sum((-2, -1)) / side.sum((-2, -1))).nan_to_num().sqrt()
        for side in (blocks < 0, blocks >= 0)
    )
    skew = left / right
    ratio = blocks.abs().mean((-2, -1)) ** 2 / blocks.square().mean((-2, -1))
    ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shapes, ratios = _ratios()
    above = torch.searchsorted(ratios, ratio).clamp(1, len(ratios) - 1)
    nearer = (ratio - ratios[above - 1]) < (ratios[above] - ratio)
    shape = shapes[above - nearer.long()]
    first, second, third = (torch.lgamma(order / shape) for order in (1, 2, 3))
    scale = ((first - third) / 2).exp()
    left, right = left * scale, right * scale
    # The pristine model was made with the mean scaled twice, as its covariances show.
    return shape, (right - left) * scale * (second - first).exp(), left, right
