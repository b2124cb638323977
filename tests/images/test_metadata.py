"""What an image file holds besides pixels comes into the result, made true, or is named as lost."""

import io
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo, iTXt

from facesr.errors import ImageError
from facesr.images.image import ImageData, to_pil
from facesr.images.metadata import Metadata
from facesr.images.png import read_chunks
from facesr.images.read import from_pil, read_image
from facesr.images.write import encode_image, metadata_losses
from facesr.inference.restore import Enlargement
from facesr.inference.upscale_files import check_result
from tests.conftest import noise

SUFFIXES = [".png", ".jpg", ".webp", ".tiff", ".avif"]
TITLE = 'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="hello"'
IPTC = b"\x1c\x02\x05\x00\x05title"


def packet(*properties: str, inside: str = "") -> bytes:
    description = f'<rdf:Description rdf:about="" {TITLE} {" ".join(properties)}>{inside}</rdf:Description>'
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{description}</rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> io.BytesIO:
    stream = io.BytesIO()
    (image or Image.fromarray(noise(10, 14))).save(stream, kind, **options)
    stream.seek(0)
    return stream


def with_chunks(*chunks: tuple[bytes, bytes], **options: Any) -> io.BytesIO:
    info = PngInfo()
    for name, body in chunks:
        info.add(name, body)
    return encoded("PNG", pnginfo=info, **options)


def enlarged(source: ImageData) -> ImageData:
    return source.enlarged(np.repeat(np.repeat(source.rgb, 4, axis=0), 4, axis=1))


def again(source: io.BytesIO, suffix: str) -> Image.Image:
    """Return what Pillow finds in the result for a file."""
    image = Image.open(io.BytesIO(encode_image(enlarged(read_image(source)), suffix)))
    image.load()
    return image


def colour_chunks(content: bytes) -> dict[bytes, bytes]:
    names = {b"cICP", b"gAMA", b"cHRM", b"sRGB", b"iCCP"}
    return {chunk.name: chunk.body for chunk in read_chunks(io.BytesIO(content)) if chunk.name in names}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_xmp_is_carried_from_each_format_to_each(kind: str, suffix: str) -> None:
    if kind == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet())
        source = encoded(kind, pnginfo=info)
    elif kind == "TIFF":
        source = encoded(kind, tiffinfo={700: packet()})
    else:
        source = encoded(kind, xmp=packet())
    assert again(source, suffix).info["xmp"] == packet()


@pytest.mark.parametrize(
    "untrue",
    [
        'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:ImageWidth = \'14\'',
        'xmlns:e="http://ns.adobe.com/exif/1.0/" e:PixelXDimension="14" e:PixelYDimension="10"',
        'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"',
    ],
)
def test_xmp_says_nothing_of_the_old_size_or_orientation(untrue: str) -> None:
    names = untrue.split()
    xmp = again(encoded("JPEG", xmp=packet(untrue)), ".jpg").info["xmp"].decode()
    assert 'dc:title="hello"' in xmp
    assert names[0] in xmp  # a declaration of a namespace says nothing
    assert not any(word in xmp for word in ("Orientation=", "ImageWidth", "Dimension", "Version="))


def test_xmp_written_as_elements_is_made_true_too() -> None:
    spaces = (
        'xmlns:tiff="http://ns.adobe.com/tiff/1.0/"',
        'xmlns:C="http://ns.google.com/photos/1.0/container/"',
        'xmlns:Item="http://ns.google.com/photos/1.0/container/item/"',
    )
    directory = (
        '<C:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><C:Item Item:Semantic="GainMap"/></rdf:li>'
        "</rdf:Seq></C:Directory>"
    )
    inside = f"<tiff:Orientation>6</tiff:Orientation><tiff:Make>M</tiff:Make>{directory}<tiff:ImageWidth/>"
    xmp = again(encoded("JPEG", xmp=packet(*spaces, inside=inside)), ".png").info["xmp"]
    assert xmp == packet(*spaces, inside="<tiff:Make>M</tiff:Make>")


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe<",
        b"no xml",
        b"<" * 2_000_000,
        packet('xmlns:t="http://ns.adobe.com/tiff/1.0/"', inside="<t:Orientation>" * 50_000),
    ],
)
def test_damaged_xmp_is_left_out_with_a_note_and_at_once(damage: bytes) -> None:
    start = time.perf_counter()
    image = read_image(encoded("WEBP", xmp=damage))
    assert time.perf_counter() - start < 5
    assert image.metadata.xmp is None
    assert image.notes == ("damaged or very long XMP is left out",)


@pytest.mark.parametrize("suffix", [".jpg", ".tiff"])
def test_iptc_is_carried_between_jpeg_and_tiff(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_image(replace(plain(), metadata=Metadata(iptc=IPTC)), ".jpg"))
    picture = read_image(tmp_path / "a.jpg")
    assert picture.metadata.iptc == IPTC
    (tmp_path / f"b{suffix}").write_bytes(encode_image(picture, suffix))
    assert read_image(tmp_path / f"b{suffix}").metadata.iptc == IPTC
    assert metadata_losses(picture, ".webp") == ["IPTC cannot be kept in WebP"]


def plain() -> ImageData:
    return ImageData(noise(10, 14))


def test_comments_go_to_jpeg_and_png() -> None:
    comment = "für dich"
    source = encoded("JPEG", comment=comment.encode())
    assert again(source, ".jpg").info["comment"] == comment.encode()
    assert again(source, ".png").info["Comment"] == comment
    assert metadata_losses(read_image(source), ".tiff") == ["the comment cannot be kept in TIFF"]


def test_text_of_a_png_is_carried_and_the_record_of_a_degradation_is_not() -> None:
    info = PngInfo()
    info.add_text("parameters", "Steps: 20")
    info.add_text("Title", "ü\u4e00")
    info.add_text("facesr:degradation", "{}")
    info.add_text("Author", "x" * 9000, zip=True)
    source = encoded("PNG", pnginfo=info)
    text = again(source, ".png").text  # type: ignore[attr-defined]
    assert text == {"parameters": "Steps: 20", "Title": "ü\u4e00", "Author": "x" * 9000}
    assert metadata_losses(read_image(source), ".jpg") == ["PNG text cannot be kept in JPEG"]


def test_text_with_the_names_of_other_things_stays_text() -> None:
    info = PngInfo()
    for key in ("dpi", "gamma", "cicp", "chromaticity", "comment", "photoshop"):
        info.add_text(key, "12")
    picture = read_image(encoded("PNG", pnginfo=info))
    assert (picture.notes, picture.metadata) == ((), Metadata(text=picture.metadata.text))
    assert len(picture.metadata.text) == 6


def test_a_profile_that_imagemagick_wrote_as_text_is_not_carried_as_text() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = exif.tobytes()
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n")
    info.add_text("Raw profile type xmp", f"\nxmp\n{len(packet()):8}\n{packet().hex()}\n")
    result = again(encoded("PNG", pnginfo=info), ".png")
    assert result.size == (40, 56)
    assert set(result.text) == {"XML:com.adobe.xmp"}  # type: ignore[attr-defined]
    assert result.info["xmp"] == packet()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_the_resolution_is_kept(kind: str, suffix: str) -> None:
    assert again(encoded(kind, dpi=(300, 150)), suffix).info["dpi"] == pytest.approx((300, 150), abs=0.02)


def test_what_is_no_resolution_is_not_carried() -> None:
    assert read_image(encoded("TIFF")).metadata.dpi is None
    assert read_image(encoded("JPEG")).metadata.dpi is None
    exif = Image.Exif()
    exif[0x010F] = "maker"
    assert read_image(encoded("JPEG", exif=exif)).metadata.dpi is None  # for which Pillow says 72
    exif[0x011A], exif[0x011B], exif[0x0128] = 240.0, 240.0, 2
    assert read_image(encoded("JPEG", exif=exif)).metadata.dpi == pytest.approx((240, 240))
    image = Image.fromarray(noise(4, 4))
    for dpi in ((0, 0), (float("nan"), 1), "72", 72, (1e9, 1e9)):
        image.info["dpi"] = dpi
        assert from_pil(image).metadata.dpi is None
    huge = replace(plain(), metadata=Metadata(dpi=(70_000, 70_000)))
    assert "dpi" not in Image.open(io.BytesIO(encode_image(huge, ".jpg"))).info


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exif_states_the_size_of_the_result(suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x0100], exif[0x0101] = 14, 10
    exif.get_ifd(0x8769).update({0xA002: 14, 0xA003: 10, 0x9003: "2020:01:01 00:00:00"})
    result = again(encoded("JPEG", exif=exif), suffix)
    details = result.getexif().get_ifd(0x8769)
    assert result.size == (40, 56) == (details[0xA002], details[0xA003])
    assert details[0x9003] == "2020:01:01 00:00:00"
    assert result.getexif().get(0x0100) in {None, 40}


def test_exif_without_a_size_gets_none() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    assert set(again(encoded("PNG", exif=exif.tobytes()), ".png").getexif().get_ifd(0x8769)) == {0x9003}


PRIMARIES_P3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
PRIMARIES_SRGB = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


@pytest.mark.parametrize(
    "chunks",
    [
        ((b"cICP", bytes([9, 16, 0, 1])),),
        ((b"gAMA", struct.pack(">I", 100_000)),),
        ((b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", PRIMARIES_P3)),
        ((b"cHRM", PRIMARIES_P3),),
    ],
)
def test_what_the_colours_of_a_png_mean_is_carried_or_named(chunks: tuple[tuple[bytes, bytes], ...]) -> None:
    picture = read_image(with_chunks(*chunks))
    assert colour_chunks(encode_image(enlarged(picture), ".png")) == dict(chunks)
    names = " and ".join(name.decode() for name, _ in chunks)
    for suffix in (".jpg", ".webp", ".tiff", ".avif"):
        (note,) = check_result(picture, Path(f"a{suffix}"), Enlargement(4, 4), max_pixels=1000)
        assert note.startswith(f"the colour space ({names}) cannot be kept in")


@pytest.mark.parametrize(
    "chunks",
    [
        ((b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", PRIMARIES_SRGB)),
        ((b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", PRIMARIES_SRGB)),
        ((b"gAMA", struct.pack(">I", 45_455)),),
        ((b"cICP", bytes([1, 13, 0, 1])),),
    ],
)
def test_srgb_needs_no_word(chunks: tuple[tuple[bytes, bytes], ...]) -> None:
    assert (
        check_result(read_image(with_chunks(*chunks)), Path("a.jpg"), Enlargement(4, 4), max_pixels=1000)
        == []
    )


def test_a_profile_stands_above_gamma_and_a_number_above_the_profile() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gamma, number = (b"gAMA", struct.pack(">I", 100_000)), (b"cICP", bytes([12, 13, 0, 1]))
    assert read_image(with_chunks(gamma, icc_profile=profile)).metadata.colour == ()
    picture = read_image(with_chunks(number, icc_profile=profile))
    assert (picture.icc, picture.metadata.colour) == (profile, (number,))


def test_colours_that_an_avif_names_by_number_are_carried_to_png() -> None:
    content = encoded("AVIF").getvalue()
    at = content.index(b"colrnclx") + 8
    assert read_image(io.BytesIO(content)).metadata.colour == ()
    content = content[:at] + struct.pack(">HH", 12, 16) + content[at + 4 :]
    assert read_image(io.BytesIO(content)).metadata.colour == ((b"cICP", bytes([12, 16, 0, 1])),)


def test_what_is_too_long_for_jpeg_is_left_out_and_named() -> None:
    long = packet(inside="<dc:x>" + "x" * 70_000 + "</dc:x>")
    picture = replace(plain(), metadata=Metadata(xmp=long, iptc=bytes(66_000), comment=b"c" * 66_000))
    notes = metadata_losses(picture, ".jpg")
    assert [note.split(" is ")[0] for note in notes] == ["XMP", "IPTC", "the comment"]
    assert not {"xmp", "comment"} & set(Image.open(io.BytesIO(encode_image(picture, ".jpg"))).info)


@pytest.mark.parametrize("where", ["xmp", "segment", "second image"])
def test_a_gain_map_is_named_as_lost_and_nothing_points_to_it(where: str) -> None:
    gain = 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"'
    image = Image.fromarray(noise(10, 14))
    if where == "xmp":
        source = encoded("JPEG", image, xmp=packet(gain))
    elif where == "segment":
        mark = b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"
        source = encoded("JPEG", image, extra=b"\xff\xe2" + struct.pack(">H", len(mark) + 2) + mark)
    else:
        second = Image.open(encoded("JPEG", image, xmp=packet(gain)))
        source = encoded("MPO", image, save_all=True, append_images=[second])
        source = io.BytesIO(source.getvalue() + packet(gain))
    picture = read_image(source)
    assert picture.notes == ("the gain map, which makes it brighter on HDR screens, is left out",)
    result = encode_image(picture, ".jpg")
    assert b"hdrgm:Version" not in result
    assert b"MPF" not in result
    assert b"21496" not in result


def test_a_pillow_image_brings_its_metadata_and_takes_it_along() -> None:
    source = Image.open(encoded("JPEG", xmp=packet(), comment=b"c", dpi=(300, 300)))
    result = to_pil(from_pil(source))
    assert result.info == {"xmp": packet(), "comment": b"c", "dpi": (300, 300)}


def test_text_of_any_size_is_one_error_and_not_a_crash() -> None:
    info = PngInfo()
    for index in range(80):
        info.add_text(f"key {index}", "x" * 1_000_000, zip=True)
    with pytest.raises(ImageError, match="Too much memory used in text"):
        read_image(encoded("PNG", pnginfo=info))


def test_text_around_an_animation_is_found_without_decoding_it() -> None:
    info = PngInfo()
    info.add_text("Title", "t")
    info.add_text("Late", "l")
    frames = [Image.fromarray(noise(8, 8, seed=seed)) for seed in range(3)]
    content = encoded("PNG", frames[0], pnginfo=info, save_all=True, append_images=frames[1:]).getvalue()
    at = content.rindex(b"fdAT") + 20
    picture = read_image(io.BytesIO(content[:at] + bytes(20) + content[at + 20 :]), truncated=True)
    assert picture.metadata.text == (("Title", "t"), ("Late", "l"))


def test_text_in_another_language_stays_so() -> None:
    info = PngInfo()
    info.add_itxt("Title", "Gesicht", lang="de", tkey="Titel")
    value = again(encoded("PNG", pnginfo=info), ".png").text["Title"]  # type: ignore[attr-defined]
    assert isinstance(value, iTXt)
    assert (str(value), value.lang, value.tkey) == ("Gesicht", "de", "Titel")
