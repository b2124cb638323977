"""The tags of TIFF files, and whether Pillow reads the pixels correctly. Free of NumPy."""

import io
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2


class Tag(IntEnum):
    """Tags that describe how pixels are stored, and the tag of the colour profile."""

    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    SAMPLES = 277
    STRIP_ROWS = 278
    STRIP_BYTES = 279
    PLANAR = 284
    PREDICTOR = 317
    PALETTE = 320
    TILE_WIDTH = 322
    TILE_ROWS = 323
    TILE_OFFSETS = 324
    TILE_BYTES = 325
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    ICC = 34675


# All tags about how a file's own pixels are stored, which hold for no other.
LAYOUT_TAGS = {
    *range(254, 267), 273, *range(277, 282), 284, *range(288, 294), 301, 317, *range(320, 326), 330,
    *range(332, 348), *range(512, 533),
}  # fmt: skip
SUB_DIRECTORIES = (0x8769, 0x8825)  # Exif, GPS

NONE, JPEG, DEFLATE = 1, 7, 8  # compressions
COMPRESSIONS = {NONE, 5, DEFLATE, 32773, 32946, 50000}  # LZW, PackBits, an old Deflate, Zstandard
GREY, RGB, CMYK = 1, 2, 5  # photometric interpretations

_MAGIC = {b"II*\0": False, b"MM\0*": False, b"II+\0": True, b"MM\0+": True}  # whether it is BigTIFF
_LAST_CLASSIC_TYPE = 12


@dataclass(frozen=True)
class Tiff:
    """An open TIFF file and the tags of its first image."""

    stream: BinaryIO
    tags: ImageFileDirectory_v2
    head: bytes  # the first 16 bytes

    @property
    def is_big(self) -> bool:
        return _MAGIC.get(self.head[:4], False)

    def numbers(self, tag: int, *default: int) -> tuple[int, ...]:
        """Return the values of a tag. Raise ValueError if there are neither values nor a default."""
        values = self.tags.get(tag, default)
        values = values if isinstance(values, tuple) else (values,)
        if not values or not all(isinstance(value, int) for value in values):
            raise ValueError(f"its tag {tag} is missing or damaged")
        return values

    def number(self, tag: int, *default: int) -> int:
        """Return the first value of a tag."""
        return self.numbers(tag, *default)[0]

    @property
    def planes(self) -> int:
        """Number of parts in which the samples are stored."""
        return 1 if self.number(Tag.PLANAR, 1) == 1 else self.number(Tag.SAMPLES, 1)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.number(Tag.HEIGHT), self.number(Tag.WIDTH)

    @property
    def is_read_by_pillow(self) -> bool:
        """Whether Pillow reads the pixels correctly and at their full depth."""
        if self.is_big and self.tags.prefix == b"MM":
            return False
        if self.number(Tag.BITS, 1) in {16, 32, 64}:
            return False
        if self.number(Tag.SAMPLES, 1) == 2 and self.number(Tag.COMPRESSION, NONE) in COMPRESSIONS:
            return False
        is_jpeg_rgb = self.number(Tag.COMPRESSION, NONE) == JPEG and self.number(Tag.PHOTOMETRIC) == RGB
        return self.planes == 1 or is_jpeg_rgb


def open_tiff(stream: BinaryIO) -> Tiff | None:
    """Read the directory of a TIFF file, or return None for other files."""
    stream.seek(0)
    header = stream.read(16)
    is_big = _MAGIC.get(header[:4])
    if is_big is None:
        return None
    # Pillow's class knows BigTIFF in little-endian order alone, so it is told the byte order apart.
    start = b"II+\0" + header[4:] if is_big else b"II*\0" + header[4:8]
    directory = ImageFileDirectory_v2(start, prefix=header[:2])
    _load(directory, stream, directory.next)
    return Tiff(stream, directory, header)


def is_misread_by_pillow(tags: ImageFileDirectory_v2) -> bool:
    """Return whether Pillow returns wrong pixels, at least for some compressions."""
    file = Tiff(io.BytesIO(), tags, head=b"")
    depth = file.number(Tag.BITS, 1)
    is_swapped = depth > 16 and tags.prefix == b"MM" and file.number(Tag.COMPRESSION, NONE) != NONE
    return is_swapped or (file.planes > 1 and (depth != 8 or file.number(Tag.PHOTOMETRIC) != RGB))


def _load(directory: ImageFileDirectory_v2, stream: BinaryIO, offset: int) -> None:
    stream.seek(offset)
    directory.load(stream)


def metadata_of(tiff: Tiff) -> Image.Image:
    """Return a one-pixel image with all metadata of a file."""
    tags = carried_tags(tiff)
    if tiff.number(Tag.PHOTOMETRIC, GREY) == CMYK:
        tags.pop(Tag.ICC, None)  # it describes what the pixels no longer are once they are read
    tags[Tag.WIDTH] = tags[Tag.HEIGHT] = tags[Tag.STRIP_ROWS] = tags[Tag.STRIP_BYTES] = tags[Tag.SAMPLES] = 1
    tags[Tag.BITS], tags[Tag.COMPRESSION], tags[Tag.PHOTOMETRIC], tags[Tag.STRIP_OFFSETS] = 8, NONE, GREY, 0
    return Image.open(io.BytesIO(tiff_file(tags, b"\0")), formats=["TIFF"])


def carried_tags(tiff: Tiff) -> ImageFileDirectory_v2:
    """Copy all tags that do not describe the layout, with nested directories, without damaged ones."""
    tags = ImageFileDirectory_v2()
    for tag in set(tiff.tags) - LAYOUT_TAGS:
        with suppress(Exception):  # Pillow raises many kinds for damaged tags
            one = ImageFileDirectory_v2()
            if tag in SUB_DIRECTORIES:
                inner = ImageFileDirectory_v2(b"II*\0\0\0\0\0", prefix=tiff.tags.prefix, group=tag)
                _load(inner, tiff.stream, tiff.number(tag))
                one[tag] = dict(inner)
            elif tiff.tags.tagtype[tag] <= _LAST_CLASSIC_TYPE:
                one.tagtype[tag] = tiff.tags.tagtype[tag]
                one[tag] = tiff.tags[tag]
            one.tobytes()  # fails here, and not with all the others
            tags.tagtype[tag], tags[tag] = one.tagtype[tag], one[tag]
    return tags


def tiff_file(tags: ImageFileDirectory_v2, strips: bytes) -> bytes:
    """Return a TIFF file. Offsets in its tags count from the first byte of `strips`."""
    return struct.pack("<2sHL", b"II", 42, 8) + tags.tobytes(8) + strips
