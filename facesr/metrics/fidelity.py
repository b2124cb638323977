"""PSNR and SSIM as is usual in papers, on 8-bit values."""

import math

import torch
from torch import Tensor

_PEAK = 255.0
_SSIM_WINDOW_PX = 11
_SSIM_SIGMA = 1.5

# Y of ITU-R BT.601 in the 16 to 235 range, from RGB in [0, 1]; not rounded.
_Y_OFFSET = 16.0
_Y_WEIGHTS = (65.481, 128.553, 24.966)


def psnr(prediction: Tensor, target: Tensor, *, crop: int = 0, y_channel: bool = False) -> Tensor:
    """Return the peak signal-to-noise ratio in dB, infinite for identical images.

    Args:
        prediction: (B, 3, H, W), uint8 or float RGB in [0, 1]. Floats are rounded to 8 bits.
        target: The same shape.
        crop: Pixels to ignore along each border.
        y_channel: Whether to compare luma (BT.601) instead of RGB. The peak stays 255.

    Returns:
        (B,) float64, NaN if the crop leaves no pixels.
    """
    a, b = (as_8_bit(images, crop=crop, y_channel=y_channel) for images in (prediction, target))
    return 10 * torch.log10(_PEAK**2 / (a - b).square().mean((1, 2, 3)))


def ssim(prediction: Tensor, target: Tensor, *, crop: int = 0, y_channel: bool = False) -> Tensor:
    """Return the structural similarity (Wang et al. 2004), 1 for identical images.

    It uses an 11x11 Gaussian window of sigma 1.5 and valid positions only, and averages over positions and
    channels. The arguments are those of `psnr`.

    Returns:
        (B,) float64, NaN if a side is below 11 px after the crop.
    """
    a, b = (as_8_bit(images, crop=crop, y_channel=y_channel) for images in (prediction, target))
    if min(a.shape[-2:]) < _SSIM_WINDOW_PX:
        return torch.full((len(a),), torch.nan, dtype=torch.float64)
    mean_a, mean_b = _smooth(a), _smooth(b)
    var_a = _smooth(a * a) - mean_a**2
    var_b = _smooth(b * b) - mean_b**2
    covariance = _smooth(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return (luminance * structure).mean((1, 2, 3))


def as_8_bit(images: Tensor, *, crop: int, y_channel: bool = False) -> Tensor:
    """Return images as float64 values of 0 to 255, rounded to 8 bits.

    The arguments are those of `psnr`. Luma has one channel and is not rounded.
    """
    if images.device.type == "mps":
        images = images.cpu()  # which has float64
    if images.is_floating_point():
        images = images.double().clamp(0, 1).mul(255).round()
    values = images.double()[..., crop : images.shape[-2] - crop, crop : images.shape[-1] - crop]
    if y_channel:
        weights = torch.tensor(_Y_WEIGHTS, dtype=torch.float64, device=values.device) / 255
        values = _Y_OFFSET + torch.einsum("c,bchw->bhw", weights, values)[:, None]
    return values


def _smooth(values: Tensor) -> Tensor:
    # One axis after the other, as sums of shifted images: in float64 eight times as fast as a convolution.
    offsets = [index - _SSIM_WINDOW_PX // 2 for index in range(_SSIM_WINDOW_PX)]
    window = [math.exp(-0.5 * (offset / _SSIM_SIGMA) ** 2) for offset in offsets]
    for axis in (-2, -1):
        length = values.shape[axis] - _SSIM_WINDOW_PX + 1
        total = torch.zeros_like(values.narrow(axis, 0, length))
        for index, weight in enumerate(window):
            total.add_(values.narrow(axis, index, length), alpha=weight / sum(window))
        values = total
    return values
