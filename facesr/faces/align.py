"""Similarity transforms between a photograph and the upright frame of a face, and resampling by them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facesr.images.image import SameDepth

Points = NDArray[np.float64]  # (n, 2) x and y, in pixels from the corner of the image

# Eyes, nose tip and corners of the mouth in an aligned face of FFHQ, whose side is 512 px.
TEMPLATE: Points = np.array(
    [(192.98, 239.94), (318.90, 240.19), (256.63, 314.01), (201.26, 371.41), (313.08, 371.15)]
)
TEMPLATE_SIDE = 512

# More than the bicubic kernel reaches.
_KERNEL_PX = 3


@dataclass(frozen=True)
class Similarity:
    """A rotation, scaling and shift of points, which maps p to `matrix` p + `shift`."""

    matrix: NDArray[np.float64]  # (2, 2)
    shift: NDArray[np.float64]  # (2,)

    @classmethod
    def identity(cls) -> "Similarity":
        return cls(np.eye(2), np.zeros(2))

    @classmethod
    def scaling(cls, factor: float) -> "Similarity":
        return cls(np.eye(2) * factor, np.zeros(2))

    @classmethod
    def shifting(cls, by: NDArray[np.float64] | tuple[float, float]) -> "Similarity":
        return cls(np.eye(2), np.asarray(by, dtype=np.float64))

    @classmethod
    def fit(cls, points: Points, targets: Points) -> "Similarity":
        """Return the least-squares similarity from points to targets (Umeyama, 1991)."""
        centre, goal = points.mean(0), targets.mean(0)
        x, y = points - centre, targets - goal
        # As complex numbers, a rotation with scaling is one factor, found by linear least squares.
        a, b = x[:, 0] + 1j * x[:, 1], y[:, 0] + 1j * y[:, 1]
        factor = np.vdot(a, b) / np.vdot(a, a).real
        return cls.turn(factor, about=centre, to=goal)

    @classmethod
    def turn(cls, factor: complex, *, about: NDArray[np.float64], to: NDArray[np.float64]) -> "Similarity":
        """Return the rotation and scaling by a complex factor that maps the point `about` to `to`."""
        matrix = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
        shift: NDArray[np.float64] = to - matrix @ about
        return cls(matrix, shift)

    @property
    def scale(self) -> float:
        return math.sqrt(abs(np.linalg.det(self.matrix)))

    @property
    def roll(self) -> float:
        """Rotation in degrees, clockwise on the screen."""
        return math.degrees(math.atan2(self.matrix[1, 0], self.matrix[0, 0]))

    def apply(self, points: Points) -> Points:
        moved: Points = points @ self.matrix.T + self.shift
        return moved

    def inverse(self) -> "Similarity":
        matrix = np.linalg.inv(self.matrix).astype(np.float64)
        return Similarity(matrix, -matrix @ self.shift)

    def then(self, later: "Similarity") -> "Similarity":
        return Similarity(later.matrix @ self.matrix, later.matrix @ self.shift + later.shift)


def sample(pixels: SameDepth, similarity: Similarity, *, height: int, width: int) -> SameDepth:
    """Transform an image by a similarity.

    Interpolation is bicubic, with antialiasing where the image is reduced. The border pixels are repeated
    beyond the image.

    Args:
        pixels: (h, w, 3) of 8 or 16 bits.
        similarity: Maps points of `pixels` to points of the result.
        height: Height of the result in pixels.
        width: Width of the result in pixels.

    Returns:
        (height, width, 3) of the same dtype.
    """
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], dtype=np.float64)
    seen = similarity.inverse().apply(corners)
    margin = _KERNEL_PX * (1 + 1 / similarity.scale)
    left, top = np.floor(seen.min(0) - margin).astype(int)
    right, bottom = np.ceil(seen.max(0) + margin).astype(int)
    rows = np.arange(top, bottom).clip(0, pixels.shape[0] - 1)
    columns = np.arange(left, right).clip(0, pixels.shape[1] - 1)
    region: Any = pixels[rows[:, None], columns]
    layers = [region] if region.dtype == np.uint8 else [*region.astype(np.float32).transpose(2, 0, 1)]
    to_region = Similarity.shifting((left, top))
    drawn = [_draw(Image.fromarray(layer), to_region.then(similarity), height, width) for layer in layers]
    result: Any = drawn[0]
    if region.dtype != np.uint8:
        result = np.stack(drawn, axis=2).round().clip(0, 65_535).astype(np.uint16)
    return result  # type: ignore[no-any-return]


def _draw(image: Image.Image, similarity: Similarity, height: int, width: int) -> NDArray[Any]:
    scale = similarity.scale
    if scale < 1:
        # To where the pixels of the result lie if nothing is turned, so that they need not be drawn between.
        place = similarity.apply(np.zeros(2))
        start = (np.ceil(place) - place) / scale
        size = np.floor((np.array(image.size) - start) * scale).astype(int)
        box = (*start, *(start + size / scale))
        image = image.resize((int(size[0]), int(size[1])), Image.Resampling.BICUBIC, box=box)
        similarity = Similarity.scaling(1 / scale).then(Similarity.shifting(start)).then(similarity)
    back = similarity.inverse()
    # Pillow adds the half pixel to the centre of each pixel itself.
    numbers = (*back.matrix[0], back.shift[0], *back.matrix[1], back.shift[1])
    drawn = image.transform((width, height), Image.Transform.AFFINE, numbers, Image.Resampling.BICUBIC)
    return np.asarray(drawn)
