"""Sensor-like noise. It is drawn on the generator's device, so a CPU seed means the same everywhere."""

from functools import cache

import torch
from torch import Generator, Tensor

from facesr.transfer import send_to_device

_LUMA = (0.2989, 0.587, 0.114)


def add_gaussian_noise(images: Tensor, *, sigma: float | Tensor, grey: bool, generator: Generator) -> Tensor:
    """Add Gaussian noise to (B, 3, H, W) in [0, 1] and clip.

    `sigma` is the standard deviation in grey levels of 255: one number, or a (B,) CPU tensor with one for
    each image. With `grey`, all channels get the same noise.
    """
    batch, channels, height, width = images.shape
    shape = (batch, 1 if grey else channels, height, width)
    noise = torch.randn(shape, generator=generator, device=generator.device)
    return _add(images, noise, torch.as_tensor(sigma, dtype=torch.float64) / 255)


def add_poisson_noise(images: Tensor, *, scale: float | Tensor, grey: bool, generator: Generator) -> Tensor:
    """Add noise whose variance is proportional to the intensity, to (B, 3, H, W) in [0, 1], and clip.

    If an image has n distinct 8-bit levels, white stands for 2^ceil(log2 n) photons. `scale` multiplies the
    noise: one number, or a (B,) CPU tensor with one for each image. With `grey`, all channels get the noise
    of their luma.
    """
    signal = images
    if grey:
        signal = (images * _luma(images.device)).sum(1, keepdim=True)
    levels = (signal * 255).round_().clamp_(0, 255).to(generator.device)
    count = _count_by_bins if levels.device.type == "cpu" else _count_by_marks
    powers = 2 ** torch.arange(9, device=levels.device)
    photons = powers[torch.searchsorted(powers, count(levels))].view(-1, 1, 1, 1)
    levels /= 255
    noise = torch.poisson(levels * photons, generator=generator).div_(photons).sub_(levels)
    return _add(images, noise, torch.as_tensor(scale, dtype=torch.float64))


@cache
def _luma(device: torch.device) -> Tensor:
    return torch.tensor(_LUMA, device=device).view(1, 3, 1, 1)


def _count_by_bins(levels: Tensor) -> Tensor:
    """Return how many distinct levels, 0 to 255, each image of (B, C, H, W) has."""
    counts = torch.stack([one.to(torch.uint8).flatten().bincount(minlength=256) for one in levels])
    return (counts > 0).sum(1)


def _count_by_marks(levels: Tensor) -> Tensor:
    """Do the same as `_count_by_bins` without synchronising. On the CPU it is ten times as slow."""
    seen = torch.zeros(len(levels), 256, dtype=torch.int64, device=levels.device)
    return seen.scatter_(1, levels.flatten(1).long(), 1).sum(1)


def _add(images: Tensor, noise: Tensor, strength: Tensor) -> Tensor:
    strength = send_to_device(strength.to(images.dtype), images.device).view(-1, 1, 1, 1)
    return images.addcmul(noise.to(images), strength).clamp_(0, 1)
