"""TIFF layouts that Pillow does not read, misreads or cannot write, such as 16-bit samples.

Pillow parses the directory and decompresses through libtiff. This module interprets the bytes.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from facesr.images.colour import cmyk_to_rgb, to_levels
from facesr.images.image import Deep, ImageData
from facesr.images.tiff_tags import (
    CMYK,
    COMPRESSIONS,
    DEFLATE,
    GREY,
    NONE,
    RGB,
    Tag,
    Tiff,
    carried_tags,
    open_tiff,
    tiff_file,
)

_INVERTED_GREY, _INDEXED = 0, 3
_COLOURS = {_INVERTED_GREY: 1, GREY: 1, RGB: 3, _INDEXED: 1, CMYK: 4}  # samples of a pixel, without alpha
_IGNORED, _PREMULTIPLIED, _ALPHA = 0, 1, 2  # what a sample after the colours is
_KINDS = {1: "u", 2: "i", 3: "f"}
_HORIZONTAL, _FLOATING = 2, 3  # predictors
_LONG = 4  # a type of 32-bit numbers
_BAND_BYTES = 1 << 25  # decompressed at once, so that memory holds a large image only once
_STRIP_PX = 1 << 16  # pixels of a strip that is written


def read_pixels(tiff: Tiff) -> ImageData:
    """Decode an image of whole bytes, before its orientation is applied.

    Raises:
        ValueError: An unsupported layout, values out of range, or missing bytes.
    """
    samples, photometric = tiff.number(Tag.SAMPLES, 1), tiff.number(Tag.PHOTOMETRIC)
    bits, kinds = {*tiff.numbers(Tag.BITS, 1)}, {*tiff.numbers(Tag.SAMPLE_FORMAT, 1)}
    compression, count = tiff.number(Tag.COMPRESSION, NONE), _COLOURS.get(photometric, samples + 1)
    is_known = bits <= {8, 16, 32, 64} and kinds <= _KINDS.keys() and compression in COMPRESSIONS
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
        palette = np.asarray(tiff.numbers(Tag.PALETTE), np.uint16).reshape(3, -1).T
        return ImageData((palette[levels[..., 0]] >> 8).astype(np.uint8))
    if levels.dtype != np.uint8:
        levels = to_levels(levels).astype(np.uint8 if levels.itemsize == 1 else np.uint16, copy=False)
    opaque = np.iinfo(levels.dtype).max
    rgb, alpha = levels[..., :count], None
    extra = tiff.number(Tag.EXTRA_SAMPLES, _ALPHA) if samples > count else _IGNORED
    if extra != _IGNORED:
        alpha = np.ascontiguousarray(levels[..., count])
    if extra == _PREMULTIPLIED:
        weight = np.maximum(levels[..., count : count + 1], 1) / np.float32(opaque)
        rgb = np.round(rgb / weight).clip(0, opaque).astype(levels.dtype)
    if photometric == CMYK:
        eight = ImageData(rgb).rgb8
        converted = cmyk_to_rgb(
            Image.frombytes("CMYK", eight.shape[1::-1], eight.tobytes()), tiff.tags.get(Tag.ICC)
        )
        notes = () if levels.dtype == np.uint8 else ("16-bit CMYK is read at 8 bits",)
        return ImageData(np.asarray(converted), notes=notes)
    if photometric == _INVERTED_GREY:
        rgb = opaque - rgb
    return ImageData(np.repeat(rgb, 3, axis=2) if count == 1 else rgb, count == 1, alpha)


def _read_plane(tiff: Tiff, dtype: np.dtype[Any], plane: int) -> NDArray[Any]:
    """Return (height, width, channels) values of one plane. A single plane has all channels."""
    height, width = tiff.size
    channels = tiff.number(Tag.SAMPLES, 1) // tiff.planes
    is_tiled = Tag.TILE_OFFSETS in tiff.tags
    offsets = tiff.numbers(Tag.TILE_OFFSETS if is_tiled else Tag.STRIP_OFFSETS)
    counts = tiff.numbers(Tag.TILE_BYTES if is_tiled else Tag.STRIP_BYTES)
    rows = tiff.number(Tag.TILE_ROWS) if is_tiled else min(height, tiff.number(Tag.STRIP_ROWS, height))
    columns = tiff.number(Tag.TILE_WIDTH) if is_tiled else width
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
        layout: dict[int, int] = {Tag.WIDTH: across * segment_row, Tag.HEIGHT: stored}
        layout |= {Tag.TILE_WIDTH: segment_row, Tag.TILE_ROWS: rows} if is_tiled else {Tag.STRIP_ROWS: rows}
        raw = _decompress(tiff, layout, list(zip(offsets[span], counts[span], strict=True)))
        for index in range(across):
            piece = np.ascontiguousarray(raw[: bottom - top, index * segment_row : (index + 1) * segment_row])
            left = index * columns
            wanted = values[top:bottom, left : left + columns]
            wanted[:] = _undo_predictor(tiff, piece, dtype, channels)[:, : wanted.shape[1]]
    return values


def _decompress(tiff: Tiff, layout: dict[int, int], segments: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
    """Return decompressed rows of bytes. libtiff gets the segments as those of an 8-bit grey image."""
    data = bytearray()
    offsets = []
    for offset, count in segments:
        tiff.stream.seek(offset)
        offsets.append(8 + len(data))
        data += tiff.stream.read(count)
    counts = [count for _, count in segments]
    if len(data) != sum(counts):
        raise ValueError("the file is truncated")
    is_tiled = Tag.TILE_WIDTH in layout
    tags: dict[int, Sequence[int]] = {tag: [value] for tag, value in layout.items()}
    tags |= {Tag.BITS: [8], Tag.PHOTOMETRIC: [GREY], Tag.SAMPLES: [1]}
    tags |= {tag: [tiff.number(tag, 1)] for tag in (Tag.COMPRESSION, Tag.FILL_ORDER)}
    tags |= {Tag.TILE_OFFSETS if is_tiled else Tag.STRIP_OFFSETS: offsets}
    tags |= {Tag.TILE_BYTES if is_tiled else Tag.STRIP_BYTES: counts}
    # Not Image.open, whose limit is meant for the pixels of a whole image, and has been checked for it.
    with TiffImageFile(io.BytesIO(_container(tags, bytes(data)))) as image:
        return np.asarray(image)


def _container(tags: dict[int, Sequence[int]], data: bytes) -> bytes:
    """Return a TIFF file with `data` from byte 8 on, followed by tags of 32-bit numbers."""
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
    """Return a segment's bytes as (rows, columns, channels) values in this machine's byte order."""
    rows, predictor = len(piece), tiff.number(Tag.PREDICTOR, 1)
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


def deepen(encoded: bytes, pixels: Deep) -> bytes:
    """Replace the pixels of a TIFF file by 16-bit ones.

    Args:
        encoded: A TIFF file. Its metadata are kept.
        pixels: (height, width, channels), grey or RGB, with alpha last if there is any.
    """
    tiff = open_tiff(io.BytesIO(encoded))
    assert tiff is not None
    tags = carried_tags(tiff)
    height, width, channels = pixels.shape
    rows = max(1, _STRIP_PX // width)
    differences = pixels.copy()
    differences[:, 1:] -= pixels[:, :-1]
    tops = range(0, height, rows)
    strips = [zlib.compress(differences[top : top + rows].astype("<u2").tobytes()) for top in tops]
    sizes = [len(strip) for strip in strips]
    tags[Tag.WIDTH], tags[Tag.HEIGHT], tags[Tag.SAMPLES], tags[Tag.STRIP_ROWS] = width, height, channels, rows
    tags[Tag.BITS], tags[Tag.PHOTOMETRIC] = (16,) * channels, RGB if channels > 2 else GREY
    tags[Tag.COMPRESSION], tags[Tag.PREDICTOR] = DEFLATE, _HORIZONTAL
    tags[Tag.STRIP_BYTES], tags[Tag.STRIP_OFFSETS] = tuple(sizes), tuple(accumulate(sizes[:-1], initial=0))
    if channels % 2 == 0:
        tags[Tag.EXTRA_SAMPLES] = _ALPHA
    return tiff_file(tags, b"".join(strips))
