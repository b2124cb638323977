"""Cutting faces out of a photograph for a network, and pasting the restored faces back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facesr.faces.align import TEMPLATE, TEMPLATE_SIDE, Points, Similarity, sample
from facesr.faces.find import Face
from facesr.images.image import ImageData, Pixels
from facesr.images.metadata import Metadata

# Sides of a crop, LQ pixels: as small as the networks were trained for, and as large as is worth it.
_SMALLEST_PX, _LARGEST_PX, _MULTIPLE = 128, 512, 16

# The mask, in the frame of 512 px: an ellipse about the face that fades to nothing at its border.
_CENTRE: Points = np.array([256.0, 285.0])
_HALF_AXES = np.array([190.0, 215.0])
_FADE = 0.35  # of the half axes

# How much of a restored face is taken grows with how much it differs from what it was made of: what is clean
# gains nothing from being turned and enlarged. Root mean squares in grey levels.
_CLEAN, _BAD = 1.2, 3.2
# At most, over what the same network made of the whole photograph: the mean of both is nearer to the truth.
_MOST_OVER_NETWORK = 0.6


@dataclass(frozen=True)
class Crop:
    """A face cut out of a photograph, upright.

    Attributes:
        face: The face.
        image: The crop, square.
        placed: Maps points of the photograph to points of the crop.
    """

    face: Face
    image: ImageData
    placed: Similarity


def cut_faces(
    photo: ImageData, faces: Sequence[Face], *, enlargement: float, side: int | None = None
) -> list[Crop]:
    """Cut faces out, sized so that the network's result is about as large as the face in the final image.

    Args:
        photo: The photograph.
        faces: Faces in it.
        enlargement: How much the photograph is enlarged, divided by the network's scale.
        side: Side of every crop in pixels, for a network that takes only one size.
    """
    crops = []
    for face in faces:
        frame = Similarity.fit(face.points, TEMPLATE)
        natural = TEMPLATE_SIDE / frame.scale * enlargement
        fitting = int(np.clip(round(natural / _MULTIPLE) * _MULTIPLE, _SMALLEST_PX, _LARGEST_PX))
        height = side or fitting
        placed = frame.then(Similarity.scaling(height / TEMPLATE_SIDE))
        pixels = sample(photo.rgb, placed, height=height, width=height)
        colour = Metadata(colour=photo.metadata.colour)
        crops.append(Crop(face, ImageData(pixels, photo.grey, icc=photo.icc, metadata=colour), placed))
    return crops


def paste_faces(
    background: ImageData,
    crops: Sequence[Crop],
    restored: Sequence[ImageData],
    *,
    outscale: float,
    is_restored: bool = False,
) -> ImageData:
    """Paste restored faces into an enlarged photograph, larger ones over smaller ones.

    Pixels outside the masks stay as they are. A writable background is changed in place, since a large
    photograph may fill most of the memory.

    Args:
        background: The photograph without restored faces, at the size of the result.
        crops: Crops from `cut_faces`.
        restored: The crops enlarged by the network.
        outscale: How many times larger the background is than the photograph.
        is_restored: Whether a network made the background. Its faces are then mixed with the restored ones.
    """
    most = _MOST_OVER_NETWORK if is_restored else 1.0
    pixels = np.require(background.rgb, requirements="W")
    for crop, face in sorted(zip(crops, restored, strict=True), key=lambda pair: pair[0].face.width):
        _paste(pixels, crop, face, outscale, most * _strength(crop, face))
    return replace(background, rgb=pixels)


def _paste(pixels: Pixels, crop: Crop, face: ImageData, outscale: float, strength: float) -> None:
    side = crop.image.size[0]
    back = crop.placed.inverse().then(Similarity.scaling(outscale))
    placed = Similarity.scaling(side / face.size[0]).then(back)
    to_frame = back.inverse().then(Similarity.scaling(TEMPLATE_SIDE / side))
    angles = np.linspace(0, 2 * np.pi, 64)
    border = _CENTRE + _HALF_AXES * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    seen = to_frame.inverse().apply(border)
    limits = np.array([pixels.shape[1], pixels.shape[0]])
    left, top = np.floor(seen.min(0)).astype(int).clip(0, limits)
    right, bottom = np.ceil(seen.max(0)).astype(int).clip(0, limits)
    height, width = bottom - top, right - left
    if strength == 0 or min(height, width) < 1:
        return
    region = pixels[top:bottom, left:right]
    to_region = Similarity.shifting((-left, -top))
    drawn = sample(face.rgb, placed.then(to_region), height=height, width=width)
    mask = strength * _mask(to_region.inverse().then(to_frame), height=height, width=width)
    weight = mask[..., None].astype(np.float32)
    mixed = region + weight * (drawn.astype(np.float32) - region)
    region[:] = np.round(mixed).astype(region.dtype)


def _mask(to_frame: Similarity, *, height: int, width: int) -> NDArray[np.float64]:
    """Return the weight of the face at each pixel, (height, width) from 0 to 1, smooth everywhere."""
    grid = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=2).astype(np.float64)
    away = np.linalg.norm((to_frame.apply(grid) - _CENTRE) / _HALF_AXES, axis=2)
    x = np.clip((1 - away) / _FADE, 0, 1)
    smooth: NDArray[np.float64] = x * x * (3 - 2 * x)
    return smooth


def _strength(crop: Crop, face: ImageData) -> float:
    """Return how degraded a face was, 0 to 1."""
    side = crop.image.size[0]
    reduced = face.resized(side, side).rgb8.astype(np.float32)
    inside = _mask(Similarity.scaling(TEMPLATE_SIDE / side), height=side, width=side) > 0.5
    change = float(np.sqrt(np.mean((reduced - crop.image.rgb8)[inside] ** 2)))
    return float(np.clip((change - _CLEAN) / (_BAD - _CLEAN), 0, 1))
