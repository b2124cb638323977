"""Decoding image files."""

import io
import re
import warnings
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from facesr.errors import ImageError, reason_of
from facesr.files.paths import check_regular
from facesr.images import deep_png, tiff
from facesr.images.colour import cmyk_to_rgb, fill_transparent, to_levels
from facesr.images.formats import ORIENTATION, TURNED, opened
from facesr.images.image import MAX_PIXELS, Deep, ImageData
from facesr.images.metadata import collect
from facesr.images.note import PREFIX, TAG
from facesr.images.repair import CUT_OFF, MISSING_END, complete
from facesr.images.tiff_tags import LAYOUT_TAGS, SUB_DIRECTORIES, is_misread_by_pillow

_PHOTOMETRIC, _DESCRIPTION = 262, 270
# Of other pixels, or applied, or no EXIF: XMP, IPTC, Photoshop's, the colour profile.
_DROPPED_TAGS = {*LAYOUT_TAGS, ORIENTATION, 700, 33723, 34377, 34675}
# What tifffile, ImageJ and OME write in place of a description: how their own pixels are stored.
_LAYOUT_TEXT = re.compile(r'\{"shape"|ImageJ=|<\?xml .*<OME', re.DOTALL)
_MAX_REPAIR_BYTES = 1 << 30
_STEPS = {"L;2": 85, "L;4": 17}  # between the levels of few bits, at 8 bits


def read_image(
    path: Path | str | BinaryIO, *, max_pixels: int = MAX_PIXELS, truncated: bool = False
) -> ImageData:
    """Decode an image file.

    Args:
        path: Path of the file, or a binary stream.
        max_pixels: Largest number of pixels that the header may declare.
        truncated: Whether to read as much as possible of a truncated file, with a note.

    Raises:
        ImageError: The file is missing, not an image, damaged, or too large.
    """
    file = None
    source: AbstractContextManager[BinaryIO]
    try:
        if isinstance(path, str | Path):
            file = Path(path)
            check_regular(file)
            source = file.open("rb")
        else:
            source = nullcontext(path if path.seekable() else io.BytesIO(path.read()))
        with warnings.catch_warnings(), source as stream:
            # The limit below is the one that counts; Pillow's warning of the same would only confuse.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return _read(stream, max_pixels, truncated)
    except ImageError as error:
        raise ImageError(error.reason, file=error.file or file, hint=error.hint) from error
    except Image.DecompressionBombError:
        reason = f"more than {2 * MAX_PIXELS:,} pixels, the largest that facesr reads"
        raise ImageError(reason, file=file) from None
    except Exception as error:  # Pillow's decoders raise any kind for damaged files
        raise ImageError(f"cannot be read, {reason_of(error)}", file=file) from error


def _read(stream: BinaryIO, max_pixels: int, truncated: bool) -> ImageData:
    """Decode a stream. If it is truncated and that is allowed, complete it first."""
    try:
        return _decode_stream(stream, max_pixels)
    except (ImageError, Image.DecompressionBombError):
        raise
    except Exception as error:
        stream.seek(0)
        content, is_whole = complete(stream.read(_MAX_REPAIR_BYTES)) or (b"", False)
        if not content:
            raise
        try:
            image = _decode_stream(io.BytesIO(content), max_pixels)
        except Exception:
            raise error from None
        if not is_whole and not truncated:
            hint = "copy or download it again. `facesr upscale --truncated` keeps what is there"
            raise ImageError(f"cannot be read, {reason_of(error)}", hint=hint) from error
        note = MISSING_END if is_whole else CUT_OFF
        return replace(image, notes=(*image.notes, note))


def _decode_stream(stream: BinaryIO, max_pixels: int) -> ImageData:
    with opened(stream, whole=True) as (image, file):
        height, width = file.size if file else (image.height, image.width)
        if height * width > max_pixels:
            raise ImageError(f"{width}x{height} is more than {max_pixels:,} pixels")
        if file:
            notes = ("only the first page is used",) if file.tags.next else ()
            return _complete(tiff.read_pixels(file), image, notes, stream)
        channels = deep_png.read_deep(image)
        if channels is None:
            return _decode(image, stream)
        return _complete(_deep_png(channels, image), image, (), stream)


def from_pil(image: Image.Image) -> ImageData:
    """Convert a Pillow image of any mode, and apply its EXIF orientation.

    Colour under full transparency is replaced by that of its surroundings. Otherwise it would bleed into the
    edges when the image is enlarged.
    """
    try:
        return _decode(image)
    except Exception as error:  # Pillow's decoders raise any kind for damaged files
        raise ImageError(f"cannot be read, {reason_of(error)}") from error


def _decode(image: Image.Image, stream: BinaryIO | None = None) -> ImageData:
    """Convert a Pillow image. Any error of its decoder passes through."""
    if 0 in image.size:
        raise ValueError("it has no pixels")
    if isinstance(image, TiffImageFile):
        if is_misread_by_pillow(image.tag_v2):
            raise ValueError("Pillow reads this layout of TIFF wrongly, give facesr the file itself")
        # Before its file is closed by loading. Damage is met again in reading the whole block.
        with suppress(Exception):
            for tag in set(SUB_DIRECTORIES) & set(image.getexif()):
                image.getexif().get_ifd(tag)
    _scale_transparency(image)
    image.load()
    return _complete(_pixels(image), image, _skipped_frames(image), stream)


def _scale_transparency(image: Image.Image) -> None:
    """Correct the transparent level of a grey PNG of 2 or 4 bits, before it is loaded.

    Pillow scales the levels of such pixels to 8 bits, but not that one.
    """
    tile, level = getattr(image, "tile", None), image.info.get("transparency")
    step = _STEPS.get(str(tile[0].args)) if tile else None
    if step and isinstance(level, int) and level * step <= 255:
        image.info["transparency"] = level * step


def _pixels(image: Image.Image) -> ImageData:
    """Return the pixels of a loaded image, before its orientation is applied."""
    transparency = image.info.get("transparency")
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        levels = to_levels(np.asarray(image))
        # Pillow inverts only greys of 8 bits.
        if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
            levels = 65_535 - levels
        alpha = None if transparency is None else _all_but(levels[..., None], transparency)
        return ImageData(np.repeat(levels[..., None], 3, axis=2), True, alpha)
    if image.mode in {"RGBa", "La"}:
        image = image.convert(image.mode.upper())
    if image.mode == "CMYK":
        image = cmyk_to_rgb(image, image.info.get("icc_profile"))
    grey = image.mode in {"1", "L", "LA"}
    if image.mode in {"RGBA", "LA", "PA"} or transparency is not None:
        rgba = np.asarray(image.convert("RGBA"))
        return ImageData(rgba[..., :3], grey, rgba[..., 3])
    return ImageData(np.asarray(image.convert("RGB")), grey)


def _deep_png(channels: Deep, image: Image.Image) -> ImageData:
    grey = channels.shape[2] < 3
    colours = channels[..., :1] if grey else channels[..., :3]
    transparency = image.info.get("transparency")
    alpha = channels[..., -1] if channels.shape[2] % 2 == 0 else None
    if alpha is None and transparency is not None:
        alpha = _all_but(colours, transparency)
    return ImageData(np.repeat(colours, 3, axis=2) if grey else colours, grey, alpha)


def _all_but(levels: Deep, colour: int | tuple[int, ...]) -> Deep:
    """Return an alpha channel for (height, width, channels) in which one colour is transparent."""
    alpha: Deep = (levels != np.asarray(colour)).any(2) * np.uint16(65_535)
    return alpha


def _complete(
    pixels: ImageData, image: Image.Image, notes: tuple[str, ...], stream: BinaryIO | None
) -> ImageData:
    """Turn pixels upright, clean them, and add the image's metadata."""
    orientation, exif = 1, None
    try:
        Image.Exif().load(image.info.get("exif") or b"")  # fails where getexif passes over damage
        block = image.getexif()
        orientation = block.get(ORIENTATION, 1)
        exif = _carried_exif(block)
    except Exception:  # Pillow raises many kinds for a damaged block
        notes = (*notes, "damaged EXIF is left out")
    rgb, alpha = _upright(pixels.rgb, orientation), pixels.alpha
    if alpha is not None:
        alpha = _upright(alpha, orientation)
        rgb = fill_transparent(rgb, alpha)
    # Their profiles describe what the result no longer is.
    icc = None if image.mode in {"CMYK", "LAB"} else image.info.get("icc_profile")
    metadata, lost = collect(image, stream)
    notes = (*pixels.notes, *notes, *lost)
    return ImageData(rgb, pixels.grey, alpha, icc, exif, notes, metadata)


def _upright(pixels: Any, orientation: int) -> Any:
    """Apply one of the eight orientations of EXIF to (height, width) or (height, width, 3)."""
    if orientation in TURNED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _carried_exif(source: Image.Exif) -> bytes | None:
    """Return the EXIF block for a result of another size and orientation, if there is any."""
    exif = Image.Exif()
    exif.load(source.tobytes())  # a copy
    for tag in _DROPPED_TAGS & set(exif):
        del exif[tag]
    if _LAYOUT_TEXT.match(str(exif.get(_DESCRIPTION, ""))):
        del exif[_DESCRIPTION]
    if str(exif.get(TAG, "")).startswith(PREFIX):  # of an earlier result, which is enlarged again
        del exif[TAG]
    return exif.tobytes() if exif else None


def _skipped_frames(image: Image.Image) -> tuple[str, ...]:
    if getattr(image, "n_frames", 1) == 1 or image.format == "MPO":  # the others are previews there
        return ()
    what = "page" if image.format == "TIFF" else "frame of an animation"
    return (f"only the first {what} is used",)
