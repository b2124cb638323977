"""Recovering truncated image files."""

import io
import re
from collections.abc import Iterator

from PIL import Image

from facesr.images.png import MAGIC, complete_png

MISSING_END = "the end of the file is missing, but all pixels are there"
CUT_OFF = "the file is cut off or damaged, what is missing is grey or black"

_END = b"\xff\xd9"
# Data that means nothing, of several kinds, in intervals with every number that a restart marker may have.
_FILLERS = [
    b"".join(pattern * 32 + bytes([0xFF, 0xD0 + number]) for number in range(8)) * 2
    for pattern in (b"\x5a\x96", b"\xa5\x69", b"\xfe\xdc", b"\x13\x37")
]
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
_RAW = 1  # a TIFF's compression
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets and lengths


def complete(content: bytes) -> tuple[bytes, bool] | None:
    """Complete a truncated image file. Return it and whether all its pixels are real.

    Missing pixels are grey in a JPEG and black elsewhere. None if the file cannot be recovered.
    """
    try:
        if content.startswith(b"\xff\xd8\xff"):
            data = _without_cut_segment(content).rstrip(b"\xff")
            return data + _END, _is_whole(data)
        if content.startswith(MAGIC):
            png = complete_png(content)
            return (png, False) if png else None
        return content + bytes(_missing_bytes(content)), False
    except Exception:  # Pillow's decoders raise any kind for damaged files
        return None


def segments(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield position, marker and content of each segment of a JPEG. Compressed data are skipped."""
    at = 2
    while match := _MARKER.search(content, at):
        marker, start = match[1][0], match.end()
        if marker == _END[1]:
            return
        length = int.from_bytes(content[start : start + 2])
        yield match.start(), marker, content[start + 2 : start + length]
        at = start + max(2, length)


def jpeg_bits(content: bytes) -> int:
    """Return the number of bits per channel of a JPEG, 8 if the file does not say."""
    return next((body[0] for _, marker, body in segments(content) if marker in _FRAMES and body), 8)


def _without_cut_segment(content: bytes) -> bytes:
    """Return a JPEG without the segment in which it ends, unless it ends in the pixel data."""
    at, _, body = max(segments(content), default=(len(content), 0, b""))
    length = int.from_bytes(content[at + 2 : at + 4])
    return content if len(body) + 2 >= length else content[:at]


def _is_whole(data: bytes) -> bool:
    """Return whether a JPEG lacks only its end marker. Then, whatever follows its data changes nothing."""
    if not _has_all_scans(data):
        return False
    pixels = _pixels(data + _END)
    return all(_pixels(data + filler + _END) == pixels for filler in _FILLERS)


def _has_all_scans(content: bytes) -> bool:
    """Return whether the scans of a JPEG contain all 64 coefficients of each channel to the last bit."""
    channels, found = 1, set()
    for _, marker, body in segments(content):
        if marker in _FRAMES:
            channels = body[5]
        elif marker == _SCAN:
            first, last, low_bit = body[-3], body[-2], body[-1] & 15
            if low_bit == 0:
                names = body[1 : 1 + 2 * body[0] : 2]
                found |= {(name, index) for name in names for index in range(first, last + 1)}
    return len(found) == 64 * channels


def _pixels(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
        return image.tobytes()


def _missing_bytes(content: bytes) -> int:
    """Return how many bytes an uncompressed BMP or TIFF lacks. Raise ValueError for other files."""
    with Image.open(io.BytesIO(content), formats=["BMP", "TIFF"]) as image:
        most = image.width * image.height * 8
        if image.format == "BMP":
            offset, length = image.tile[0][2], most
        else:
            tags = image.tag_v2  # type: ignore[attr-defined]
            offsets, lengths = (tags[tag] for tag in (_STRIPS if _STRIPS[0] in tags else _TILES))
            if tags.get(259, _RAW) != _RAW:
                raise ValueError("compressed")
            offset, length = min(offsets), max(map(sum, zip(offsets, lengths, strict=True))) - min(offsets)
    if offset >= len(content):
        raise ValueError("no pixels")
    return max(0, min(offset + length - len(content), most))
