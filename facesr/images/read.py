"""Decoding image files."""

import io
import re
import warnings
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from facesr.errors import ImageError, reason_of
from facesr.files.paths import check_regular
from facesr.images.formats import open_image
from facesr.images.image import MAX_PIXELS, Array, ImageData
from facesr.images.metadata import collect
from facesr.images.repair import CUT_OFF, MISSING_END, complete

# Tags about how a file's own pixels are stored, which hold for no other, orientation, which is applied, and
# XMP, IPTC and Photoshop's, which are no EXIF.
_STORAGE_TAGS = {
    *range(254, 267), 273, 274, *range(277, 282), 284, *range(288, 294), 301, 317, *range(320, 326), 330,
    *range(332, 348), *range(512, 533), 700, 33723, 34377, 34675,
}  # fmt: skip

_MAX_REPAIR_BYTES = 1 << 30

_PHOTOMETRIC_TAG = 262
SUB_DIRECTORY_TAGS = {0x8769, 0x8825}  # Exif, GPS


def from_pil(image: Image.Image) -> ImageData:
    """Take the pixels of any Pillow image, its EXIF orientation applied.

    Colour under full transparency is replaced by that of its surroundings, so that nothing dark bleeds into
    the edges when it is enlarged.
    """
    try:
        return _with_metadata(_decode(image), image)
    except Exception as error:  # Pillow's decoders raise any kind for damaged files
        raise ImageError(f"cannot be read, {reason_of(error)}") from error


def _decode(image: Image.Image) -> ImageData:
    """Take the pixels of an image, with whatever error its decoder raises."""
    if 0 in image.size:
        raise ValueError("it has no pixels")
    original = image
    if image.format == "TIFF":  # whose file is closed once it is loaded
        with suppress(Exception):  # which come again below
            for tag in SUB_DIRECTORY_TAGS & set(image.getexif()):
                image.getexif().get_ifd(tag)
    image.load()
    notes = _losses(image)
    icc = image.info.get("icc_profile")
    # Pillow inverts only greys of 8 bits.
    white_is_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == 0
    try:
        image = ImageOps.exif_transpose(image)
        # Copies have nothing of a TIFF's, while only they tell of damage in others.
        exif = _carried_exif((original if original.format == "TIFF" else image).getexif())
    except Exception:  # Pillow raises many kinds for a damaged block
        exif, notes = None, (*notes, "damaged EXIF is left out")
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        deep = _levels(image)
        if white_is_zero:
            deep = 65_535 - deep
        return ImageData(np.repeat(deep[..., None], 3, axis=2), True, None, icc, exif, notes)
    if image.mode in {"RGBa", "La"}:
        image = image.convert(image.mode.upper())
    if image.mode == "CMYK":
        image, icc = _from_cmyk(image, icc), None  # the profile describes CMYK, which the result no longer is
    grey = image.mode in {"1", "L", "LA"}
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        alpha = np.ascontiguousarray(rgba[..., 3])
        return ImageData(_fill_transparent(rgba[..., :3], alpha), grey, alpha, icc, exif, notes)
    return ImageData(np.asarray(image.convert("RGB")), grey, None, icc, exif, notes)


def _carried_exif(source: Image.Exif) -> bytes | None:
    """Return the EXIF block that a result of another size and orientation may have, if any."""
    exif = Image.Exif()
    exif.load(source.tobytes())  # a copy
    for tag in _STORAGE_TAGS & set(exif):
        del exif[tag]
    return exif.tobytes() if exif else None


def _levels(image: Image.Image) -> NDArray[np.uint16]:
    """Return a grey image of more than 8 bits, or of floats in [0, 1], as levels of 16 bits."""
    values = np.asarray(image)
    limit, kind = (1, "float") if image.mode == "F" else (65_535, "integer")
    if not ((values >= 0) & (values <= limit)).all():  # nor is not-a-number
        raise ValueError(f"its {kind} values are not within 0 to {limit:,}")
    levels: NDArray[np.uint16] = np.round(values * (65_535 / limit)).astype(np.uint16)
    return levels


def _losses(image: Image.Image) -> tuple[str, ...]:
    notes = []
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # the others are previews there
        what = "page" if image.format == "TIFF" else "frame of an animation"
        notes.append(f"only the first {what} is taken")
    layout = str(image.info.get("facesr_layout", ""))
    if re.search("(RGB.?|LA|CMYK);16", layout):
        notes.append("16-bit colour is taken at 8 bits")
    if image.mode.startswith("I") and "transparency" in image.info:
        notes.append("the transparency of 16-bit grey is left out")
    return tuple(notes)


def _from_cmyk(image: Image.Image, icc: bytes | None) -> Image.Image:
    if icc is None:
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")
    return converted if converted is not None else image


def _fill_transparent(rgb: Array, alpha: Array) -> Array:
    """Give fully transparent pixels the mean colour of what is visible near them."""
    if alpha.all() or not alpha.any():
        return np.ascontiguousarray(rgb)
    filled = rgb.astype(np.float32)
    missing = alpha == 0
    height, width = alpha.shape
    weight = (alpha / np.float32(255))[..., None]
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
    result: Array = np.round(filled).clip(0, 255).astype(np.uint8)
    return result


def read_image(path: Path | BinaryIO, *, max_pixels: int = MAX_PIXELS, truncated: bool = False) -> ImageData:
    """Decode a file.

    Args:
        path: The file, or a stream of it.
        max_pixels: The most pixels that its header may state.
        truncated: Whether a file that is cut off is read as far as it goes, with a note.

    Raises:
        ImageError: It is missing, not an image, damaged, or too large.
    """
    file = None
    opened: AbstractContextManager[BinaryIO]
    try:
        if isinstance(path, Path):
            file = path
            check_regular(file)
            opened = file.open("rb")
        else:
            opened = nullcontext(path if path.seekable() else io.BytesIO(path.read()))
        with warnings.catch_warnings(), opened as stream:
            # The limit below is the one that counts; Pillow's warning of the same would only confuse.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return _read(stream, max_pixels, truncated)
    except ImageError as error:
        raise ImageError(error.reason, file=error.file or file, hint=error.hint) from error
    except Image.DecompressionBombError:
        reason = f"more than {2 * MAX_PIXELS:,} pixels, the most that are ever read"
        raise ImageError(reason, file=file) from None
    except Exception as error:  # Pillow's decoders raise any kind for damaged files
        raise ImageError(f"cannot be read, {reason_of(error)}", file=file) from error


def _read(stream: BinaryIO, max_pixels: int, truncated: bool) -> ImageData:
    """Decode a stream, completed where it ends too early and that may be."""
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
            hint = "copy or download it again, or use `facesr upscale --truncated` to take what is there"
            raise ImageError(f"cannot be read, {reason_of(error)}", hint=hint) from error
        note = MISSING_END if is_whole else CUT_OFF
        return replace(image, notes=(*image.notes, note))


def _decode_stream(stream: BinaryIO, max_pixels: int) -> ImageData:
    with open_image(stream, whole=True) as image:
        if image.width * image.height > max_pixels:
            raise ImageError(f"{image.width}x{image.height} is more than {max_pixels:,} pixels")
        image.info["facesr_layout"] = str([tile[3] for tile in getattr(image, "tile", ())])
        return _with_metadata(_decode(image), image, stream)


def _with_metadata(decoded: ImageData, image: Image.Image, stream: BinaryIO | None = None) -> ImageData:
    metadata, notes = collect(image, stream)
    return replace(decoded, metadata=metadata, notes=(*decoded.notes, *notes))
