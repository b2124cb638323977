"""Encoding image files."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from facesr.errors import ImageError, reason_of
from facesr.files.atomic import write_atomic
from facesr.files.paths import check_regular, exists
from facesr.images import deep_png, tiff
from facesr.images.formats import open_image
from facesr.images.image import ImageData, to_pil
from facesr.images.metadata import losses, save_options
from facesr.images.tiff_tags import SUB_DIRECTORIES

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".avif": "AVIF",
}

_SIDE_LIMITS_PX = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_536}
_DEEP_FORMATS = {"PNG", "TIFF"}
_MOST_EXIF_BYTES = 65_000  # in a JPEG, with room for a note


def sniff_suffix(content: bytes) -> str:
    """Return the suffix of an encoded image's format. Formats that are only read become PNG."""
    with open_image(io.BytesIO(content)) as image:
        names = {"JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "TIFF": ".tiff", "AVIF": ".avif"}
        return names.get(image.format or "", ".png")


def check_writable(path: Path, *, height: int, width: int) -> None:
    name = _FORMATS[path.suffix.lower()]
    limit = _SIDE_LIMITS_PX.get(name)
    if limit is not None and max(height, width) > limit:
        raise ImageError(
            f"{width}x{height} is more than {name} can hold ({limit} pixels a side)",
            file=path,
            hint="choose `--format png`",
        )


def encode_image(
    picture: ImageData,
    suffix: str,
    *,
    quality: int = 95,
    compression: int = 1,
    text: Mapping[str, str] | None = None,
) -> bytes:
    """Encode an image in the format of a file name's suffix.

    JPEG and BMP have no alpha, so the image is put on white. 16-bit grey stays 16-bit in PNG and TIFF.
    `compression` is the level of PNG, 0 to 9. `text` is for PNG only, one text chunk for each key.

    Raises:
        ImageError: The format cannot store the image.
    """
    name = _FORMATS[suffix.lower()]
    if picture.is_deep and name not in _DEEP_FORMATS:
        picture = picture.at_8_bits()
    # Of 16 bits, Pillow itself writes opaque grey alone. Where it lacks a mode, it encodes one pixel, with
    # everything but the pixels themselves.
    is_plain = not picture.is_deep or (picture.grey and picture.alpha is None)
    image = to_pil(picture if is_plain else picture.resized(1, 1))
    options: dict[str, Any] = {}
    if picture.alpha is not None and not holds_alpha(suffix):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba).convert("L" if picture.grey else "RGB")
    if name == "JPEG":
        options = {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
    elif name in {"WEBP", "AVIF"}:
        options = {"quality": quality}
    elif name == "PNG":
        options = {"compress_level": compression}
    elif name == "TIFF" and not _has_sub_directories(picture.exif):  # which libtiff's encoders refuse
        options = {"compression": "tiff_adobe_deflate"}
    if picture.icc is not None:
        fits = picture.icc[16:20] != b"GRAY" or _is_stored_as_grey(picture, name)
        options["icc_profile"] = picture.icc if fits else b""  # without a word, Pillow takes the image's own
    exif = None if exif_is_too_long(picture, suffix) else picture.exif
    try:
        options |= save_options(picture.metadata, name, exif=exif, size=picture.size, text=text or {})
        with _memory_file(name) as stream:
            image.save(stream, name, **options)
            stream.seek(0)
            encoded = stream.getvalue() if isinstance(stream, io.BytesIO) else stream.read()  # without a copy
        if is_plain:
            return encoded
        pixels = picture.channels.astype(np.uint16)
        if name == "PNG":
            return deep_png.deepen(encoded, pixels, compression=compression)
        return tiff.deepen(encoded, pixels)
    except Exception as error:  # Pillow's encoders raise many kinds
        raise ImageError(f"cannot be written as {name}, {reason_of(error)}") from error


def _is_stored_as_grey(picture: ImageData, name: str) -> bool:
    return picture.grey and name != "WEBP" and not (name == "AVIF" and picture.alpha is not None)


def _memory_file(name: str) -> BinaryIO:
    """Open a file in memory. If it has a descriptor, Pillow 12 encodes JPEG without Python's lock."""
    if name == "JPEG" and hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("facesr"), "w+b")
    return io.BytesIO()


def _has_sub_directories(block: bytes | None) -> bool:
    exif = Image.Exif()
    exif.load(block or b"")
    return bool(set(SUB_DIRECTORIES) & set(exif))


def exif_is_too_long(picture: ImageData, suffix: str) -> bool:
    """Return whether the EXIF does not fit into a JPEG, which has one segment of 64 KiB for it."""
    return (
        picture.exif is not None
        and len(picture.exif) > _MOST_EXIF_BYTES
        and _FORMATS[suffix.lower()] == "JPEG"
    )


def metadata_losses(picture: ImageData, suffix: str) -> list[str]:
    """Return what an image has that the format of a suffix cannot store."""
    return losses(picture.metadata, _FORMATS[suffix.lower()])


def holds_alpha(suffix: str) -> bool:
    return _FORMATS[suffix.lower()] not in {"JPEG", "BMP"}


def write_image(
    path: Path,
    picture: ImageData,
    *,
    quality: int = 95,
    compression: int = 1,
    text: Mapping[str, str] | None = None,
) -> None:
    """Encode an image in the format of its suffix, as `encode_image` does, and write it atomically.

    Raises:
        ImageError: The disk is full, the folder cannot be written, the format cannot store the image, or the
            path is not a regular file but, for example, a pipe.
    """
    if exists(path):
        check_regular(path)
    try:
        encoded = encode_image(picture, path.suffix, quality=quality, compression=compression, text=text)
        write_atomic(path, lambda stream: stream.write(encoded))
    except ImageError as error:
        raise ImageError(error.reason, file=path) from error
    except (OSError, ValueError, MemoryError) as error:
        raise ImageError(f"cannot be written, {reason_of(error)}", file=path) from error
