"""Which image formats are read, recognised by content, and what any other file is."""

import importlib.util
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, features
from PIL.TiffImagePlugin import TiffImageFile

from facesr.errors import ImageError, MissingExtra, reason_of
from facesr.files.listing import HEIC_PACKAGE, READ_FORMATS
from facesr.files.paths import check_regular
from facesr.images.png import MAGIC, read_chunks, write_chunks
from facesr.images.repair import MISSING_END, jpeg_bits
from facesr.images.tiff_tags import Tiff, metadata_of, open_tiff

_HEAD_BYTES = 4096

_NAMES = "PNG, JPEG, WebP, TIFF, BMP, AVIF and HEIC"
_CONVERT = "convert it to PNG or JPEG"
_AGAIN = "copy or download it again"
_RAW, _DEVELOP = "a camera RAW file, which facesr does not read", "develop it to TIFF or PNG first"
_HEIC = rb".{4}ftyp(hei[cmsx]|hev[cmsx]|mif[12]|msf1)"

# How a file starts that is not an image that is read, what it is, and what to do. The first that fits counts.
_FOREIGN = (
    (rb"$", "an empty file", _AGAIN),
    (rb"version https://git-lfs", "a Git LFS pointer, not the image", "run `git lfs pull`"),
    (rb"\s*(<\?xml.*|<!--.*|<!DOCTYPE svg.*)?<svg", "an SVG drawing, which facesr does not read", _CONVERT),
    (rb"\s*(?i:<!doctype html|<html|<head|<body)", "an HTML page, not an image", "download the image itself"),
    (rb"GIF8", "a GIF image, which facesr does not read", _CONVERT),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL image, which facesr does not read", _CONVERT),
    (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ", "a JPEG 2000 image, which facesr does not read", _CONVERT),
    (rb"8BP[SB]", "a Photoshop file, which facesr does not read", _CONVERT),
    (rb"%PDF", "a PDF file, which facesr does not read", _CONVERT),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file, which facesr does not read", _CONVERT),
    (rb"\0\0[\x01\x02]\0", "a Windows icon, which facesr does not read", _CONVERT),
    (rb"v/1\x01|#\?RADIANCE|#\?RGBE", "an OpenEXR or Radiance image, which facesr does not read", _CONVERT),
    (rb"P[1-7Ff]\s", "a PNM image, which facesr does not read", _CONVERT),
    (rb".{4}ftypcrx |FUJIFILMCCD|IIU\0|II[RS][OS]|MMOR|\0MRM|FOVb|II.{4}HEAPCCDR", _RAW, _DEVELOP),
    (rb"\x89PNG", "a damaged PNG file", _AGAIN),
    (rb"\xff\xd8\xff", "a damaged JPEG file", _AGAIN),
    (rb"RIFF.{4}WEBP", "a damaged WebP file", _AGAIN),
    (rb"II[*+]\0|MM\0[*+]", "a TIFF file that is damaged or of a rare kind", "convert it to PNG"),
    (rb"BM", "a damaged BMP file", _AGAIN),
    (rb".{4}ftyp(avi[fs]|mi[fa]|msf)", "a damaged AVIF file", _AGAIN),
    (rb".{4}ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI ", "a video, not an image", "save its frames as PNG"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive, not an image", "unpack it first"),
    (rb"", "not an image in a known format", f"facesr reads {_NAMES}"),
)  # fmt: skip

ORIENTATION = 274
TURNED = {5, 6, 7, 8}  # orientations whose sides are exchanged

# Tags of a TIFF that is the wrapping of a camera's raw data, its first image a small preview.
_DNG_VERSION, _SUBFILE_TYPE, _SUB_IFDS = 50706, 254, 330


def read_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of the upright image in a file, without decoding its pixels.

    Raises:
        ImageError: The header cannot be read. Too large an image is not an error here.
    """
    try:
        check_regular(path)
        with warnings.catch_warnings(), path.open("rb") as stream, opened(stream) as (image, file):
            warnings.simplefilter("ignore")
            height, width = file.size if file else (image.height, image.width)
            # For a PNG without EXIF in its header Pillow would decode the pixels to look behind them.
            has_exif = image.format != "PNG" or "exif" in image.info
            is_turned = has_exif and _orientation(image) in TURNED
            return (width, height) if is_turned else (height, width)
    except ImageError as error:
        raise ImageError(error.reason, file=path, hint=error.hint) from error
    except Exception as error:  # Pillow raises any kind for damaged files
        raise ImageError(f"cannot be read ({type(error).__name__})", file=path) from error


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a damaged block, which is left out when the image is read
        return 1


@contextmanager
def opened(stream: BinaryIO, *, whole: bool = False) -> Iterator[tuple[Image.Image, Tiff | None]]:
    """Open an image file.

    Yields:
        The image, and None. If facesr has to read the pixels itself: an image of one pixel, and the TIFF
        file.
    """
    file = open_tiff(stream)
    if file and not file.is_read_by_pillow and not is_raw(file.tags, file.head):
        with metadata_of(file) as image:
            yield image, file
    else:
        with open_image(stream, whole=whole) as image:
            yield image, None


def open_image(stream: BinaryIO, *, whole: bool = False) -> Image.Image:
    """Open an image file by its content, without decoding it.

    Its `info` has `facesr_notes`, a tuple of what was left out, and `facesr_cicp`, the colour space that a
    PNG names by number, if any. With `whole`, the checksums of a PNG's pixels are checked too, which reads
    the whole file.

    Raises:
        ImageError: The format is not supported. The reason says what it is.
        ValueError: A part of a PNG that its pixels need is damaged.
    """
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    notes: tuple[str, ...] = ()
    cicp = None
    if head.startswith(MAGIC):
        stream, notes, cicp = _checked_png(stream, whole=whole)
    stream.seek(0)
    try:
        image: Image.Image = Image.open(stream, formats=READ_FORMATS)
    except OSError as error:
        if error.errno is not None:  # which is not Pillow's word on the content
            raise
        if not re.match(_HEIC, head, re.DOTALL):
            stream.seek(0)
            raise _refusal(head, stream.read(1 << 20)) from None
        image = _open_heic(stream)
    if isinstance(image, TiffImageFile) and is_raw(image.tag_v2, head):
        raise ImageError(_RAW, hint=_DEVELOP)
    image.info["facesr_notes"], image.info["facesr_cicp"] = notes, cicp
    return image


def _checked_png(stream: BinaryIO, *, whole: bool) -> tuple[BinaryIO, tuple[str, ...], bytes | None]:
    """Return a PNG without its damaged optional chunks, notes about these, and its cICP."""
    damaged: list[str] = []
    cicp, ended = None, False
    for chunk in read_chunks(stream):
        if chunk.name == b"IDAT" and not whole:
            ended = True
            break
        ended |= chunk.name == b"IEND"
        if chunk.is_sound:
            if chunk.name == b"cICP" and len(chunk.body) == 4:
                cicp = chunk.body
        elif not chunk.is_cut:
            if chunk.is_critical:
                raise ValueError(f"its PNG chunk {chunk.name.decode()} has a wrong checksum")
            damaged.append(chunk.name.decode())
    notes = [f"the PNG chunk {name} has a wrong checksum and is left out" for name in dict.fromkeys(damaged)]
    if not ended:
        notes.append(MISSING_END)
    if damaged:
        sound = [(chunk.name, chunk.body) for chunk in read_chunks(stream) if chunk.is_sound]
        stream = io.BytesIO(write_chunks(*sound))
    return stream, tuple(notes), cicp


def _open_heic(stream: BinaryIO) -> Image.Image:
    if importlib.util.find_spec(HEIC_PACKAGE) is None:
        missing = MissingExtra("heic")
        raise ImageError("a HEIC image, which needs the extra `heic`", hint=missing.hint)
    from pillow_heif import HeifImageFile  # an optional extra

    stream.seek(0)
    try:
        image: Image.Image = HeifImageFile(stream)  # type: ignore[no-untyped-call]
    except SyntaxError as error:
        raise ImageError(f"a damaged HEIC image, {reason_of(error)}", hint=_AGAIN) from error
    return image


def is_raw(tags: Mapping[int, Any], head: bytes) -> bool:
    """Return whether a TIFF wraps a camera's raw data, judged by its tags and first bytes."""
    is_preview = tags.get(_SUBFILE_TYPE, 0) == 1 and _SUB_IFDS in tags
    return head[8:10] == b"CR" or _DNG_VERSION in tags or is_preview


def _refusal(head: bytes, content: bytes) -> ImageError:
    """Return an error that says what a file is that Pillow could not open."""
    if head.startswith(b"\xff\xd8\xff") and (bits := jpeg_bits(content)) != 8:
        return ImageError(f"a JPEG file with {bits} bits a channel", hint=f"{_CONVERT} with 8 bits")
    if head[4:12] == b"ftypavif" and not features.check("avif"):
        return ImageError(
            "an AVIF image, which this Pillow does not read", hint="run `pip install -U pillow`"
        )
    text = head.removeprefix(b"\xef\xbb\xbf")
    reason, hint = next(row[1:] for row in _FOREIGN if re.match(row[0], text, re.DOTALL))
    return ImageError(reason, hint=hint)
