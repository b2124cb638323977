"""Files that end too early: what is all there is done, and the rest is taken if one asks for it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from facesr.errors import ImageError
from facesr.images.png import read_chunks, write_chunks
from facesr.images.read import read_image
from facesr.images.repair import CUT_OFF, MISSING_END, complete
from tests.conftest import noise
from tests.hostile.pictures import png


def encoded(kind: str, mode: str = "RGB", side: int = 24, **options: Any) -> bytes:
    coarse = noise(side // 4, side // 4).repeat(4, axis=0).repeat(4, axis=1)
    stream = io.BytesIO()
    Image.fromarray(coarse).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def pixels(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


JPEGS = {
    "baseline": encoded("JPEG", quality=90),
    "grey": encoded("JPEG", "L"),
    "cmyk": encoded("JPEG", "CMYK"),
    "progressive": encoded("JPEG", progressive=True),
    "progressive in intervals": encoded("JPEG", progressive=True, restart_marker_blocks=2),
    "intervals": encoded("JPEG", restart_marker_blocks=1),
    "rows": encoded("JPEG", side=40, restart_marker_rows=1),
}


@pytest.mark.parametrize("content", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_counts_as_whole_exactly_where_no_pixel_is_missing(content: bytes) -> None:
    whole = set()
    for cut in range(1, len(content)):
        completed = complete(content[:-cut])
        if completed and completed[1]:
            whole.add(cut)
            assert np.array_equal(pixels(completed[0]), pixels(content))
    assert {1, 2} <= whole <= {1, 2, 3}


@pytest.mark.parametrize("name", ["baseline", "progressive"])
def test_a_jpeg_without_its_end_marker_is_done_with_a_note(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEGS[name])
    (tmp_path / "b.jpg").write_bytes(JPEGS[name][:-2])
    cut = read_image(tmp_path / "b.jpg")
    assert np.array_equal(cut.rgb, read_image(tmp_path / "a.jpg").rgb)
    assert cut.notes == (MISSING_END,)


def test_a_png_without_its_end_is_done_with_a_note() -> None:
    assert read_image(io.BytesIO(encoded("PNG")[:-12])).notes == (MISSING_END,)


# The rows of the seven passes of an interlaced image of 24x24 pixels.
PASSES = b"".join(
    b"\0" + noise(1, width, seed=width + row).tobytes()
    for width, height in ((3, 3), (3, 3), (6, 3), (6, 6), (12, 6), (12, 12), (24, 12))
    for row in range(height)
)
CUTS = {
    "a.jpg": (JPEGS["baseline"], 60),
    "progressive.jpg": (JPEGS["progressive"], 60),
    "a.png": (encoded("PNG"), 100),
    "grey.png": (encoded("PNG", "L"), 30),
    "palette.png": (encoded("PNG", "P", bits=8), 60),
    "bits.png": (png(24, 24, depth=1, color=0), 30),
    "deep.png": (png(24, 24, depth=16, color=6), 1000),
    "interlaced.png": (png(24, 24, interlace=1, data=PASSES), 400),
    "a.bmp": (encoded("BMP"), 200),
    "a.tif": (encoded("TIFF"), 200),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_file_that_is_cut_off_is_refused_unless_one_asks_for_what_is_there(
    name: str, tmp_path: Path
) -> None:
    content, cut = CUTS[name]
    path = tmp_path / name
    path.write_bytes(content[:-cut])
    with pytest.raises(ImageError, match=r"cannot be read") as caught:
        read_image(path)
    assert "`facesr upscale --truncated`" in caught.value.hint
    assert caught.value.file == path
    image = read_image(path, truncated=True)
    assert image.notes[-1] == CUT_OFF
    path.write_bytes(content)
    whole = read_image(path, truncated=True)
    assert (whole.size, whole.notes) == (image.size, image.notes[:-1])
    top = image.size[0] // 4
    if name == "a.bmp":  # which begins at the bottom
        assert np.array_equal(image.rgb[-top:], whole.rgb[-top:])
    elif name not in {"progressive.jpg", "interlaced.png"}:  # of which each row comes in several goes
        assert np.array_equal(image.rgb[:top], whole.rgb[:top])


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_where_nothing_can_be_taken_nothing_is_promised(kind: str) -> None:
    content = encoded(kind)
    with pytest.raises(ImageError) as caught:
        read_image(io.BytesIO(content[: len(content) // 2]), truncated=True)
    assert "--truncated" not in caught.value.hint


@pytest.mark.parametrize("start", [33, 60])
def test_a_png_without_a_row_of_pixels_is_refused(start: int) -> None:
    with pytest.raises(ImageError):
        read_image(io.BytesIO(encoded("PNG")[:start]), truncated=True)


def test_a_damaged_png_keeps_the_rows_before_the_damage() -> None:
    content = bytearray(encoded("PNG", side=96, compress_level=0))
    content[len(content) // 2] ^= 1
    with pytest.raises(ImageError, match="its PNG chunk IDAT has a wrong checksum"):
        read_image(io.BytesIO(content))
    assert read_image(io.BytesIO(content), truncated=True).notes == (CUT_OFF,)


def test_the_limit_on_pixels_holds_for_what_is_completed() -> None:
    with pytest.raises(ImageError, match="more than 100 pixels"):
        read_image(io.BytesIO(JPEGS["baseline"][:-60]), truncated=True, max_pixels=100)


def test_completing_a_file_changes_nothing_for_others() -> None:
    read_image(io.BytesIO(JPEGS["baseline"][:-60]), truncated=True)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_chunks_are_written_as_they_are_read() -> None:
    content = encoded("PNG", dpi=(72, 72))
    chunks = list(read_chunks(io.BytesIO(content)))
    assert all(chunk.is_sound for chunk in chunks)
    assert write_chunks(*((chunk.name, chunk.body) for chunk in chunks)) == content
