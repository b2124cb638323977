"""A decoded image, and what can be done to its pixels."""

from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facesr.images.metadata import Metadata, sized_exif

Array = NDArray[np.uint8]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]

# Pillow's own threshold for a suspicious size; larger files are refused before they are decoded.
MAX_PIXELS = 89_478_485


@final
@dataclass(frozen=True)
class ImageData:
    """A decoded picture, upright.

    Attributes:
        rgb: (height, width, 3) uint8, or uint16 for 16-bit and float grey; a grey picture repeats its one
            channel.
        grey: Whether it was grey and is to be written so.
        alpha: (height, width) uint8, or None where everything is opaque.
        icc: The colour profile's bytes, carried over.
        exif: The EXIF block without its orientation, carried over.
        notes: What was lost in reading it, a few words each.
        metadata: What else its file held, carried over.
    """

    rgb: Pixels
    grey: bool = False
    alpha: Array | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def rgb8(self) -> Array:
        """`rgb` at 8 bits."""
        if self.rgb.dtype == np.uint8:
            return self.rgb  # type: ignore[return-value]
        reduced: Array = np.round(self.rgb / np.float32(257)).astype(np.uint8)
        return reduced

    def enlarged(self, rgb: Pixels) -> "ImageData":
        """Return the picture with an enlarged (H, W, 3) `rgb` for its pixels, its alpha enlarged alike."""
        alpha = self.alpha
        if alpha is not None:
            alpha = bicubic(alpha, height=rgb.shape[0], width=rgb.shape[1])
        return replace(self, rgb=rgb, alpha=alpha)

    def resized(self, height: int, width: int) -> "ImageData":
        size, lanczos = (width, height), Image.Resampling.LANCZOS
        if self.rgb.dtype == np.uint8:
            return self.enlarged(np.asarray(Image.fromarray(self.rgb).resize(size, lanczos)))
        planes = [Image.fromarray(self.rgb[..., index].astype(np.float32)) for index in range(3)]
        deep = np.stack([np.asarray(plane.resize(size, lanczos)) for plane in planes], axis=2)
        return self.enlarged(deep.round().clip(0, 65_535).astype(np.uint16))


def to_pil(picture: ImageData) -> Image.Image:
    """Return the picture as L, LA, RGB, RGBA, or I;16 for 16-bit grey, what it carries in its `info`."""
    if picture.rgb.dtype == np.uint16:
        image = Image.fromarray(np.round(picture.rgb.mean(2)).astype(np.uint16))
    else:
        image = Image.fromarray(picture.rgb)
        if picture.grey:
            image = image.convert("L")
        if picture.alpha is not None:
            image.putalpha(Image.fromarray(picture.alpha))
    exif = sized_exif(picture.exif, picture.size) if picture.exif else None
    carried = {"icc_profile": picture.icc, "exif": exif}
    carried |= {name: getattr(picture.metadata, name) for name in ("xmp", "comment", "dpi")}
    image.info.update({name: block for name, block in carried.items() if block is not None})
    return image


def middle_square(pixels: Array, *, side: int) -> Array:
    """Cut the largest square from the middle of an (h, w, 3) picture and resize it to `side` px."""
    height, width = pixels.shape[:2]
    edge = min(height, width)
    left, top = (width - edge) // 2, (height - edge) // 2
    square = Image.fromarray(pixels[top : top + edge, left : left + edge])
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))


def bicubic(pixels: Array, *, height: int, width: int) -> Array:
    """Enlarge (h, w, 3) pixels or (h, w) alpha by Pillow's bicubic, the baseline of every comparison."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
