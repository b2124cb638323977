"""Colours: 8 or 16-bit levels from other values, RGB from CMYK, and colour under full transparency."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from facesr.images.image import Deep, Pixels


def to_levels(values: NDArray[Any]) -> Deep:
    """Return integers unchanged, and floats in [0, 1] as 16-bit levels.

    Raises:
        ValueError: Floats outside 0 to 1, or integers outside 0 to 65,535.
    """
    limit, kind = (1, "float") if values.dtype.kind == "f" else (65_535, "integer")
    if not ((values >= 0) & (values <= limit)).all():  # nor is not-a-number
        raise ValueError(f"its {kind} values are not within 0 to {limit:,}")
    if kind == "integer":
        return values.astype(np.uint16)
    levels: Deep = np.round(values * np.float64(65_535)).astype(np.uint16)
    return levels


def cmyk_to_rgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert with the image's profile, or with Pillow's own rule if it has no profile."""
    if icc is None:
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")
    return converted if converted is not None else image


def fill_transparent(rgb: Pixels, alpha: Pixels) -> Pixels:
    """Give fully transparent pixels the mean colour of visible pixels nearby.

    Args:
        rgb: (height, width, 3).
        alpha: (height, width) of the same depth.
    """
    if alpha.all() or not alpha.any():
        return rgb
    filled = rgb.astype(np.float32)
    missing = alpha == 0
    height, width = alpha.shape
    opaque = np.iinfo(alpha.dtype).max
    weight = (alpha / np.float32(opaque))[..., None]
    planes = np.concatenate([filled * weight, weight], axis=2)
    layers = [Image.fromarray(np.ascontiguousarray(planes[..., index])) for index in range(4)]
    factor = 2
    while missing.any():
        size = (max(1, width // factor), max(1, height // factor))
        small = np.stack([np.asarray(one.resize(size, Image.Resampling.BOX)) for one in layers], axis=2)
        rows = (np.arange(height) * size[1] // height)[:, None]
        columns = np.arange(width) * size[0] // width
        near = small[rows, columns]
        known = missing & (near[..., 3] > 0)
        filled[known] = near[known][:, :3] / near[known][:, 3:]
        missing &= ~known
        factor *= 2
    result: Any = np.round(filled).clip(0, opaque).astype(alpha.dtype)
    return result  # type: ignore[no-any-return]
