"""Metadata of image files, and how a result of another size or format keeps it."""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image
from PIL.PngImagePlugin import PngInfo

_XMP_KEY = "XML:com.adobe.xmp"
# Of PNG text: what is of the degraded image alone, and what Pillow or this module reads as something else.
_NOT_CARRIED = re.compile(r"facesr[:_]|XML:com\.adobe\.xmp$|Raw profile type (exif|icc|icm|xmp)$")
_X_RESOLUTION_TAG = 282
_IPTC_TAG, _XMP_TAG, _DETAILS_TAG, _PIXEL_X_TAG, _PIXEL_Y_TAG = 33723, 700, 0x8769, 0xA002, 0xA003
_IPTC_RESOURCE = 0x0404
_PHOTOSHOP = b"Photoshop 3.0\0"
_MAX_XMP_BYTES = 1 << 20
# What one segment of a JPEG holds.
_JPEG_BYTES = {"xmp": 65_504, "iptc": 65_500, "comment": 65_533}
_HELD = {
    "PNG": {"xmp", "comment", "text", "colour"},
    "JPEG": {"xmp", "iptc", "comment"},
    "WEBP": {"xmp"},
    "AVIF": {"xmp"},
    "TIFF": {"xmp", "iptc"},
    "BMP": set[str](),
}
_NAMES = {"xmp": "XMP", "iptc": "IPTC", "comment": "the comment", "text": "PNG text"}
_SRGB_PRIMARIES = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)  # of cHRM

# XMP that would be untrue of another size or orientation, or that points to what is not carried.
_UNTRUE = {
    "http://ns.adobe.com/tiff/1.0/": "Orientation|ImageWidth|ImageLength",
    "http://ns.adobe.com/exif/1.0/": "PixelXDimension|PixelYDimension",
    "http://ns.adobe.com/xmp/note/": "HasExtendedXMP",
    "http://ns.adobe.com/xap/1.0/": "Thumbnails",
    "http://ns.adobe.com/hdr-gain-map/1.0/": r"\w+",
    "http://ns.google.com/photos/1.0/container/": r"\w+",
    "http://ns.google.com/photos/1.0/camera/": r"\w+",
}
_GAIN_MAP = re.compile(rb"hdr-gain-map|hdrgainmap|HDRGainMap|urn:iso:std:iso:ts:21496")


@dataclass(frozen=True)
class Metadata:
    """Metadata that a result keeps, besides colour profile and EXIF.

    Attributes:
        xmp: XMP packet, without entries that would be wrong for the result.
        iptc: IPTC records.
        comment: Comment of a JPEG.
        text: Keys and values of a PNG's text.
        dpi: Horizontal and vertical resolution in pixels per inch.
        colour: Names and contents of the PNG chunks that define its colours, if there is no profile.
    """

    xmp: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    text: tuple[tuple[str, str], ...] = ()
    dpi: tuple[float, float] | None = None
    colour: tuple[tuple[bytes, bytes], ...] = ()


def collect(image: Image.Image, stream: BinaryIO | None = None) -> tuple[Metadata, tuple[str, ...]]:
    """Return the metadata of a loaded image, and notes about what was lost. `stream` is its file, if any."""
    info = image.info
    notes = list(info["facesr_notes"]) if isinstance(info.get("facesr_notes"), tuple) else []
    found = info.get("xmp", _raw_profile(info.get("Raw profile type xmp")))
    found = found if isinstance(found, bytes) else None
    xmp = _true_xmp(found) if found else None
    if found and xmp is None:
        notes.append("damaged or very long XMP is left out")
    if _has_gain_map(image, found or b"", stream):
        notes.append("the gain map, which makes it brighter on HDR screens, is left out")
    # Pillow's own `text` decodes all frames of an animation to look behind them.
    text = info.items() if image.format == "PNG" else ()
    comment = info.get("comment")
    metadata = Metadata(
        xmp=xmp,
        iptc=_iptc(image),
        comment=comment if isinstance(comment, bytes) else None,
        text=tuple(
            (key, value)
            for key, value in text
            if isinstance(key, str) and isinstance(value, str) and not _NOT_CARRIED.match(key)
        ),
        dpi=None if _is_made_up(image) else _dpi(info.get("dpi")),
        colour=_colour(image, stream),
    )
    return metadata, tuple(notes)


def losses(metadata: Metadata, name: str) -> list[str]:
    """Return what a format cannot store, by Pillow's name of the format."""
    notes = []
    shown = {"WEBP": "WebP"}.get(name, name)
    for field, what in _NAMES.items():
        value = getattr(metadata, field)
        if value and field not in _HELD[name]:
            notes.append(f"{what} cannot be kept in {shown}")
        elif value and _is_too_long(field, value, name):
            notes.append(f"{what} is too long for {shown} and left out")
    if metadata.colour and name != "PNG" and not _is_srgb(dict(metadata.colour)):
        chunks = " and ".join(chunk.decode() for chunk, _ in metadata.colour)
        notes.append(f"the colour space ({chunks}) cannot be kept in {shown}, so colours may look different")
    return notes


def save_options(
    metadata: Metadata, name: str, *, exif: bytes | None, size: tuple[int, int], text: Mapping[str, str]
) -> dict[str, Any]:
    """Return the options with which Pillow writes metadata into a file.

    Args:
        metadata: What to write, as far as the format can store it.
        name: Pillow's name of the format.
        exif: EXIF block. Its sizes are replaced by those of the result.
        size: (height, width) of the result in pixels.
        text: More keys and values, for PNG only.
    """
    kept = {
        field: value
        for field in _HELD[name]
        if (value := getattr(metadata, field)) and not _is_too_long(field, value, name)
    }
    options: dict[str, Any] = {"exif": sized_exif(exif, size)} if exif else {}
    if metadata.dpi and (name != "JPEG" or max(metadata.dpi) <= 65_535):
        options["dpi"] = metadata.dpi
    if name == "PNG":
        options["pnginfo"] = _png_info(kept, text)
    elif name == "TIFF":
        tags = Image.Exif()
        tags.load(options.get("exif", b""))
        for tag, field in ((_XMP_TAG, "xmp"), (_IPTC_TAG, "iptc")):
            if field in kept:
                tags[tag] = kept[field]
        if tags:
            options["exif"] = tags
    else:
        if "xmp" in kept:
            options["xmp"] = kept["xmp"]
        if name == "JPEG":  # for which Pillow would take a comment that is too long from the image
            options["comment"] = kept.get("comment", b"")
        if "iptc" in kept:
            options["extra"] = _photoshop_segment(kept["iptc"])
    return options


def sized_exif(block: bytes, size: tuple[int, int]) -> bytes:
    """Return an EXIF block with its image size, if it has one, set to (height, width) in pixels."""
    exif = Image.Exif()
    exif.load(block)
    if _DETAILS_TAG not in exif:
        return block
    details = exif.get_ifd(_DETAILS_TAG)
    for tag, side in ((_PIXEL_Y_TAG, size[0]), (_PIXEL_X_TAG, size[1])):
        if tag in details:
            details[tag] = side
    return exif.tobytes()


def _is_too_long(field: str, value: bytes, name: str) -> bool:
    return name == "JPEG" and len(value) > _JPEG_BYTES.get(field, len(value))


def _png_info(kept: dict[str, Any], text: Mapping[str, str]) -> PngInfo:
    info = PngInfo()
    for chunk, body in kept.get("colour", ()):
        info.add(chunk, body)
    values = {**dict(kept.get("text", ())), **text}
    if "comment" in kept:
        values.setdefault("Comment", _decoded(kept["comment"]))
    for key, value in values.items():
        info.add_text(key, value)
    if "xmp" in kept:
        info.add_itxt(_XMP_KEY, kept["xmp"])
    return info


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _photoshop_segment(iptc: bytes) -> bytes:
    body = _PHOTOSHOP + struct.pack(">4sHHI", b"8BIM", _IPTC_RESOURCE, 0, len(iptc)) + iptc
    body += b"\0" * (len(iptc) % 2)
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def _iptc(image: Image.Image) -> bytes | None:
    resources = image.info.get("photoshop")
    if isinstance(resources, dict):
        return resources.get(_IPTC_RESOURCE)
    tags = getattr(image, "tag_v2", {})
    value = tags.get(_IPTC_TAG)
    if isinstance(value, tuple) and value and isinstance(value[0], int):  # as LONG, which old programs write
        order = "<" if getattr(tags, "prefix", b"II") == b"II" else ">"
        value = struct.pack(f"{order}{len(value)}I", *value)
    return value if isinstance(value, bytes) else None


def _raw_profile(text: object) -> bytes | None:
    """Return the data that ImageMagick stores in a PNG's text: a name, a length, and hexadecimal digits."""
    try:
        return bytes.fromhex("".join(str(text).split()[2:]))
    except ValueError:
        return None


def _is_made_up(image: Image.Image) -> bool:
    """Return whether the resolution is the 72 dpi that Pillow assumes for JPEG files whose EXIF has none."""
    try:
        return (
            image.format in {"JPEG", "MPO"}
            and not image.info.get("jfif_unit")
            and _X_RESOLUTION_TAG not in image.getexif()
        )
    except Exception:  # a damaged block
        return True


def _dpi(value: object) -> tuple[float, float] | None:
    """Return a resolution if it is a real one. For a TIFF without one, Pillow returns (1, 1)."""
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    try:
        across, down = map(float, value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    is_one = all(math.isfinite(number) and 1 < number < 1e6 for number in (across, down))
    return (across, down) if is_one else None


def _colour(image: Image.Image, stream: BinaryIO | None) -> tuple[tuple[bytes, bytes], ...]:
    """Return the PNG chunks that define the image's colours, unless it has a profile."""
    info = image.info
    cicp = info.get("facesr_cicp")
    if stream and image.format in {"AVIF", "HEIF"} and "icc_profile" not in info:
        cicp = _numbered_colours(stream)
    if isinstance(cicp, bytes):
        return ((b"cICP", cicp),)
    if "icc_profile" in info or "srgb" in info:
        return ()
    chunks = []
    gamma, chromaticity = info.get("gamma"), info.get("chromaticity")
    if isinstance(gamma, float) and 0 < gamma < 1000:
        chunks.append((b"gAMA", struct.pack(">I", round(gamma * 100_000))))
    if isinstance(chromaticity, tuple) and len(chromaticity) == 8:
        chunks.append((b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in chromaticity))))
    return tuple(chunks)


def _numbered_colours(stream: BinaryIO) -> bytes | None:
    """Return the colour space that an AVIF or HEIC names by number, as a PNG's cICP, unless it is sRGB."""
    stream.seek(0)
    match = re.search(rb"colrnclx(.{4})", stream.read(1 << 16), re.DOTALL)
    if match is None:
        return None
    primaries, transfer = struct.unpack(">HH", match[1])
    # 2 says nothing, and writers give video's transfer functions 1 and 6 to what is sRGB.
    if primaries in {1, 2} and transfer in {1, 2, 6, 13}:
        return None
    return bytes([min(primaries, 255), min(transfer, 255), 0, 1])


def _is_srgb(chunks: dict[bytes, bytes]) -> bool:
    if cicp := chunks.get(b"cICP"):
        return cicp[:2] == bytes([1, 13])
    gamma = struct.unpack(">I", chunks.get(b"gAMA", struct.pack(">I", 45_455)))[0]
    primaries = struct.unpack(">8I", chunks.get(b"cHRM", struct.pack(">8I", *_SRGB_PRIMARIES)))
    near = all(abs(a - b) <= 100 for a, b in zip(primaries, _SRGB_PRIMARIES, strict=True))
    return abs(gamma - 45_455) <= 100 and near


def _has_gain_map(image: Image.Image, xmp: bytes, stream: BinaryIO | None) -> bool:
    if stream and image.format == "MPO":  # which tells only in the images behind the first
        stream.seek(0)
        return _GAIN_MAP.search(stream.read()) is not None
    if stream and image.format in {"AVIF", "HEIF"}:
        stream.seek(0)
        head = stream.read(1 << 16)
        return b"tmap" in head or _GAIN_MAP.search(head) is not None
    segments = (body for _, body in getattr(image, "applist", ()))
    return any(_GAIN_MAP.search(body) for body in (xmp, *segments))


def _true_xmp(packet: bytes) -> bytes | None:
    """Return XMP without entries that are wrong at another size or orientation, None if it is not XMP."""
    if len(packet) > _MAX_XMP_BYTES:
        return None
    try:
        text = packet.rstrip(b"\0").decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if "<" not in text:
        return None
    names = []
    for prefix, space in re.findall(r"""\sxmlns:([\w.-]+)\s*=\s*["']([^"'<]*)["']""", text):
        if space in _UNTRUE:
            names.append(f"{re.escape(prefix)}:(?:{_UNTRUE[space]})")
    if not names:
        return text.encode()
    name = "|".join(names)
    cut = _without_elements(text, name)
    if cut is None:
        return None
    cut = re.sub(rf"""\s(?:{name})\s*=\s*(?:"[^"<]*"|'[^'<]*')""", "", cut)
    return cut.encode()


def _without_elements(text: str, name: str) -> str | None:
    """Cut the elements whose names match a pattern out of XML. None if one has no end."""
    parts, at = [], 0
    for match in re.finditer(rf"<({name})(?=[\s/>])[^<>]*>", text):
        if match.start() < at:  # inside of one that is cut out
            continue
        parts.append(text[at : match.start()])
        at = match.end()
        if not match[0].endswith("/>"):
            end = re.compile(rf"</{re.escape(match[1])}\s*>").search(text, at)
            if end is None:
                return None
            at = end.end()
    return "".join([*parts, text[at:]])
