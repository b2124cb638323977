"""Pictures keep what they are: orientation, grey, alpha, profile."""

import io
import itertools
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from facesr.errors import ImageError
from facesr.images.image import ImageData, to_pil
from facesr.images.png import write_chunks
from facesr.images.read import from_pil, read_image
from facesr.images.write import (
    check_writable,
    encode_image,
    exif_is_too_long,
    holds_alpha,
    sniff_suffix,
    write_image,
)
from tests.conftest import noise


def image(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(noise(10, 14)).convert(mode)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_picture_comes_back_as_it_was(mode: str, tmp_path: Path) -> None:
    original = image(mode)
    if "A" in mode:
        original.putalpha(Image.fromarray(noise(10, 14)[..., 0].clip(1)))
    assert np.array_equal(np.asarray(to_pil(from_pil(original))), np.asarray(original))
    original.save(tmp_path / "a.png")
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.png"))
    with Image.open(tmp_path / "b.png") as again:
        assert again.mode == mode
        assert np.array_equal(np.asarray(again), np.asarray(original))


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
def test_a_jpeg_is_encoded_into_a_file_so_that_other_threads_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow holds the interpreter's lock for everything else that it can write into.
    files, real = [], Image.Image.save

    def save(self: Image.Image, stream: BinaryIO, *arguments: Any, **options: Any) -> None:
        files.append(stream.fileno())
        real(self, stream, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    encode_image(ImageData(noise(24, 40)), ".jpg")
    assert len(files) == 1


@pytest.mark.parametrize(("mode", "result"), [("1", "L"), ("P", "RGB"), ("CMYK", "RGB")])
def test_other_modes_become_grey_or_rgb(mode: str, result: str) -> None:
    assert to_pil(from_pil(image(mode))).mode == result


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_grey_keeps_its_depth(suffix: str, tmp_path: Path) -> None:
    deep = (noise(10, 14)[..., 0].astype(np.uint16) << 8) + 77
    Image.fromarray(deep).save(tmp_path / f"a{suffix}")
    picture = read_image(tmp_path / f"a{suffix}")
    assert picture.grey
    assert np.array_equal(picture.rgb[..., 1], deep)
    assert picture.rgb8.dtype == np.uint8
    write_image(tmp_path / f"b{suffix}", picture)
    assert np.array_equal(read_image(tmp_path / f"b{suffix}").rgb, picture.rgb)
    write_image(tmp_path / "c.jpg", picture)
    assert read_image(tmp_path / "c.jpg").rgb.dtype == np.uint8


def lanczos(old: int, new: int) -> NDArray[np.float64]:
    """Return the (new, old) matrix that resamples a line by Lanczos of three lobes, its ends cut off."""
    stretch = max(1.0, old / new)
    centres = (np.arange(new) + 0.5) * old / new
    distance = (np.arange(old) + 0.5 - centres[:, None]) / stretch
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    table: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return table


@pytest.mark.parametrize("size", [(5, 7), (20, 9), (33, 41)])
def test_16_bit_grey_is_resized_at_its_depth(size: tuple[int, int]) -> None:
    deep = np.random.default_rng(0).integers(0, 65_536, (20, 28, 1), dtype=np.uint16).repeat(3, axis=2)
    out = ImageData(deep, grey=True).resized(*size).rgb
    assert (out.shape, out.dtype) == ((*size, 3), np.uint16)
    exact = lanczos(20, size[0]) @ deep[..., 0].astype(float) @ lanczos(28, size[1]).T
    assert np.abs(out - exact.clip(0, 65_535)[..., None]).max() <= 0.6


@pytest.mark.parametrize("size", [(80, 60), (33, 41), (7, 5), (20, 28)])
def test_bands_of_a_resized_image_join_without_a_seam(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = ImageData(noise(20, 28))
    whole = image.resized(*size).rgb
    monkeypatch.setattr("facesr.images.image._BAND_PX", 8)
    banded = image.resized(*size).rgb
    assert np.array_equal(whole, banded)


def test_float_grey_in_the_unit_range_becomes_16_bit_grey(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 4 * 6, dtype=np.float32).reshape(4, 6)
    Image.fromarray(ramp).save(tmp_path / "a.tiff")
    picture = read_image(tmp_path / "a.tiff")
    assert (picture.grey, picture.rgb.dtype) == (True, np.uint16)
    assert np.abs(picture.rgb / 65_535 - ramp[..., None]).max() <= 0.5001 / 65_535
    assert to_pil(picture).mode == "I;16"


@pytest.mark.parametrize("value", [-0.1, 1.1, 255.0, np.nan, np.inf])
def test_float_grey_of_another_range_is_refused(value: float, tmp_path: Path) -> None:
    pixels = np.zeros((4, 6), np.float32)
    pixels[1, 2] = value
    Image.fromarray(pixels).save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match=r"a\.tiff: cannot be read, its float values are not"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("bad", [-1, 65_536, 2**31 - 1])
def test_integer_grey_of_another_range_is_refused(bad: int, tmp_path: Path) -> None:
    pixels = np.full((4, 6), 65_535, np.int32)
    Image.fromarray(pixels).save(tmp_path / "good.tiff")
    assert (read_image(tmp_path / "good.tiff").rgb == 65_535).all()
    pixels[1, 2] = bad
    Image.fromarray(pixels).save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match=r"a\.tiff: cannot be read, its integer values are not"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_a_tiff_whose_zero_is_white_is_no_negative(kind: type, tmp_path: Path) -> None:
    white = 65_535 if kind is np.uint16 else 1
    levels = (np.arange(24).reshape(4, 6) / 24 * white).astype(kind)
    Image.fromarray(levels).save(tmp_path / "black.tiff")
    Image.fromarray(white - levels).save(tmp_path / "white.tiff", tiffinfo={262: 0})
    with Image.open(tmp_path / "white.tiff") as saved:
        assert saved.tag_v2[262] == 0
    black, inverted = (read_image(tmp_path / f"{name}.tiff").rgb for name in ("black", "white"))
    assert np.abs(black.astype(int) - inverted).max() <= 1


@pytest.mark.parametrize("alpha", [1, 255])
@pytest.mark.parametrize("side", [64, 999])
def test_one_visible_point_in_a_transparent_picture_colours_all(side: int, alpha: int) -> None:
    rgba = np.zeros((side, side, 4), np.uint8)
    rgba[side // 2, side // 3] = (200, 100, 50, alpha)
    picture = from_pil(Image.fromarray(rgba))
    assert np.abs(picture.rgb.astype(int) - (200, 100, 50)).max() <= 1


def test_lab_is_not_transparent_and_premultiplied_modes_are(tmp_path: Path) -> None:
    assert from_pil(image().convert("LAB")).alpha is None
    image().convert("LAB").save(tmp_path / "a.tif", icc_profile=bytes(16) + b"Lab " + bytes(108))
    assert read_image(tmp_path / "a.tif").icc is None
    rgba = Image.fromarray(noise(6, 6)).convert("RGBA")
    rgba.putalpha(128)
    for mode, grey in (("RGBa", False), ("La", True)):
        picture = from_pil(rgba.convert("LA").convert("La") if grey else rgba.convert(mode))
        assert picture.alpha is not None, mode
        assert (picture.alpha == 128).all()
        assert picture.grey == grey


@pytest.mark.parametrize("suffix", [".webp", ".png", ".tiff"])
def test_the_first_frame_of_an_animation_is_taken_with_a_note(suffix: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(noise(8, 8, seed=seed)) for seed in range(3)]
    options = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], **options)
    picture = read_image(tmp_path / f"a{suffix}")
    what = "page" if suffix == ".tiff" else "frame of an animation"
    assert picture.notes == (f"only the first {what} is used",)
    assert np.array_equal(picture.rgb, noise(8, 8))


def test_cmyk_goes_through_its_profile_which_is_not_carried(tmp_path: Path) -> None:
    image("CMYK").save(tmp_path / "plain.jpg", quality=100)
    plain = read_image(tmp_path / "plain.jpg")
    assert plain.icc is None
    # An RGB profile does not fit four channels: the plain conversion is used then.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image("CMYK").save(tmp_path / "odd.jpg", quality=100, icc_profile=profile)
    odd = read_image(tmp_path / "odd.jpg")
    assert odd.icc is None
    assert np.array_equal(odd.rgb, plain.rgb)


def test_colour_under_transparency_comes_from_around_it() -> None:
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[10:30, 10:30] = (200, 100, 50, 255)
    picture = from_pil(Image.fromarray(rgba))
    assert np.abs(picture.rgb.astype(int) - (200, 100, 50)).max() <= 1
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, rgba[..., 3])
    clear = from_pil(Image.new("RGBA", (5, 5), (0, 0, 0, 0)))
    assert clear.rgb.max() == 0


def rich_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x013B] = "A"
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    return exif


@pytest.mark.parametrize("to", [".png", ".jpg", ".webp", ".tiff"])
@pytest.mark.parametrize("of", [".png", ".jpg", ".webp", ".tiff"])
def test_exif_is_carried_with_its_sub_directories(of: str, to: str, tmp_path: Path) -> None:
    exif = rich_exif()
    if of != ".tiff":
        exif[0x0100] = 4000  # as some telephones write it
    options = {"compression": "raw"} if of == ".tiff" else {}
    Image.fromarray(noise(8, 6)).save(tmp_path / f"a{of}", exif=exif.tobytes(), **options)
    write_image(tmp_path / f"b{to}", read_image(tmp_path / f"a{of}"))
    with Image.open(tmp_path / f"b{to}") as again:
        again.load()
        exif = again.getexif()
        assert again.size == (8, 6)  # turned upright
        assert exif[0x013B] == "A"
        assert 0x0112 not in exif
        assert exif.get(0x0100) in {None, 8}
        assert exif.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
        assert exif.get_ifd(0x8825)[1] == "N"


def test_reading_leaves_the_exif_of_a_pillow_image_alone() -> None:
    source = image()
    source.getexif().update(dict(rich_exif()))
    from_pil(source)
    assert source.getexif()[0x0112] == 6


def test_what_pillow_cannot_encode_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Error setting from dictionary")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(ImageError, match=r"a\.tiff: cannot be written as TIFF, Error setting"):
        write_image(tmp_path / "a.tiff", from_pil(image()))


def test_a_profile_of_grey_goes_to_grey_alone(tmp_path: Path) -> None:
    profile = bytes(16) + b"GRAY" + bytes(108)
    for mode, suffix in itertools.product(["L", "LA", "RGB"], [".png", ".webp", ".tiff", ".avif", ".jpg"]):
        write_image(tmp_path / f"a{suffix}", replace(from_pil(Image.new(mode, (8, 8))), icc=profile))
        with Image.open(tmp_path / f"a{suffix}") as again:
            kept = profile if again.mode in {"L", "LA"} else None
            assert again.info.get("icc_profile") == kept, (mode, suffix)


def test_photographs_of_several_views_are_jpeg(tmp_path: Path) -> None:
    views = [Image.fromarray(noise(8, 8, seed=seed)) for seed in range(2)]
    views[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=views[1:])
    assert sniff_suffix((tmp_path / "a.jpg").read_bytes()) == ".jpg"
    assert read_image(tmp_path / "a.jpg").notes == ()


def test_a_bitmap_of_16_bits_a_pixel_loses_nothing(tmp_path: Path) -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 16, 0, 32, 0, 0, 0, 0)
    content = b"BM" + struct.pack("<IHHI", 14 + len(header) + 32, 0, 0, 14 + len(header)) + header + bytes(32)
    (tmp_path / "a.bmp").write_bytes(content)
    assert read_image(tmp_path / "a.bmp").notes == ()


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_exif_too_long_for_jpeg_is_left_out(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    picture = from_pil(image())
    picture = replace(picture, exif=exif.tobytes())
    write_image(tmp_path / f"a{suffix}", picture)
    assert exif_is_too_long(picture, suffix) == (suffix == ".jpg")
    write_image(tmp_path / "a.png", picture)
    with Image.open(tmp_path / "a.png") as again:
        assert len(again.getexif()[0x010E]) == 70_000


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_formats_without_alpha_are_known(suffix: str) -> None:
    assert not holds_alpha(suffix)
    assert all(holds_alpha(other) for other in (".png", ".webp", ".tiff", ".TIF"))


def test_a_header_that_promises_too_much_is_refused_before_decoding(tmp_path: Path) -> None:
    image().save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: 14x10 is more than 100 pixels"):
        read_image(tmp_path / "a.png", max_pixels=100)
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = b"IHDR" + header
    bomb = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bomb)
    with pytest.raises(ImageError, match="bomb"):
        read_image(tmp_path / "bomb.png")


def test_a_transparent_palette_keeps_its_transparency() -> None:
    original = image("P")
    original.info["transparency"] = 0
    assert to_pil(from_pil(original)).mode == "RGBA"


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_one_transparent_grey_of_any_depth_becomes_alpha(bits: int) -> None:
    row = [0, 1, 0, 1, 0, 0, 0, 0]  # samples, of which those of 1 are transparent
    number = sum(sample << bits * (7 - index) for index, sample in enumerate(row))
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0),
        b"tRNS": struct.pack(">H", 1),
        b"IDAT": zlib.compress(b"\0" + number.to_bytes(bits)),
        b"IEND": b"",
    }
    picture = read_image(io.BytesIO(write_chunks(*chunks.items())))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha[0] == 0, row)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_its_tag_reset(orientation: int, tmp_path: Path) -> None:
    original = image()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    original.save(tmp_path / "a.png", exif=exif)
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.png"))
    with Image.open(tmp_path / "b.png") as again:
        assert again.getexif().get(0x0112, 1) == 1
        assert again.getexif()[0x010F] == "maker"
        assert again.size == ((14, 10) if orientation < 5 else (10, 14))
    turns = {1: 0, 8: 1, 3: 2, 6: -1}
    if orientation in turns:
        expected = np.rot90(np.asarray(original), turns[orientation])
        assert np.array_equal(read_image(tmp_path / "b.png").rgb, expected)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_the_colour_profile_is_carried(suffix: str, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image().save(tmp_path / f"a{suffix}", icc_profile=profile)
    write_image(tmp_path / f"b{suffix}", read_image(tmp_path / f"a{suffix}"))
    with Image.open(tmp_path / f"b{suffix}") as again:
        assert again.info["icc_profile"] == profile


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_pillow_image_keeps_profile_and_exif_for_who_saves_it(mode: str, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    original = image("L" if mode == "I;16" else mode)
    original = Image.fromarray(np.asarray(original).astype(np.uint16)) if mode == "I;16" else original
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    original.save(tmp_path / "a.png", exif=exif, icc_profile=profile)
    with Image.open(tmp_path / "a.png") as opened:
        result = to_pil(from_pil(opened))
    assert (result.mode, result.info["icc_profile"]) == (mode, profile)
    assert dict(result.getexif()) == {0x010F: "maker"}
    result.save(tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as again:
        assert again.info["icc_profile"] == profile
    assert not to_pil(from_pil(image())).info


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
def test_an_undecodable_pillow_image_is_one_error(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:1200])
    with Image.open(path) as opened, pytest.raises(ImageError, match="cannot be read"):
        from_pil(opened)


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (Image.new("RGB", (0, 4)), "it has no pixels"),
    ],
    ids=["empty"],
)
def test_a_pillow_image_that_is_no_picture_is_one_error(odd: Image.Image, reason: str) -> None:
    with pytest.raises(ImageError, match=f"cannot be read, {reason}"):
        from_pil(odd)


def test_jpeg_lays_alpha_on_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    write_image(tmp_path / "a.jpg", from_pil(clear))
    assert read_image(tmp_path / "a.jpg").rgb.min() > 250


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
        read_image(path)
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
        write_image(tmp_path / "file" / "a.png", from_pil(image()))
