"""PNG files with 16-bit colour. Pillow has no mode for it and reads only the upper byte of each sample."""

import io
import struct
import zlib

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from facesr.images.image import Deep
from facesr.images.png import read_chunks, write_chunks

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by number of channels
_SUB, _UP = 1, 2  # filters: what is subtracted from a byte is that of the pixel to the left, or above
# What the decoder is to make of the samples: RGB of 16 bits gives the upper bytes, read in the other byte
# order it gives the lower ones, and grey with alpha of 16 bits has as many bytes as RGBA of 8.
_PASSES = {
    "RGB;16B": ("RGB;16B", "RGB;16L"),
    "RGBA;16B": ("RGBA;16B", "RGBA;16L"),
    "LA;16B": ("RGBA",),
}


def read_deep(image: Image.Image) -> Deep | None:
    """Load an opened image and return its pixels if it is a PNG with 16-bit colour, else None.

    Returns:
        (height, width, channels), grey or RGB, with alpha last if there is any.
    """
    if not isinstance(image, PngImageFile) or image.fp is None or not image.tile:
        return None
    stream, layout = image.fp, str(image.tile[0].args)
    if layout not in _PASSES:
        return None
    image.load()
    passes = []
    for name in _PASSES[layout]:
        stream.seek(0)
        with PngImageFile(stream) as again:
            again.tile = [again.tile[0]._replace(args=name)]
            passes.append(np.asarray(again))
    if layout == "LA;16B":
        return passes[0].view(">u2").astype(np.uint16)
    upper, lower = passes
    samples: Deep = upper.astype(np.uint16) << 8 | lower
    return samples


def deepen(encoded: bytes, pixels: Deep, *, compression: int = 1) -> bytes:
    """Replace the pixels of a PNG file by 16-bit ones.

    Args:
        encoded: A PNG file. Its other chunks are kept.
        pixels: (height, width, channels), grey or RGB, with alpha last if there is any.
        compression: Level from 0 to 9.
    """
    height, width, channels = pixels.shape
    header = struct.pack(">LLBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    new = {b"IHDR": header, b"IDAT": zlib.compress(_filtered(pixels), compression)}
    return write_chunks(
        *((chunk.name, new.get(chunk.name, chunk.body)) for chunk in read_chunks(io.BytesIO(encoded)))
    )


def _filtered(pixels: Deep) -> bytes:
    """Return the rows with the PNG filter that leaves the smaller numbers in each."""
    height, width, channels = pixels.shape
    step = 2 * channels
    plain = pixels.astype(">u2").view(np.uint8).reshape(height, width * step)
    left, above = np.zeros_like(plain), np.zeros_like(plain)
    left[:, step:] = plain[:, :-step]
    above[1:] = plain[:-1]
    differences = np.stack([plain - left, plain - above])
    sums = np.abs(differences.view(np.int8).astype(np.int16)).sum(2, dtype=np.int64)
    chosen = sums.argmin(0)
    rows = np.empty((height, 1 + width * step), np.uint8)
    rows[:, 0] = np.array([_SUB, _UP])[chosen]
    rows[:, 1:] = differences[chosen, np.arange(height)]
    return rows.tobytes()
