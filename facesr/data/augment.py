"""Random variation of training images."""

from dataclasses import dataclass
from random import Random
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facesr.config.data import DataConfig
from facesr.images.image import Array

LUMA = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class View:
    """A part of an image, and the size that it is resized to."""

    box: tuple[float, float, float, float]  # left, top, width, height, in pixels, may reach outside
    size: tuple[int, int]  # (height, width)

    @classmethod
    def whole(cls, size: tuple[int, int]) -> Self:
        return cls((0, 0, size[1], size[0]), size)

    def crop(self, side: int, random: Random) -> "View":
        """Return a random square part of this view, `side` px wide after resizing."""
        top, left = (random.randint(0, length - side) for length in self.size)
        across, down = self.box[2] / self.size[1], self.box[3] / self.size[0]
        corner = (self.box[0] + left * across, self.box[1] + top * down)
        return View((*corner, side * across, side * down), (side, side))


def draw_zoom(size: tuple[int, int], config: DataConfig, random: Random) -> View | None:
    """Draw a random zoom for an image of (height, width) whose sides are at least `crop_px`.

    Whole images keep their size: the zoom is about a shifted centre and mirrors the image beyond its borders.
    If crops are used, a zoom below 1 just makes the image smaller, but never smaller than a crop.

    Returns:
        The view, or None for no zoom.
    """
    if random.random() >= config.zoom_chance:
        return None
    height, width = size
    factor = random.uniform(*config.zoom)
    if config.crop_px and factor < 1:
        factor = max(factor, config.crop_px / min(size))
        return View((0, 0, width, height), (round(height * factor), round(width * factor)))
    left, top = (
        side / 2 * (1 - 1 / factor) + side * random.uniform(-config.shift, config.shift)
        for side in (width, height)
    )
    return View((left, top, width / factor, height / factor), size)


def zoom(pixels: Array, config: DataConfig, random: Random) -> Array:
    """Enlarge or reduce an (H, W, 3) uint8 image by a zoom that `draw_zoom` draws."""
    height, width = pixels.shape[:2]
    view = draw_zoom((height, width), config, random)
    if view is None:
        return pixels
    left, top, across, down = view.box
    margin = int(np.ceil(max(0, -left, -top, left + across - width, top + down - height)))
    padded = np.pad(pixels, [(margin, margin), (margin, margin), (0, 0)], mode="symmetric")
    box = (left + margin, top + margin, left + margin + across, top + margin + down)
    return np.asarray(Image.fromarray(padded).resize(view.size[::-1], Image.Resampling.BICUBIC, box=box))


def draw_jitter(config: DataConfig, random: Random) -> tuple[float, float]:
    """Draw factors for brightness and contrast."""
    brightness = random.uniform(*config.brightness) if random.random() < config.brightness_chance else 1.0
    contrast = random.uniform(*config.contrast) if random.random() < config.contrast_chance else 1.0
    return brightness, contrast


def jitter(pixels: Array, config: DataConfig, random: Random) -> Array:
    """Change brightness and contrast, like torchvision's functions of the same names."""
    brightness, contrast = draw_jitter(config, random)
    if brightness == contrast == 1.0:
        return pixels
    levels = np.clip(pixels * np.float32(brightness), 0, 255)
    grey = np.float32((levels.mean((0, 1)) * LUMA).sum())
    levels = np.clip(np.round(grey + (levels - grey) * np.float32(contrast)), 0, 255)
    varied: Array = levels.astype(np.uint8)
    return varied


def vary(
    lq_pixels: Array | Tensor, hq_pixels: Array | Tensor, config: DataConfig, random: Random, *, scale: int
) -> tuple[Tensor, Tensor]:
    """Apply the same random crop, flip and rotation to both images of a pair."""
    lq, hq = (one if isinstance(one, Tensor) else torch.tensor(one) for one in (lq_pixels, hq_pixels))
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
