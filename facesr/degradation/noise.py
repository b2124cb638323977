"""Sensor-like noise, drawn on the CPU wherever the images lie, so that a seed means the same everywhere."""

import torch
from torch import Generator, Tensor

_LUMA = (0.2989, 0.587, 0.114)


def add_gaussian_noise(images: Tensor, *, sigma: float, grey: bool, generator: Generator) -> Tensor:
    """Add Gaussian noise to (B, 3, H, W) and clip to [0, 1].

    Its standard deviation is in grey levels of 255. Of `grey` noise, the channels have the same.
    """
    batch, channels, height, width = images.shape
    noise = torch.randn(batch, 1 if grey else channels, height, width, generator=generator)
    return torch.add(images, noise.to(images), alpha=sigma / 255).clamp_(0, 1)


def add_poisson_noise(images: Tensor, *, scale: float, grey: bool, generator: Generator) -> Tensor:
    """Add noise whose variance is proportional to the intensity, and clip to [0, 1].

    A (1, 3, H, W) image with n distinct 8-bit levels is taken for counts of 2^ceil(log2 n) photons at white.
    Of `grey` noise, the channels share that of their luma.
    """
    signal = images
    if grey:
        signal = (images * images.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    levels = (signal * 255).round_().clamp_(0, 255).cpu()
    distinct = int((levels.to(torch.uint8).flatten().bincount(minlength=256) > 0).sum())
    photons = 2 ** (distinct - 1).bit_length()
    levels /= 255
    noise = torch.poisson(levels * photons, generator=generator).div_(photons).sub_(levels)
    return torch.add(images, noise.to(images), alpha=scale).clamp_(0, 1)
