"""Layouts of TIFF that Pillow does not read, reads wrongly or does not write, such as samples of 16 bits.

Pillow parses the directory, and libtiff, through Pillow, decompresses. What the bytes mean is known here.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from facesr.images.colour import cmyk_to_rgb, to_levels
from facesr.images.image import Deep, ImageData

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_PALETTE, _TILE_WIDTH, _TILE_ROWS, _TILE_OFFSETS, _TILE_BYTES = 320, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _ICC = 338, 339, 34675
# Tags about how a file's own pixels are stored, which hold for no other.
LAYOUT_TAGS = {
    *range(254, 267), 273, *range(277, 282), 284, *range(288, 294), 301, 317, *range(320, 326), 330,
    *range(332, 348), *range(512, 533),
}  # fmt: skip
SUB_DIRECTORIES = (0x8769, 0x8825)  # Exif, GPS

_MAGIC = {b"II*\0": False, b"MM\0*": False, b"II+\0": True, b"MM\0+": True}  # whether it is BigTIFF
_NONE, _JPEG, _DEFLATE = 1, 7, 8
_COMPRESSIONS = {_NONE, 5, _DEFLATE, 32773, 32946, 50000}  # LZW, PackBits, an old Deflate, Zstandard
_INVERTED_GREY, _GREY, _RGB, _INDEXED, _CMYK = 0, 1, 2, 3, 5
_COLOURS = {_INVERTED_GREY: 1, _GREY: 1, _RGB: 3, _INDEXED: 1, _CMYK: 4}  # samples of a pixel, without alpha
_IGNORED, _PREMULTIPLIED, _ALPHA = 0, 1, 2  # what a sample after the colours is
_KINDS = {1: "u", 2: "i", 3: "f"}
_HORIZONTAL, _FLOATING = 2, 3  # predictors
_LONG, _LAST_CLASSIC_TYPE = 4, 12
_BAND_BYTES = 1 << 25  # decompressed at once, so that memory holds a large image only once
_STRIP_PX = 1 << 16  # pixels of a strip that is written


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
        """Return the values of a tag, or raise ValueError where there are neither values nor a default."""
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
        """How many parts the samples of the pixels are stored in."""
        return 1 if self.number(_PLANAR, 1) == 1 else self.number(_SAMPLES, 1)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.number(_HEIGHT), self.number(_WIDTH)

    @property
    def is_read_by_pillow(self) -> bool:
        """Whether Pillow reads the pixels rightly and at their depth."""
        if self.is_big and self.tags.prefix == b"MM":
            return False
        if self.number(_BITS, 1) in {16, 32, 64}:
            return False
        if self.number(_SAMPLES, 1) == 2 and self.number(_COMPRESSION, _NONE) in _COMPRESSIONS:
            return False
        is_jpeg_rgb = self.number(_COMPRESSION, _NONE) == _JPEG and self.number(_PHOTOMETRIC) == _RGB
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
    """Tell whether Pillow gives other pixels than the file holds, for some compressions at least."""
    file = Tiff(io.BytesIO(), tags, head=b"")
    depth = file.number(_BITS, 1)
    is_swapped = depth > 16 and tags.prefix == b"MM" and file.number(_COMPRESSION, _NONE) != _NONE
    return is_swapped or (file.planes > 1 and (depth != 8 or file.number(_PHOTOMETRIC) != _RGB))


def _load(directory: ImageFileDirectory_v2, stream: BinaryIO, offset: int) -> None:
    stream.seek(offset)
    directory.load(stream)


def read_pixels(tiff: Tiff) -> ImageData:
    """Decode an image of whole bytes, as it lies there, before its orientation is applied.

    Raises:
        ValueError: A layout that is not supported, values out of range, or bytes that are missing.
    """
    samples, photometric = tiff.number(_SAMPLES, 1), tiff.number(_PHOTOMETRIC)
    bits, kinds = {*tiff.numbers(_BITS, 1)}, {*tiff.numbers(_SAMPLE_FORMAT, 1)}
    compression, count = tiff.number(_COMPRESSION, _NONE), _COLOURS.get(photometric, samples + 1)
    is_known = bits <= {8, 16, 32, 64} and kinds <= _KINDS.keys() and compression in _COMPRESSIONS
    if not is_known or len(bits) > 1 or len(kinds) > 1 or count > samples:
        depth = "/".join(map(str, sorted(bits)))
        what = f"{samples} x {depth} bits, photometric {photometric}, compression {compression}"
        raise ValueError(f"this layout of TIFF is not supported ({what})")
    order = ">" if tiff.tags.prefix == b"MM" else "<"
    dtype = np.dtype(f"{order}{_KINDS[kinds.pop()]}{bits.pop() // 8}")
    planes = [_read_plane(tiff, dtype, plane) for plane in range(tiff.planes)]
    levels = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
    del planes
    if photometric == _INDEXED:
        palette = np.asarray(tiff.numbers(_PALETTE), np.uint16).reshape(3, -1).T
        return ImageData((palette[levels[..., 0]] >> 8).astype(np.uint8))
    if levels.dtype != np.uint8:
        levels = to_levels(levels)
    opaque = np.iinfo(levels.dtype).max
    rgb, alpha = levels[..., :count], None
    extra = tiff.number(_EXTRA_SAMPLES, _ALPHA) if samples > count else _IGNORED
    if extra != _IGNORED:
        alpha = np.ascontiguousarray(levels[..., count])
    if extra == _PREMULTIPLIED:
        weight = np.maximum(levels[..., count : count + 1], 1) / np.float32(opaque)
        rgb = np.round(rgb / weight).clip(0, opaque).astype(levels.dtype)
    if photometric == _CMYK:
        eight = ImageData(rgb).rgb8
        converted = cmyk_to_rgb(
            Image.frombytes("CMYK", eight.shape[1::-1], eight.tobytes()), tiff.tags.get(_ICC)
        )
        notes = () if levels.dtype == np.uint8 else ("16-bit CMYK is taken at 8 bits",)
        return ImageData(np.asarray(converted), notes=notes)
    if photometric == _INVERTED_GREY:
        rgb = opaque - rgb
    return ImageData(np.repeat(rgb, 3, axis=2) if count == 1 else rgb, count == 1, alpha)


def _read_plane(tiff: Tiff, dtype: np.dtype[Any], plane: int) -> NDArray[Any]:
    """Return (height, width, channels) values of one plane; where there is but one, it has all channels."""
    height, width = tiff.size
    channels = tiff.number(_SAMPLES, 1) // tiff.planes
    is_tiled = _TILE_OFFSETS in tiff.tags
    offsets = tiff.numbers(_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS)
    counts = tiff.numbers(_TILE_BYTES if is_tiled else _STRIP_BYTES)
    rows = tiff.number(_TILE_ROWS) if is_tiled else min(height, tiff.number(_STRIP_ROWS, height))
    columns = tiff.number(_TILE_WIDTH) if is_tiled else width
    if min(rows, columns, height, width) < 1 or rows * columns > 4 * height * width + (1 << 22):
        raise ValueError("its tags give strips or tiles of an impossible size")
    across, down = -(-width // columns), -(-height // rows)
    first = plane * across * down
    if min(len(offsets), len(counts)) < first + across * down:
        raise ValueError("it lacks some of its strips or tiles")
    values = np.empty((height, width, channels), dtype.newbyteorder("="))
    segment_row = columns * channels * dtype.itemsize
    at_once = max(1, _BAND_BYTES // (rows * across * segment_row))
    for band in range(0, down, at_once):
        top, bottom = band * rows, min((band + at_once) * rows, height)
        span = slice(first + band * across, first + min(band + at_once, down) * across)
        stored = -(-(bottom - top) // rows) * rows if is_tiled else bottom - top
        layout = {_WIDTH: across * segment_row, _HEIGHT: stored}
        layout |= {_TILE_WIDTH: segment_row, _TILE_ROWS: rows} if is_tiled else {_STRIP_ROWS: rows}
        raw = _decompress(tiff, layout, list(zip(offsets[span], counts[span], strict=True)))
        for index in range(across):
            piece = np.ascontiguousarray(raw[: bottom - top, index * segment_row : (index + 1) * segment_row])
            left = index * columns
            wanted = values[top:bottom, left : left + columns]
            wanted[:] = _undo_predictor(tiff, piece, dtype, channels)[:, : wanted.shape[1]]
    return values


def _decompress(tiff: Tiff, layout: dict[int, int], segments: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
    """Return rows of bytes: libtiff is given the segments as those of a grey image of 8 bits."""
    data = bytearray()
    offsets = []
    for offset, count in segments:
        tiff.stream.seek(offset)
        offsets.append(8 + len(data))
        data += tiff.stream.read(count)
    counts = [count for _, count in segments]
    if len(data) != sum(counts):
        raise ValueError("the file is truncated")
    is_tiled = _TILE_WIDTH in layout
    tags: dict[int, Sequence[int]] = {tag: [value] for tag, value in layout.items()}
    tags |= {_BITS: [8], _PHOTOMETRIC: [_GREY], _SAMPLES: [1]}
    tags |= {tag: [tiff.number(tag, 1)] for tag in (_COMPRESSION, _FILL_ORDER)}
    tags |= {_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS: offsets}
    tags |= {_TILE_BYTES if is_tiled else _STRIP_BYTES: counts}
    # Not Image.open, whose limit is meant for the pixels of a whole image, and has been checked for it.
    with TiffImageFile(io.BytesIO(_container(tags, bytes(data)))) as image:
        return np.asarray(image)


def _container(tags: dict[int, Sequence[int]], data: bytes) -> bytes:
    """Return a TIFF file with `data` from byte 8 on, and tags of 32-bit numbers behind it."""
    data += b"\0" * (len(data) % 2)
    start = 8 + len(data)
    values_at = start + 2 + 12 * len(tags) + 4
    entries, values = [struct.pack("<H", len(tags))], list[int]()
    for tag, numbers in sorted(tags.items()):
        place = numbers[0] if len(numbers) == 1 else values_at + 4 * len(values)
        entries.append(struct.pack("<HHLL", tag, _LONG, len(numbers), place))
        values += numbers if len(numbers) > 1 else []
    table = b"".join(entries) + struct.pack("<L", 0) + struct.pack(f"<{len(values)}L", *values)
    return struct.pack("<2sHL", b"II", 42, start) + data + table


def _undo_predictor(
    tiff: Tiff, piece: NDArray[np.uint8], dtype: np.dtype[Any], channels: int
) -> NDArray[Any]:
    """Return (rows, columns, channels) values, in this machine's byte order, of the bytes of one segment."""
    rows, predictor = len(piece), tiff.number(_PREDICTOR, 1)
    values: NDArray[Any]
    if predictor == _FLOATING:
        summed = np.cumsum(piece.reshape(rows, -1, channels), axis=1, dtype=np.uint8)
        # The first bytes of all values come first, then the second ones.
        by_value = summed.reshape(rows, dtype.itemsize, -1).transpose(0, 2, 1)
        values = np.ascontiguousarray(by_value).view(dtype.newbyteorder(">"))
    elif predictor == _HORIZONTAL:
        whole = np.dtype(f"u{dtype.itemsize}")
        stored = piece.view(whole.newbyteorder(dtype.byteorder)).astype(whole)
        summed = np.cumsum(stored.reshape(rows, -1, channels), axis=1, dtype=whole)
        values = summed.view(dtype.newbyteorder("="))
    else:
        values = piece.view(dtype)
    return values.reshape(rows, -1, channels)


def metadata_of(tiff: Tiff) -> Image.Image:
    """Return an image of one pixel that holds everything of a file but its pixels."""
    tags = _carried_tags(tiff)
    tags[_WIDTH] = tags[_HEIGHT] = tags[_STRIP_ROWS] = tags[_STRIP_BYTES] = tags[_SAMPLES] = 1
    tags[_BITS], tags[_COMPRESSION], tags[_PHOTOMETRIC], tags[_STRIP_OFFSETS] = 8, _NONE, _GREY, 0
    return Image.open(io.BytesIO(_file(tags, b"\0")), formats=["TIFF"])


def deepen(encoded: bytes, pixels: Deep) -> bytes:
    """Put pixels of 16 bits into a TIFF file in place of its own.

    Args:
        encoded: A file with the metadata that the result is to have.
        pixels: (height, width, channels): grey or RGB, with alpha as the last channel or without.
    """
    tiff = open_tiff(io.BytesIO(encoded))
    assert tiff is not None
    tags = _carried_tags(tiff)
    height, width, channels = pixels.shape
    rows = max(1, _STRIP_PX // width)
    differences = pixels.copy()
    differences[:, 1:] -= pixels[:, :-1]
    tops = range(0, height, rows)
    strips = [zlib.compress(differences[top : top + rows].astype("<u2").tobytes()) for top in tops]
    sizes = [len(strip) for strip in strips]
    tags[_WIDTH], tags[_HEIGHT], tags[_SAMPLES], tags[_STRIP_ROWS] = width, height, channels, rows
    tags[_BITS], tags[_PHOTOMETRIC] = (16,) * channels, _RGB if channels > 2 else _GREY
    tags[_COMPRESSION], tags[_PREDICTOR] = _DEFLATE, _HORIZONTAL
    tags[_STRIP_BYTES], tags[_STRIP_OFFSETS] = tuple(sizes), tuple(accumulate(sizes[:-1], initial=0))
    if channels % 2 == 0:
        tags[_EXTRA_SAMPLES] = _ALPHA
    return _file(tags, b"".join(strips))


def _carried_tags(tiff: Tiff) -> ImageFileDirectory_v2:
    """Copy all tags that are not about the layout, with the directories inside, less damaged ones."""
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


def _file(tags: ImageFileDirectory_v2, strips: bytes) -> bytes:
    """Return a TIFF file; the offsets among its tags count from the first byte of `strips`."""
    return struct.pack("<2sHL", b"II", 42, 8) + tags.tobytes(8) + strips
