"""Pictures between files, Pillow and arrays."""

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from facesr.errors import ImageError
from facesr.files import write_atomic

Array = NDArray[np.uint8]

# Pillow's own threshold for a suspicious size; larger files are refused before they are decoded.
MAX_PIXELS = 89_478_485

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_SIDE_LIMITS_PX = {"JPEG": 65_500, "WEBP": 16_383}


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright, at 8 bits.

    Attributes:
        rgb: (height, width, 3) uint8; a grey picture repeats its one channel.
        grey: Whether it was grey and is to be written so.
        alpha: (height, width) uint8, or None where everything is opaque.
        icc: The colour profile's bytes, carried over.
        exif: The EXIF block without its orientation, carried over.
    """

    rgb: Array
    grey: bool = False
    alpha: Array | None = None
    icc: bytes | None = None
    exif: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def enlarged(self, rgb: Array) -> "Picture":
        """Return the picture with an enlarged (H, W, 3) `rgb` for its pixels, its alpha enlarged alike."""
        alpha = self.alpha
        if alpha is not None:
            size = (rgb.shape[1], rgb.shape[0])
            alpha = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BICUBIC))
        return replace(self, rgb=rgb, alpha=alpha)


def from_pil(image: Image.Image) -> Picture:
    """Take the pixels of any Pillow image, its EXIF orientation applied."""
    image = ImageOps.exif_transpose(image)
    icc = image.info.get("icc_profile")
    exif = image.getexif().tobytes() if image.getexif() else None
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    if image.mode.startswith("I;16") or image.mode == "I":
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode == "CMYK":
        icc = None  # describes CMYK, which the result no longer is
    grey = image.mode in {"1", "L", "LA"}
    alpha = np.asarray(image.convert("RGBA").getchannel("A")) if has_alpha else None
    rgb = np.asarray(image.convert("RGBA").convert("RGB") if has_alpha else image.convert("RGB"))
    return Picture(rgb=rgb, grey=grey, alpha=alpha, icc=icc, exif=exif)


def to_pil(picture: Picture) -> Image.Image:
    """Return the picture as L, LA, RGB or RGBA."""
    image = Image.fromarray(picture.rgb)
    if picture.grey:
        image = image.convert("L")
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    return image


def read_picture(path: Path) -> Picture:
    """Decode a file.

    Raises:
        ImageError: It is missing, no picture, damaged, or larger than `MAX_PIXELS`.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"{image.width}x{image.height} is too large", file=path)
            image.load()
            return from_pil(image)
    except UnidentifiedImageError:
        raise ImageError("not a picture in a known format", file=path) from None
    except Image.DecompressionBombError:
        raise ImageError("too large", file=path) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # Pillow's decoders raise all of these for damaged files.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"cannot be read, {reason}", file=path) from error


def middle_square(pixels: Array, *, side: int) -> Array:
    """Cut the largest square from the middle of an (h, w, 3) picture and resize it to `side` px."""
    height, width = pixels.shape[:2]
    edge = min(height, width)
    left, top = (width - edge) // 2, (height - edge) // 2
    square = Image.fromarray(pixels[top : top + edge, left : left + edge])
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))


def bicubic(pixels: Array, *, scale: int) -> Array:
    """Enlarge an (h, w, 3) picture by Pillow's bicubic, the baseline of every comparison."""
    size = (pixels.shape[1] * scale, pixels.shape[0] * scale)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def check_writable(path: Path, *, height: int, width: int) -> None:
    """Refuse a size that the format of `path` cannot hold.

    Raises:
        ImageError: A side is too long.
    """
    name = _FORMATS[path.suffix.lower()]
    limit = _SIDE_LIMITS_PX.get(name)
    if limit is not None and max(height, width) > limit:
        raise ImageError(
            f"{width}x{height} is more than {name} can hold ({limit} pixels a side)",
            file=path,
            hint="choose `--format png`",
        )


def write_picture(path: Path, picture: Picture, *, quality: int = 95) -> None:
    """Encode a picture in the format of its suffix and write it all or nothing.

    JPEG holds no alpha: the picture is laid on white.

    Raises:
        ImageError: The disk is full, or the folder cannot be written.
    """
    name = _FORMATS[path.suffix.lower()]
    image = to_pil(picture)
    options: dict[str, Any] = {}
    if name == "JPEG":
        if picture.alpha is not None:
            rgba = image.convert("RGBA")
            white = Image.new("RGBA", rgba.size, "white")
            image = Image.alpha_composite(white, rgba).convert("L" if picture.grey else "RGB")
        options = {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
    elif name == "WEBP":
        options = {"quality": quality}
    elif name == "PNG":
        options = {"compress_level": 1}  # a quarter of the time of Pillow's 6, a tenth larger
    if picture.icc is not None:
        options["icc_profile"] = picture.icc
    if picture.exif is not None:
        options["exif"] = picture.exif
    encoded = io.BytesIO()
    image.save(encoded, name, **options)
    try:
        write_atomic(path, lambda stream: stream.write(encoded.getbuffer()))
    except OSError as error:
        raise ImageError(f"cannot be written, {error.strerror or error}", file=path) from error
