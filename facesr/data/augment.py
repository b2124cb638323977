"""Random variation of training images."""

from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facesr.config.data import DataConfig
from facesr.images.image import Array

_LUMA = (0.2989, 0.587, 0.114)


def zoom(pixels: Array, config: DataConfig, random: Random) -> Array:
    """Enlarge or reduce an image of (H, W, 3) uint8, its sides at least `crop_px`.

    Whole images keep their size, about a shifted middle, and what lies outside is a mirror image. Where crops
    are taken, an image is simply reduced, since a crop needs no borders, but never below the side of a crop.
    """
    if random.random() >= config.zoom_chance:
        return pixels
    height, width = pixels.shape[:2]
    factor = random.uniform(*config.zoom)
    if config.crop_px and factor < 1:
        factor = max(factor, config.crop_px / min(height, width))
        size = (round(width * factor), round(height * factor))
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    left, top = (
        side / 2 * (1 - 1 / factor) + side * random.uniform(-config.shift, config.shift)
        for side in (width, height)
    )
    margin = int(np.ceil(max(0, -left, -top, left + width / factor - width, top + height / factor - height)))
    padded = np.pad(pixels, [(margin, margin), (margin, margin), (0, 0)], mode="symmetric")
    box = (left + margin, top + margin, left + margin + width / factor, top + margin + height / factor)
    return np.asarray(Image.fromarray(padded).resize((width, height), Image.Resampling.BICUBIC, box=box))


def jitter(pixels: Array, config: DataConfig, random: Random) -> Array:
    """Change brightness and contrast, as torchvision's functions of these names do."""
    brightness = random.uniform(*config.brightness) if random.random() < config.brightness_chance else 1.0
    contrast = random.uniform(*config.contrast) if random.random() < config.contrast_chance else 1.0
    if brightness == contrast == 1.0:
        return pixels
    levels = np.clip(pixels * np.float32(brightness), 0, 255)
    grey = np.float32((levels.mean((0, 1)) * _LUMA).sum())
    levels = np.clip(np.round(grey + (levels - grey) * np.float32(contrast)), 0, 255)
    varied: Array = levels.astype(np.uint8)
    return varied


def vary(
    lq_pixels: Array, hq_pixels: Array, config: DataConfig, random: Random, *, scale: int
) -> tuple[Tensor, Tensor]:
    """Crop, mirror and turn both images of a pair alike."""
    lq, hq = torch.tensor(lq_pixels), torch.tensor(hq_pixels)
    if config.crop_px:
        side = config.crop_px // scale
        top, left = (random.randint(0, length - side) for length in lq.shape[:2])
        lq = lq[top : top + side, left : left + side]
        hq = hq[top * scale : (top + side) * scale, left * scale : (left + side) * scale]
    if random.random() < config.flip_chance:
        lq, hq = lq.flip(1), hq.flip(1)
    if random.random() < config.rotate_chance:
        turns = random.randint(1, 3)
        lq, hq = lq.rot90(turns), hq.rot90(turns)
    return lq, hq
