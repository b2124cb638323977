"""Sheets of one face at many sizes and rolls on a textured background, with where its points are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from facesr.faces.align import Points, Similarity, sample
from facesr.images.image import Array

# Of the astronaut of scikit-image, found by eye: the pupils, the tip of the nose, the corners of the mouth.
POINTS: Points = (
    np.array([(203.5, 101.0), (247.2, 102.7), (222.6, 124.6), (203.4, 140.2), (242.8, 141.2)]) + 0.5
)
CENTRE = np.array([223.0, 112.0])
WIDTH = 90.0  # of the face
_HALF_AXES = np.array([62.0, 78.0])  # of the ellipse that is cut out


@dataclass(frozen=True)
class Placed:
    """A face on a sheet."""

    width: float
    roll: float
    points: Points


def texture(height: int, width: int, *, seed: int | np.random.Generator) -> NDArray[np.float32]:
    """Return colourful noise of several sizes."""
    rng = np.random.default_rng(seed)
    layers = []
    for cell in (4, 16, 64):
        small = rng.integers(0, 256, (height // cell + 2, width // cell + 2, 3), dtype=np.uint8)
        layers.append(np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)))
    return np.mean(layers, axis=0, dtype=np.float32)


def face_sheet(
    widths: Sequence[float], rolls: Sequence[float], *, seed: int = 0
) -> tuple[Array, list[Placed]]:
    """Return a sheet with a row of faces for each width and one of each roll in it."""
    step = round(2.5 * max(widths))
    tops = np.cumsum([0, *(2.5 * width for width in widths)])
    sheet = texture(round(tops[-1]) + 20, step * len(rolls), seed=seed)
    placed = []
    for top, width in zip(tops[:-1], widths, strict=True):
        for column, roll in enumerate(rolls):
            at = np.array([step * (column + 0.5), top + 1.25 * width + 10])
            placed.append(Placed(width, roll, _paste(sheet, at, width, roll)))
    return sheet.round().clip(0, 255).astype(np.uint8), placed


def group_sheet(faces: Sequence[tuple[float, float]], *, height: int, width: int, seed: int = 0) -> Array:
    """Return a sheet with a row of faces, each of a width and a roll, before a soft background."""
    small = texture(height // 16, width // 16, seed=seed).clip(0, 255).astype(np.uint8)
    soft = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    sheet = 60 + 0.5 * soft.astype(np.float32)
    step = width / len(faces)
    for column, (face, roll) in enumerate(faces):
        _paste(sheet, np.array([step * (column + 0.5), height / 2]), face, roll)
    return sheet.round().clip(0, 255).astype(np.uint8)


def _paste(sheet: NDArray[np.float32], at: Points, width: float, roll: float) -> Points:
    factor = width / WIDTH * np.exp(1j * np.deg2rad(roll))
    turn = Similarity.turn(factor, about=CENTRE, to=at)
    reach = int(1.2 * width)
    left, top = (at - reach).astype(int)
    local = turn.then(Similarity(np.eye(2), -np.array([left, top], dtype=np.float64)))
    face = sample(data.astronaut(), local, height=2 * reach, width=2 * reach)
    grid = np.stack(np.meshgrid(np.arange(2 * reach), np.arange(2 * reach)), axis=2).reshape(-1, 2) + 0.5
    away = np.linalg.norm((local.inverse().apply(grid) - CENTRE) / _HALF_AXES, axis=1)
    mask = np.clip((1.08 - away) / 0.16, 0, 1).reshape(2 * reach, 2 * reach, 1)
    rows, columns = np.arange(top, top + 2 * reach), np.arange(left, left + 2 * reach)
    inside = np.ix_((rows >= 0) & (rows < sheet.shape[0]), (columns >= 0) & (columns < sheet.shape[1]))
    target = sheet[max(0, top) : top + 2 * reach, max(0, left) : left + 2 * reach]
    target += mask[inside] * (face[inside] - target)
    return turn.apply(POINTS)
