"""Blur kernels, and filtering with them."""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

# The unsharp mask of Real-ESRGAN: a Gaussian of 51 px, whose sigma follows OpenCV's rule for that size.
_USM_SIZE_PX = 51
_USM_SIGMA = 8.0
_USM_WEIGHT = 0.5
_USM_THRESHOLD = 10 / 255

_GPU_STEP = 64  # of lengths that are transformed on a GPU


def gaussian_kernel(
    family: str, *, size: int, sigma: tuple[float, float], angle: float = 0.0, beta: float = 1.0
) -> Tensor:
    """Return a (size, size) fp32 kernel that sums to 1 (Real-ESRGAN, section 3.1, and Liu et al. 2020).

    With q = x^T S^-1 x, families `iso` and `aniso` are exp(-q/2), `generalized_*` exp(-q^beta/2) and
    `plateau_*` 1/(q^beta + 1).

    The two sigmas, in px, are along the kernel's axes, which are rotated by `angle` in radians. The `iso`
    families ignore the second sigma and the angle.
    """
    if family.endswith("aniso"):
        across, along = (1 / s**2 for s in sigma)
        cos, sin = math.cos(angle), math.sin(angle)
        xx = cos * cos * across + sin * sin * along
        yy = sin * sin * across + cos * cos * along
        xy = cos * sin * (across - along)
    else:
        xx = yy = 1 / sigma[0] ** 2
        xy = 0.0
    y, x = _grid(size)
    q = xx * x * x + 2 * xy * x * y + yy * y * y
    if family.startswith("plateau"):
        kernel = 1 / (q.pow(beta) + 1)
    else:
        kernel = torch.exp(-0.5 * (q.pow(beta) if family.startswith("generalized") else q))
    return _normalised(kernel)


def sinc_kernel(*, size: int, cutoff: float) -> Tensor:
    """Return a (size, size) fp32 circular low-pass filter that sums to 1 (Real-ESRGAN, section 3.3).

    The size is odd, and the cutoff is in radians per pixel, up to pi.
    """
    y, x = _grid(size)
    r = torch.hypot(x, y)
    kernel = cutoff * torch.special.bessel_j1(cutoff * r) / (2 * math.pi * r)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * math.pi)
    return _normalised(kernel)


def _normalised(kernel: Tensor) -> Tensor:
    return kernel.div(kernel.sum()).float()


def _grid(size: int) -> tuple[Tensor, Tensor]:
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return y, x


def filter2d(images: Tensor, kernel: Tensor) -> Tensor:
    """Correlate (B, C, H, W) with a (k, k) or (B, 1, k, k) kernel, k odd. Borders are reflected."""
    radius = kernel.shape[-1] // 2
    height, width = images.shape[-2:]
    padded = _reflect(images, radius)
    size = [_fast_length(side, images.device) for side in padded.shape[-2:]]
    spectrum = torch.fft.rfft2(padded, s=size)
    spectrum *= torch.fft.rfft2(kernel.to(images), s=size).conj()
    # The wrapped-around part of the circular correlation lies beyond the image, in the padding.
    filtered: Tensor = torch.fft.irfft2(spectrum, s=size)
    return filtered[..., :height, :width]


def _reflect(images: Tensor, radius: int) -> Tensor:
    """Pad by reflection, repeatedly if the image is smaller than the radius."""
    left = [radius, radius]
    while any(left):
        sides = images.shape[:-3:-1]  # width first, as padding is given
        steps = [min(rest, side - 1) if side > 1 else rest for rest, side in zip(left, sides, strict=True)]
        mode = "replicate" if 1 in sides else "reflect"
        images = F.pad(images, (steps[0], steps[0], steps[1], steps[1]), mode=mode)
        left = [rest - step for rest, step in zip(left, steps, strict=True)]
    return images


def _fast_length(length: int, device: torch.device) -> int:
    """Return the next length with only the prime factors 2, 3 and 5, whose FFT is up to twice as fast.

    A GPU has to plan each new length first, so only a few lengths are used there.
    """
    if device.type != "cpu":
        return -(-length // _GPU_STEP) * _GPU_STEP
    while 30 ** length.bit_length() % length:  # a length without other factors divides it
        length += 1
    return length


@cache
def _usm_kernel(device: torch.device) -> Tensor:
    return gaussian_kernel("iso", size=_USM_SIZE_PX, sigma=(_USM_SIGMA, _USM_SIGMA)).to(device)


def usm_sharpen(images: Tensor) -> Tensor:
    """Sharpen (B, C, H, W) in [0, 1] with Real-ESRGAN's unsharp mask, which leaves flat regions alone."""
    kernel = _usm_kernel(images.device)
    residual = images - filter2d(images, kernel)
    mask = (residual.abs() > _USM_THRESHOLD).to(images.dtype)
    soft = filter2d(mask, kernel)
    sharp = (images + _USM_WEIGHT * residual).clamp(0, 1)
    return torch.lerp(images, sharp, soft)
