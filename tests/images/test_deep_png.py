"""16-bit colour in PNG files: every bit is read and written, as an independent library has it."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facesr.images.formats import read_size
from facesr.images.image import ImageData
from facesr.images.read import read_image
from facesr.images.write import encode_image, write_image
from tests.conftest import noise

Deep = NDArray[np.uint16]
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def deep_noise(height: int, width: int, channels: int) -> Deep:
    return np.random.default_rng(channels).integers(0, 65_536, (height, width, channels), dtype=np.uint16)


def paeth(left: int, above: int, corner: int) -> int:
    first = left + above - corner
    return min((left, above, corner), key=lambda value: abs(first - value))  # the first of equal ones


def filtered(rows: NDArray[np.uint8], step: int, kinds: list[int]) -> bytes:
    """Apply the filters of the PNG specification, byte by byte."""
    out = bytearray()
    for y, row in enumerate(rows.astype(int)):
        kind = kinds[y % len(kinds)]
        out.append(kind)
        for x, value in enumerate(row):
            left = int(row[x - step]) if x >= step else 0
            above = int(rows[y - 1][x]) if y else 0
            corner = int(rows[y - 1][x - step]) if y and x >= step else 0
            guess = (0, left, above, (left + above) // 2, paeth(left, above, corner))[kind]
            out.append((int(value) - guess) % 256)
    return bytes(out)


def passes(pixels: Deep) -> Iterator[Deep]:
    """Give the seven reduced images of Adam7."""
    for y, x, step_y, step_x in (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
    ):  # fmt: skip
        yield pixels[y::step_y, x::step_x]


def png(pixels: Deep, *, kinds: list[int], interlaced: bool = False, transparent: bytes = b"") -> bytes:
    height, width, channels = pixels.shape
    data = b""
    for part in passes(pixels) if interlaced else [pixels]:
        if part.size:
            rows = part.astype(">u2").reshape(len(part), -1).view(np.uint8)
            data += filtered(rows, 2 * channels, kinds)
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, interlaced)
    chunks = {b"IHDR": header, b"tRNS": transparent, b"IDAT": zlib.compress(data), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
        if body or name == b"IEND"
    )


def samples(image: ImageData) -> Deep:
    """Return what a read image holds, in the order of the file's channels."""
    colours = image.rgb[..., :1] if image.grey else image.rgb
    parts = [colours] if image.alpha is None else [colours, image.alpha[..., None]]
    return np.concatenate(parts, axis=2).astype(np.uint16)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_bit_is_read_whatever_the_filter(channels: int, interlaced: bool, tmp_path: Path) -> None:
    pixels = deep_noise(13, 11, channels)
    for kinds in ([0], [1], [2], [3], [4], [0, 1, 2, 3, 4]):
        (tmp_path / "a.png").write_bytes(png(pixels, kinds=kinds, interlaced=interlaced))
        assert np.array_equal(samples(read_image(tmp_path / "a.png")), pixels), kinds


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_what_is_written_is_read_again(channels: int, suffix: str, tmp_path: Path) -> None:
    pixels = deep_noise(40, 33, channels)
    (tmp_path / "a.png").write_bytes(png(pixels, kinds=[0]))
    write_image(tmp_path / f"b{suffix}", read_image(tmp_path / "a.png"))
    assert np.array_equal(samples(read_image(tmp_path / f"b{suffix}")), pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_independent_library_reads_what_is_written(channels: int) -> None:
    pixels = deep_noise(40, 33, channels)
    colours = pixels[..., :1].repeat(3, axis=2) if channels < 3 else pixels[..., :3]
    alpha = pixels[..., -1] if channels % 2 == 0 else None
    encoded = encode_image(ImageData(colours, grey=channels < 3, alpha=alpha), ".png")
    assert np.array_equal(imagecodecs.png_decode(encoded).reshape(pixels.shape), pixels)


def test_a_smooth_image_is_much_smaller_than_its_samples() -> None:
    y, x = np.mgrid[0:200, 0:300]
    pixels = np.stack([x * 200, y * 300, x * 100 + y * 100], axis=2).astype(np.uint16)
    assert len(encode_image(ImageData(pixels), ".png")) < pixels.nbytes / 20


@pytest.mark.parametrize("colour", [(0,), (40_000, 1, 65_535)])
def test_one_transparent_colour_of_16_bits_becomes_alpha(colour: tuple[int, ...], tmp_path: Path) -> None:
    pixels = deep_noise(4, 5, len(colour))
    pixels[1, 2] = colour
    transparent = struct.pack(f">{len(colour)}H", *colour)
    (tmp_path / "a.png").write_bytes(png(pixels, kinds=[0], transparent=transparent))
    image = read_image(tmp_path / "a.png")
    expected = np.full((4, 5), 65_535, np.uint16)
    expected[1, 2] = 0
    assert image.alpha is not None
    assert np.array_equal(image.alpha, expected)
    assert image.notes == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_at_16_bits_as_at_8(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(6, 9)).save(tmp_path / "shallow.png", exif=exif)
    shallow = read_image(tmp_path / "shallow.png")
    plain = ImageData(noise(6, 9).astype(np.uint16) * 257, exif=exif.tobytes())
    for suffix in (".png", ".tiff"):
        write_image(tmp_path / f"deep{suffix}", plain)
        deep = read_image(tmp_path / f"deep{suffix}")
        assert read_size(tmp_path / f"deep{suffix}") == deep.size
        assert np.array_equal(deep.rgb, shallow.rgb.astype(np.uint16) * 257), suffix


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_profile_and_exif_are_carried_at_16_bits(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x013B] = "A"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    image = ImageData(deep_noise(6, 9, 3), icc=b"profile" * 40, exif=exif.tobytes())
    write_image(tmp_path / f"a{suffix}", image)
    again = read_image(tmp_path / f"a{suffix}")
    assert again.icc == image.icc
    block = Image.Exif()
    block.load(again.exif or b"")
    assert block[0x013B] == "A"
    assert block.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
    assert block.get_ifd(0x8825)[1] == "N"


def test_other_formats_take_it_at_8_bits(tmp_path: Path) -> None:
    image = ImageData(deep_noise(16, 16, 3), alpha=deep_noise(16, 16, 1)[..., 0])
    write_image(tmp_path / "a.webp", image, quality=100)
    again = read_image(tmp_path / "a.webp")
    assert again.rgb.dtype == np.uint8
    assert again.alpha is not None
    assert np.abs(again.alpha.astype(float) - image.at_8_bits().alpha).max() <= 1
