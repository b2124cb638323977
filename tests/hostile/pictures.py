"""A folder of pictures as unkind as they come, made from nothing: good ones, broken ones, and in between."""

import io
import os
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, PngImagePlugin

SIDE = 12
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

Files = dict[str, bytes]


@dataclass(frozen=True)
class Hostile:
    """What was written into a folder.

    Attributes:
        good: Names of pictures that must be done.
        bad: Names of files that must be reported.
        either: Names of files that are done or reported, but never more than that.
    """

    good: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)
    either: set[str] = field(default_factory=set)

    @property
    def all(self) -> set[str]:
        return self.good | self.bad | self.either


def plain(mode: str = "RGB", width: int = SIDE, height: int = SIDE) -> Image.Image:
    """Return a picture of a mode, without flat areas."""
    rng = np.random.default_rng(width * 7919 + height)
    rgb = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if mode in {"I;16", "I;16B"}:
        return Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16))
    if mode == "F":
        return Image.fromarray(rng.random((height, width), dtype=np.float32))
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(rgb, srgb, lab, outputMode="LAB")
        assert converted is not None
        return converted
    if mode in {"RGBA", "LA"}:
        rgb.putalpha(Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8)))
    return rgb.convert(mode)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a PNG chunk."""
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png(
    width: int,
    height: int,
    *,
    depth: int = 8,
    color: int = 2,
    data: bytes | None = None,
    extra: bytes = b"",
    interlace: int = 0,
) -> bytes:
    """Return a PNG written by hand, with any header, and pixels that need not be in keeping with it."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    if data is None:
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
        row = -(-width * depth * channels // 8)
        lines = random.Random(width).randbytes(row * height)
        data = b"".join(b"\0" + lines[row * y : row * (y + 1)] for y in range(height))
    body = chunk(b"IDAT", zlib.compress(data))
    return PNG_MAGIC + chunk(b"IHDR", header) + extra + body + chunk(b"IEND", b"")


def after_header(content: bytes, extra: bytes) -> bytes:
    """Put chunks behind the header of a PNG."""
    return content[:33] + extra + content[33:]


def tiff(entries: dict[int, tuple[int, int, int]], *, pixels: bytes = b"", following: int = 0) -> bytes:
    """Return a little-endian TIFF with one directory of (type, count, value) by tag."""
    start = 8 + 2 + 12 * len(entries) + 4
    table = dict(entries)
    if 273 in table:
        table[273] = (4, 1, start)
    rows = b"".join(struct.pack("<HHII", tag, *table[tag]) for tag in sorted(table))
    directory = struct.pack("<H", len(table)) + rows + struct.pack("<I", following)
    return struct.pack("<2sHI", b"II", 42, 8) + directory + pixels


def grey_tiff(width: int, height: int, **changes: tuple[int, int, int]) -> dict[int, tuple[int, int, int]]:
    entries = {
        256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1),
        273: (4, 1, 0), 277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, width * height & 0xFFFFFFFF),
    }  # fmt: skip
    return {**entries, **{int(tag[1:]): entry for tag, entry in changes.items()}}


def webp_of_size(side: int) -> bytes:
    """Return a lossless WebP whose header promises another size than its data."""
    content = bytearray(encode(plain(), "WEBP", lossless=True))
    at = content.index(b"VP8L") + 9
    bits = int.from_bytes(content[at : at + 4], "little") & ~0xFFFFFFF
    content[at : at + 4] = (bits | (side - 1) | (side - 1) << 14).to_bytes(4, "little")
    return bytes(content)


def webp_canvas(width: int, height: int) -> bytes:
    """Return an animated WebP whose canvas has any size."""
    content = bytearray(encode(plain(), "WEBP", save_all=True, append_images=[plain("RGBA")]))
    at = content.index(b"VP8X") + 12
    content[at : at + 6] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(content)


def jpeg_of_size(width: int, height: int) -> bytes:
    """Return a JPEG whose header promises another size."""
    content = bytearray(encode(plain(), "JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def bmp_of_size(width: int, height: int) -> bytes:
    """Return a BMP whose header promises another size."""
    content = bytearray(encode(plain(), "BMP"))
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


def exif_tiff(count: int, value: int) -> bytes:
    """Return an EXIF block with one entry that points anywhere."""
    return b"Exif\0\0" + struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x010E, 2, count, value, 0)


def heic(image: Image.Image, **options: Any) -> bytes:
    """Return a HEIC file."""
    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, **options)
    return stream.getvalue()


def jpeg_of_depth(bits: int) -> bytes:
    """Return a JPEG whose header says that a channel has so many bits."""
    content = bytearray(encode(plain(), "JPEG"))
    content[content.index(b"\xff\xc0") + 4] = bits
    return bytes(content)


# What is no image that is read, and what the error says of it.
FOREIGN = {
    "empty.png": (b"", "an empty file"),
    "gif.png": (encode(plain("P"), "GIF"), "a GIF image"),
    "jxl.jpg": (b"\xff\x0a" + bytes(50), "a JPEG XL image"),
    "jxl-box.jpg": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "a JPEG XL image"),
    "jp2.jpg": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "a JPEG 2000 image"),
    "j2k.jpg": (b"\xff\x4f\xff\x51" + bytes(50), "a JPEG 2000 image"),
    "psd.tif": (b"8BPS\0\1" + bytes(50), "a Photoshop file"),
    "pdf.png": (b"%PDF-1.7\n" + bytes(50), "a PDF file"),
    "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n(x) run\n", "a PostScript file"),
    "vector.png": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "an SVG drawing"),
    "svg-xml.png": (b'<?xml version="1.0"?>\n<!-- x -->\n<svg width="9"/>', "an SVG drawing"),
    "page.png": (b"\n<!DOCTYPE html><img src=x onerror=alert(1)><svg/>", "an HTML page"),
    "page-short.jpg": (b"<html><body>404</body></html>", "an HTML page"),
    "pointer.png": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "a Git LFS pointer"
    ),
    "raf.jpg": (b"FUJIFILMCCD-RAW 0201" + bytes(50), "a camera RAW file"),
    "cr3.jpg": (b"\0\0\0\x18ftypcrx " + bytes(50), "a camera RAW file"),
    "rw2.jpg": (b"IIU\0" + bytes(50), "a camera RAW file"),
    "orf.jpg": (b"IIRO" + bytes(50), "a camera RAW file"),
    "twelve.jpg": (jpeg_of_depth(12), "a JPEG file with 12 bits a channel"),
    "damaged-heic.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50), "a damaged HEIC image"),
    "damaged-avif.avif": (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(50), "a damaged AVIF"),
    "magic.webp": (b"RIFF\xff\xff\xff\x7fWEBPVP8X", "a damaged WebP file"),
    "magic.jpg": (b"\xff\xd8\xff", "a damaged JPEG file"),
    "damaged-png.png": (PNG_MAGIC, "a damaged PNG file"),
    "movie.jpg": (b"\0\0\0\x18ftypmp42" + bytes(50), "a video"),
    "zip.webp": (b"PK\3\4" + bytes(60), "an archive"),
    "ico.png": (encode(plain(), "ICO"), "a Windows icon"),
    "text.jpg": (b"This is no picture.\n", "not an image in a known format"),
    "noise.tiff": (random.Random(1).randbytes(5000), "not an image in a known format"),
}  # fmt: skip


def modes() -> Files:
    """Return each mode and bit depth in each format that holds it."""
    files = {
        f"png-{mode}.png": encode(plain(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
    }
    files |= {f"png-{color}-{depth}.png": png(SIDE, SIDE, depth=depth, color=color) for color, depth in (
        (0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 16), (4, 8), (4, 16), (6, 16),
    )}  # fmt: skip
    files |= {f"png-palette-{bits}.png": encode(plain("P"), "PNG", bits=bits) for bits in (4, 8)}
    files["png-transparent-palette.png"] = encode(plain("P"), "PNG", transparency=bytes(range(256)))
    files["png-transparent-colour.png"] = encode(plain(), "PNG", transparency=(1, 2, 3))
    files |= {f"jpeg-{mode}.jpg": encode(plain(mode), "JPEG") for mode in ("L", "RGB", "CMYK")}
    files["jpeg-progressive.jpg"] = encode(plain(), "JPEG", progressive=True, quality=1)
    files |= {
        f"tiff-{mode.replace(';', '')}.tif": encode(plain(mode), "TIFF")
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I;16B", "I", "F")
    }
    # Without compression, Pillow 12 does not read what it writes.
    files["tiff-YCbCr.tif"] = encode(plain("YCbCr"), "TIFF", compression="tiff_adobe_deflate")
    files |= {
        f"tiff-{name}.tiff": encode(plain(), "TIFF", compression=name)
        for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    }
    files["tiff-group4.tiff"] = encode(plain("1"), "TIFF", compression="group4")
    files["webp-lossy.webp"] = encode(plain(), "WEBP")
    files["webp-lossless.webp"] = encode(plain("RGBA"), "WEBP", lossless=True)
    files |= {f"bmp-{mode}.bmp": encode(plain(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")}
    return files


def odd_but_good() -> Files:
    """Return pictures that are unusual in size, name, extension or what comes along with them."""
    others = [plain("RGB", 7, 5), plain()]
    content = encode(plain(), "PNG")
    text = PngImagePlugin.PngInfo()
    for index in range(200):
        text.add_text(f"key {index}", "x" * 1000, zip=bool(index % 2))
    looped = tiff(grey_tiff(SIDE, SIDE), pixels=bytes(range(SIDE * SIDE)), following=8)
    return {
        "one.png": encode(plain("RGB", 1, 1), "PNG"),
        "one.jpg": encode(plain("L", 1, 1), "JPEG"),
        "one.webp": encode(plain("RGBA", 1, 1), "WEBP"),
        "tall.png": encode(plain("RGB", 1, 5000), "PNG"),
        "wide.png": encode(plain("L", 5000, 1), "PNG"),
        "thin.png": encode(plain("RGB", 4, 400), "PNG"),
        "flat.jpg": encode(plain("RGB", 400, 5), "JPEG"),
        "narrow.jpg": encode(plain("RGB", 2, 3), "JPEG"),
        "png-in-truth.jpg": content,
        "jpeg-in-truth.png": encode(plain(), "JPEG"),
        "webp-in-truth.tiff": encode(plain(), "WEBP"),
        "bmp-in-truth.webp": encode(plain(), "BMP"),
        "animated.png": encode(plain(), "PNG", save_all=True, append_images=others),
        "animated.webp": encode(plain(), "WEBP", save_all=True, append_images=[plain("RGBA")]),
        "many-pages.tif": encode(plain(), "TIFF", save_all=True, append_images=others),
        "pages-in-a-loop.tif": looped,
        "multi-picture.jpg": encode(plain(), "MPO", save_all=True, append_images=others),
        "turned.jpg": encode(plain("RGB", 9, 6), "JPEG", exif=_orientation(6)),
        "turned-absurdly.jpg": encode(plain(), "JPEG", exif=_orientation(999)),
        "exif-garbage.jpg": encode(plain(), "JPEG", exif=b"Exif\0\0" + bytes(range(200))),
        "exif-points-outside.jpg": encode(plain(), "JPEG", exif=exif_tiff(10, 0xFFFFFFF0)),
        "exif-huge-count.jpg": encode(plain(), "JPEG", exif=exif_tiff(0xFFFFFFFF, 8)),
        "exif-cut.png": after_header(content, chunk(b"eXIf", b"II*\0\x08\0\0\0\x05\0\x12\x01")),
        "exif-garbage.png": after_header(content, chunk(b"eXIf", b"\xff" * 64)),
        "exif-garbage.webp": encode(plain(), "WEBP", exif=b"\0" * 50),
        "icc-garbage.png": encode(plain(), "PNG", icc_profile=b"no profile at all"),
        "icc-garbage.jpg": encode(plain(), "JPEG", icc_profile=bytes(300)),
        "icc-garbage-cmyk.jpg": encode(plain("CMYK"), "JPEG", icc_profile=b"\xff" * 200),
        "icc-of-another-space.jpg": encode(plain("CMYK"), "JPEG", icc_profile=_srgb()),
        "icc-large.jpg": encode(plain(), "JPEG", icc_profile=bytes(range(256)) * 2000),
        "icc-garbage.webp": encode(plain(), "WEBP", icc_profile=b"x"),
        "icc-garbage.tif": encode(plain(), "TIFF", icc_profile=b"x"),
        "text.png": encode(plain(), "PNG", pnginfo=text),
        "rubbish-behind.png": content + bytes(10_000),
        "rubbish-behind.jpg": encode(plain(), "JPEG") + b"<script>" * 500,
        "checksum-of-gamma.png": after_header(content, chunk(b"gAMA", b"\0\0\xb1\x8f")[:-1] + b"\0"),
        "colours.png": after_header(content, chunk(b"cICP", b"\x09\x10\0\1")),
        "avif.avif": encode(plain(), "AVIF"),
        "avif-in-truth.jpg": encode(plain("RGBA"), "AVIF"),
        "heic.heic": heic(plain("RGB", 64, 64)),
        "heic-in-truth.png": heic(plain("RGB", 64, 64)),
        "no-end.jpg": encode(plain("RGB", 64, 64), "JPEG")[:-2],
        "no-end-progressive.jpg": encode(plain("RGB", 64, 64), "JPEG", progressive=True)[:-1],
        "xmp-garbage.webp": encode(plain(), "WEBP", xmp=b"\xff<" * 50_000),
        "comment-garbage.jpg": encode(plain(), "JPEG", comment=bytes(range(256)) * 200),
        "unknown-chunk.png": after_header(content, chunk(b"quUx", bytes(5000))),
    }


def _orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def names() -> list[bytes]:
    """Return names that quoting, printing or parsing gets wrong."""
    return [
        b"new\nline.png", "smile 😀.png".encode(), b"--json.png", b"-.png", b"-m.png", b" .png",
        b"'\"`$(x).png",
        b"a" * 251 + b".png", b"not-utf8-\xff\xfe.png", b"[bold]markup.png",
        b"\x1b[31mred.png",
        b"%s {stem} {0}.png", b"back\\slash.png", "e\u0301 \u202egnp.png".encode(), b"UPPER.PNG",
        b"a.tar.gz.png", b"bell\x07\r.png",
    ]  # fmt: skip


def broken() -> Files:
    """Return files that no picture can be had from."""
    content, big = encode(plain(), "PNG"), encode(plain("RGB", 64, 64), "PNG")
    files = {f"cut-{at}.png": big[:at] for at in (0, 1, 8, 20, 33, 50, len(big) // 2)}
    jpeg = encode(plain("RGB", 64, 64), "JPEG")
    files |= {f"cut-{at}.jpg": jpeg[:at] for at in (2, 20, 300, len(jpeg) // 2)}
    other = {"tif": encode(plain(), "TIFF"), "webp": encode(plain(), "WEBP"), "bmp": encode(plain(), "BMP")}
    files |= {f"cut-{kind}.{kind}": data[: len(data) // 2] for kind, data in other.items()}
    files |= {f"cut-early.{kind}": data[:15] for kind, data in other.items()}
    bomb = zlib.compress(bytes(50_000_000), 9)
    huge = 60_000
    files |= {name: content for name, (content, _) in FOREIGN.items()}
    return files | {
        "promise.png": png(huge, huge, data=b"x"),
        "promise-max.png": png(2**31 - 1, 2**31 - 1, data=b"x"),
        "promise-beyond.png": png(2**32 - 1, 2**32 - 1, data=b"x"),
        "promise-tall.png": png(1, 2**31 - 1, data=b"x"),
        "promise-below-the-limit.png": png(9000, 9000, color=0, data=b"x"),
        "promise.jpg": jpeg_of_size(huge, huge),
        "promise-bmp.bmp": bmp_of_size(huge, huge),
        "promise-negative.bmp": bmp_of_size(-5, huge),
        "promise.tif": tiff(grey_tiff(huge, huge), pixels=bytes(100)),
        "promise-max.tif": tiff(grey_tiff(2**32 - 1, 2**32 - 1), pixels=bytes(100)),
        "promise.webp": webp_of_size(16_384),
        "promise-canvas.webp": webp_canvas(16_384, 16_384),
        "bomb.png": png(20_000, 20_000, depth=1, color=0, data=bytes(50_000_000)),
        "bomb.tif": tiff(
            grey_tiff(20_000, 20_000, t258=(3, 1, 1), t259=(3, 1, 8), t279=(4, 1, len(bomb))), pixels=bomb
        ),
        "bomb-text.png": after_header(content, chunk(b"zTXt", b"k\0\0" + bomb)),
        "bomb-text-international.png": after_header(content, chunk(b"iTXt", b"k\0\1\0\0\0" + bomb)),
        "bomb-icc.png": after_header(content, chunk(b"iCCP", b"k\0\0" + bomb)),
        "bomb-texts.png": after_header(
            content,
            b"".join(chunk(b"zTXt", b"%d\0\0" % n + zlib.compress(bytes(1_000_000))) for n in range(70)),
        ),
        "zero.png": png(0, 0, data=b""),
        "zero-high.png": png(5, 0, data=b""),
        "zero.jpg": jpeg_of_size(0, 0),
        "zero-bmp.bmp": bmp_of_size(0, 0),
        "zero.tif": tiff(grey_tiff(0, 0)),
        "depth.png": png(4, 4, depth=3, data=bytes(99)),
        "colour.png": png(4, 4, color=5, data=bytes(99)),
        "no-palette-no-data.png": PNG_MAGIC + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 3, 0, 0, 0)),
        "checksum-of-pixels.png": content[:-16] + bytes(4) + content[-12:],
        "checksum.png": content[:29] + b"\0\0\0\0" + content[33:],
        "no-pixels.png": png(SIDE, SIDE, data=b""),
        "magic.tif": b"II*\0\xff\xff\xff\xff",
        "directory-of-65535.tif": b"II*\0\x08\0\0\0\xff\xff" + bytes(40),
        "tiff-strip-outside.tif": tiff(grey_tiff(SIDE, SIDE, t279=(4, 1, 0xFFFFFFF0)), pixels=b"x"),
        "pickle.bmp": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        "nul.jpg": bytes(5000),
    }


def flipped(count: int = 24) -> Files:
    """Return good files with some bits turned over, always the same ones."""
    files: Files = {}
    kinds = [("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tif"), ("WEBP", "webp"), ("BMP", "bmp")]
    for seed in range(count):
        rng = random.Random(seed)
        kind, suffix = kinds[seed % len(kinds)]
        content = bytearray(encode(plain("RGB", 24, 20), kind))
        for _ in range(rng.choice([1, 3, 10])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        files[f"flipped-{seed}.{suffix}"] = bytes(content)
    jpeg = encode(plain("RGB", 64, 64), "JPEG")
    return {
        **files,
        "cut-last.png": encode(plain(), "PNG")[:-1],
        "cut-end.png": encode(plain(), "PNG")[:-12],
        "cut-last.jpg": jpeg[:-1],
        "cut-last.webp": encode(plain(), "WEBP")[:-1],
        "cut-last.tif": encode(plain(), "TIFF")[:-1],
        "interlaced.png": png(SIDE, SIDE, interlace=1),
    }


def irregular(folder: Path) -> Iterator[str]:
    """Make what has a picture's name and is none, and yield the names that must be reported."""
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    for name, target in (
        ("gone", "nowhere"),
        ("loop", "loop.png"),
        ("endless", "/dev/zero"),
        ("nothing", "/dev/null"),
    ):
        (folder / f"{name}.png").symlink_to(target)
    yield from ("pipe.png", "gone.png", "loop.png", "endless.png", "nothing.png")


def write_pictures(folder: Path) -> Hostile:
    """Fill a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    hostile = Hostile()
    for group, files in (
        (hostile.good, {**modes(), **odd_but_good()}),
        (hostile.bad, broken()),
        (hostile.either, flipped()),
    ):
        for name, content in files.items():
            (folder / name).write_bytes(content)
            group.add(name)
    for raw in names():
        name = os.fsdecode(raw)
        (folder / name).write_bytes(encode(plain(), "PNG"))
        hostile.good.add(name)
    (folder / "link.png").symlink_to("png-RGB.png")
    hostile.good.add("link.png")
    hostile.bad.update(irregular(folder))
    return hostile
