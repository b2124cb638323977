"""A file is told by its content, and one that is not read is named for what it is."""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facesr.errors import ImageError
from facesr.files.listing import READ_FORMATS
from facesr.images.formats import open_image
from facesr.images.png import read_chunks
from facesr.images.read import read_image
from facesr.images.write import sniff_suffix
from tests.conftest import noise
from tests.hostile.pictures import FOREIGN, PNG_MAGIC, encode, heic, plain


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_another_kind_is_named_with_a_hint(name: str) -> None:
    content, reason = FOREIGN[name]
    with pytest.raises(ImageError) as caught:
        read_image(io.BytesIO(content))
    assert reason in caught.value.reason
    assert caught.value.hint


def test_the_name_of_a_file_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(plain("P"), "GIF"))
    with pytest.raises(ImageError, match=r"a\.png: a GIF image, which facesr does not read"):
        read_image(path)
    for kind in READ_FORMATS:
        path.write_bytes(encode(plain(), kind))
        assert read_image(path).size == plain().size[::-1]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_avif_is_read_and_stays_avif(mode: str) -> None:
    original = Image.fromarray(noise(12, 16)).resize((64, 48)).convert(mode)
    if mode == "RGBA":
        original.putalpha(128)
    content = encode(original, "AVIF", quality=95)
    image = read_image(io.BytesIO(content))
    assert np.abs(image.rgb.astype(int) - np.asarray(original.convert("RGB"))).mean() < 8
    assert (image.alpha is not None) == (mode == "RGBA")
    assert sniff_suffix(content) == ".avif"


@pytest.mark.parametrize("turned", [False, True])
def test_heic_is_read_upright_with_what_it_carries(turned: bool) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = (6 if turned else 1), "A"
    original = Image.fromarray(noise(12, 16)).resize((64, 48))
    content = heic(original, exif=exif.tobytes())
    image = read_image(io.BytesIO(content))
    expected = original.rotate(-90, expand=True) if turned else original
    assert np.abs(image.rgb.astype(int) - np.asarray(expected)).mean() < 8
    assert image.exif is not None
    carried = Image.Exif()
    carried.load(image.exif)
    assert dict(carried) == {0x013B: "A"}
    assert sniff_suffix(content) == ".png"


def test_heic_without_its_extra_is_one_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    content = heic(plain())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match="a HEIC image, which needs the extra `heic`") as caught:
        read_image(io.BytesIO(content))
    assert caught.value.hint == "run `pip install 'facesr[heic]'`"


def test_reading_heic_teaches_pillow_nothing() -> None:
    before = set(Image.OPEN)
    read_image(io.BytesIO(heic(plain())))
    assert set(Image.OPEN) == before


def test_a_stream_may_be_anywhere_and_need_not_go_back() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise io.UnsupportedOperation("seek")

    content = encode(plain(), "PNG")
    stream = io.BytesIO(content)
    stream.seek(20)
    for source in (stream, Pipe(content)):
        assert np.array_equal(read_image(source).rgb, np.asarray(plain()))


def damaged(name: bytes) -> bytes:
    """Return a PNG with a wrong checksum in one chunk."""
    content = bytearray(encode(plain(), "PNG", dpi=(72, 72), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"))
    at = content.index(name) + 4
    at += struct.unpack(">I", content[at - 8 : at - 4])[0]
    content[at] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize("name", ["pHYs", "eXIf"])
def test_a_chunk_that_the_pixels_do_not_need_is_left_out_when_damaged(name: str) -> None:
    image = read_image(io.BytesIO(damaged(name.encode())))
    assert np.array_equal(image.rgb, np.asarray(plain()))
    assert image.notes == (f"the PNG chunk {name} has a wrong checksum and is left out",)
    with open_image(io.BytesIO(damaged(name.encode()))) as opened:  # where no pixels are read
        assert opened.size == plain().size


@pytest.mark.parametrize("name", ["IHDR", "IDAT", "IEND"])
def test_a_damaged_chunk_that_the_pixels_need_is_named(name: str) -> None:
    with pytest.raises(ImageError, match=f"its PNG chunk {name} has a wrong checksum"):
        read_image(io.BytesIO(damaged(name.encode())))


def test_a_chunk_longer_than_its_file_takes_no_memory() -> None:
    stream = io.BytesIO(PNG_MAGIC + struct.pack(">I4s", 2**31 - 1, b"quUx") + b"x")
    (chunk,) = read_chunks(stream)
    assert (chunk.body, chunk.is_cut, chunk.is_sound) == (b"x", True, False)


@pytest.mark.parametrize("tag", [50706, 330])
def test_the_preview_of_a_camera_file_is_not_taken_for_its_image(tag: int) -> None:
    tags = {50706: b"\1\4\0\0"} if tag == 50706 else {254: 1, 330: 8}
    with pytest.raises(ImageError, match="a camera RAW file, which facesr does not read"):
        read_image(io.BytesIO(encode(plain(), "TIFF", tiffinfo=tags)))
