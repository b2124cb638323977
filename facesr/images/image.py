"""A decoded image, and operations on its pixels."""

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facesr.images.metadata import Metadata, sized_exif

Array = NDArray[np.uint8]
Deep = NDArray[np.uint16]
Pixels = Array | Deep
SameDepth = TypeVar("SameDepth", Array, Deep, Pixels)

# Pillow's own threshold for a suspicious size; larger files are refused before they are decoded.
MAX_PIXELS = 89_478_485

_BAND_PX = 1024  # rows


@final
@dataclass(frozen=True)
class ImageData:
    """A decoded image, upright.

    Attributes:
        rgb: (height, width, 3) uint8, or uint16 if the file has more than 8 bits. A grey image repeats its
            one channel.
        grey: Whether the image was grey and will be written as grey.
        alpha: (height, width) of the same depth, or None if everything is opaque.
        icc: Bytes of the colour profile, kept in the result.
        exif: EXIF block without its orientation, kept in the result.
        notes: What was lost while reading, a few words each.
        metadata: Other metadata of the file, kept in the result.
    """

    rgb: Pixels
    grey: bool = False
    alpha: Pixels | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def is_deep(self) -> bool:
        """Whether the image has 16 bits a channel."""
        return self.rgb.dtype == np.uint16

    @property
    def rgb8(self) -> Array:
        """`rgb` at 8 bits."""
        return _at_8_bits(self.rgb)

    def at_8_bits(self) -> "ImageData":
        return replace(self, rgb=self.rgb8, alpha=None if self.alpha is None else _at_8_bits(self.alpha))

    @property
    def channels(self) -> Pixels:
        """Pixels as a file stores them: (height, width, 1 to 4), grey or RGB, with any alpha last."""
        colours = self.rgb
        if self.grey and self.is_deep:
            colours = np.round(self.rgb.mean(2, keepdims=True)).astype(np.uint16)
        elif self.grey:
            colours = np.asarray(Image.fromarray(self.rgb).convert("L"))[..., None]
        parts: list[Any] = [colours] if self.alpha is None else [colours, self.alpha[..., None]]
        joined: Pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return joined

    def enlarged(self, rgb: Pixels) -> "ImageData":
        """Return the image with an enlarged (H, W, 3) `rgb`. Its alpha is enlarged to the same size."""
        alpha = self.alpha
        if alpha is not None:
            alpha = bicubic(alpha, height=rgb.shape[0], width=rgb.shape[1])
        return replace(self, rgb=rgb, alpha=alpha)

    def resized(self, height: int, width: int) -> "ImageData":
        return self.enlarged(_resample(self.rgb, (width, height), Image.Resampling.LANCZOS))


def _at_8_bits(pixels: Pixels) -> Array:
    if pixels.dtype == np.uint8:
        return pixels  # type: ignore[return-value]
    reduced: Array = np.round(pixels / np.float32(257)).astype(np.uint8)
    return reduced


def _resample(pixels: SameDepth, size: tuple[int, int], kernel: Image.Resampling) -> SameDepth:
    """Resize (h, w) or (h, w, 3) pixels of 8 or 16 bits to (width, height)."""
    resized: Any
    if pixels.dtype == np.uint8:
        resized = _resample_8_bits(pixels, size, kernel)  # type: ignore[arg-type]
    elif pixels.ndim == 3:
        resized = np.stack([_resample(pixels[..., index], size, kernel) for index in range(3)], axis=2)
    else:
        plane = np.asarray(Image.fromarray(pixels.astype(np.float32)).resize(size, kernel))
        resized = plane.round().clip(0, 65_535).astype(np.uint16)
    return resized  # type: ignore[no-any-return]


def _resample_8_bits(pixels: Array, size: tuple[int, int], kernel: Image.Resampling) -> Array:
    image, (width, height) = Image.fromarray(pixels), size
    if height <= _BAND_PX:
        return np.asarray(image.resize(size, kernel))
    # Pillow's own image of the whole would take more memory than the result.
    wide = image.resize((width, image.height), kernel)
    resized = np.empty((height, width, *pixels.shape[2:]), np.uint8)
    for top in range(0, height, _BAND_PX):
        band = resized[top : top + _BAND_PX]
        first, last = (edge * image.height / height for edge in (top, top + len(band)))
        band[:] = np.asarray(wide.resize((width, len(band)), kernel, box=(0, first, width, last)))
    return resized


def to_pil(image: ImageData) -> Image.Image:
    """Return a Pillow image: L, LA, RGB or RGBA, or I;16 for opaque 16-bit grey.

    Pillow has no other 16-bit mode, so colour is reduced to 8 bits. The image's `info` has the metadata.
    """
    if image.is_deep and image.grey and image.alpha is None:
        result = Image.fromarray(image.channels[..., 0])
    else:
        image = image.at_8_bits()
        channels = image.channels
        result = Image.fromarray(channels if channels.shape[2] > 1 else channels[..., 0])
    exif = sized_exif(image.exif, image.size) if image.exif else None
    carried = {"icc_profile": image.icc, "exif": exif}
    carried |= {name: getattr(image.metadata, name) for name in ("xmp", "comment", "dpi")}
    result.info.update({name: block for name, block in carried.items() if block is not None})
    return result


def middle_square(pixels: Array, *, side: int) -> Array:
    """Cut the largest square from the middle of an (h, w, 3) image and resize it to `side` px."""
    height, width = pixels.shape[:2]
    edge = min(height, width)
    left, top = (width - edge) // 2, (height - edge) // 2
    square = Image.fromarray(pixels[top : top + edge, left : left + edge])
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))


def bicubic(pixels: SameDepth, *, height: int, width: int) -> SameDepth:
    """Resize (h, w, 3) pixels or (h, w) alpha with Pillow's bicubic, the baseline of every comparison."""
    return _resample(pixels, (width, height), Image.Resampling.BICUBIC)
