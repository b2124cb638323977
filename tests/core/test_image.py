"""Pictures keep what they are: orientation, grey, alpha, profile."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from facesr.errors import ImageError
from facesr.image import check_writable, from_pil, read_picture, to_pil, write_picture
from tests.conftest import noise


def image(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(noise(10, 14)).convert(mode)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_picture_comes_back_as_it_was(mode: str, tmp_path: Path) -> None:
    original = image(mode)
    if "A" in mode:
        original.putalpha(Image.fromarray(noise(10, 14)[..., 0]))
    assert np.array_equal(np.asarray(to_pil(from_pil(original))), np.asarray(original))
    original.save(tmp_path / "a.png")
    write_picture(tmp_path / "b.png", read_picture(tmp_path / "a.png"))
    with Image.open(tmp_path / "b.png") as again:
        assert again.mode == mode
        assert np.array_equal(np.asarray(again), np.asarray(original))


@pytest.mark.parametrize(("mode", "result"), [("1", "L"), ("P", "RGB"), ("CMYK", "RGB"), ("I;16", "L")])
def test_other_modes_become_grey_or_rgb(mode: str, result: str) -> None:
    if mode == "I;16":
        original = Image.fromarray((noise(10, 14)[..., 0].astype(np.uint16) << 8) + 77)
        assert np.array_equal(from_pil(original).rgb[..., 0], noise(10, 14)[..., 0])
    else:
        original = image(mode)
    assert to_pil(from_pil(original)).mode == result


def test_a_transparent_palette_keeps_its_transparency() -> None:
    original = image("P")
    original.info["transparency"] = 0
    assert to_pil(from_pil(original)).mode == "RGBA"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_its_tag_reset(orientation: int, tmp_path: Path) -> None:
    original = image()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    original.save(tmp_path / "a.png", exif=exif)
    write_picture(tmp_path / "b.png", read_picture(tmp_path / "a.png"))
    with Image.open(tmp_path / "b.png") as again:
        assert again.getexif().get(0x0112, 1) == 1
        assert again.getexif()[0x010F] == "maker"
        assert again.size == ((14, 10) if orientation < 5 else (10, 14))
    turns = {1: 0, 8: 1, 3: 2, 6: -1}
    if orientation in turns:
        expected = np.rot90(np.asarray(original), turns[orientation])
        assert np.array_equal(read_picture(tmp_path / "b.png").rgb, expected)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_the_colour_profile_is_carried(suffix: str, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image().save(tmp_path / f"a{suffix}", icc_profile=profile)
    write_picture(tmp_path / f"b{suffix}", read_picture(tmp_path / f"a{suffix}"))
    with Image.open(tmp_path / f"b{suffix}") as again:
        assert again.info["icc_profile"] == profile


def test_jpeg_lays_alpha_on_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    write_picture(tmp_path / "a.jpg", from_pil(clear))
    assert read_picture(tmp_path / "a.jpg").rgb.min() > 250


def test_alpha_grows_with_the_picture() -> None:
    picture = from_pil(Image.new("RGBA", (5, 3), (1, 2, 3, 128)))
    grown = picture.enlarged(np.zeros((12, 20, 3), np.uint8))
    assert grown.alpha is not None
    assert grown.alpha.shape == (12, 20)
    assert np.unique(grown.alpha).tolist() == [128]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.png", b"hello"),
        ("empty.png", b""),
        ("missing.png", None),
        ("cut.png", "cut"),
        ("cut.jpg", "cut"),
    ],
)
def test_a_broken_file_is_named(name: str, content: bytes | str | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if content == "cut":
        Image.fromarray(noise(64, 64)).save(path)
        content = path.read_bytes()[:1200]
    if isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(ImageError, match=name) as caught:
        read_picture(path)
    assert str(path) not in caught.value.reason
    assert "\n" not in caught.value.reason


def test_what_a_format_cannot_hold_is_refused() -> None:
    check_writable(Path("a.webp"), height=16_383, width=4)
    check_writable(Path("a.png"), height=10**6, width=4)
    with pytest.raises(ImageError, match="more than WEBP can hold"):
        check_writable(Path("a.webp"), height=16_384, width=4)
    with pytest.raises(ImageError, match="more than JPEG can hold"):
        check_writable(Path("a.JPG"), height=4, width=65_501)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"file/a\.png: cannot be written"):
        write_picture(tmp_path / "file" / "a.png", from_pil(image()))
