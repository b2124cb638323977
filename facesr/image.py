"""Pictures between files, Pillow and arrays."""

import io
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from facesr.errors import ImageError
from facesr.files import READ_FORMATS, check_regular, exists, write_atomic

Array = NDArray[np.uint8]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]

# Pillow's own threshold for a suspicious size; larger files are refused before they are decoded.
MAX_PIXELS = 89_478_485

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
_SIDE_LIMITS_PX = {"JPEG": 65_500, "WEBP": 16_383}
_DEEP_FORMATS = {"PNG", "TIFF"}

# Tags about how a file's own pixels are stored, which hold for no other, and orientation, which is applied.
_STORAGE_TAGS = {
    *range(254, 267), 273, 274, *range(277, 282), 284, *range(288, 294), 301, 317, *range(320, 326), 330,
    *range(332, 348), *range(512, 533), 700, 34675,
}  # fmt: skip
_PHOTOMETRIC_TAG = 262
_SUB_DIRECTORY_TAGS = {0x8769, 0x8825}  # Exif, GPS


@final
@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright.

    Attributes:
        rgb: (height, width, 3) uint8, or uint16 for 16-bit and float grey; a grey picture repeats its one
            channel.
        grey: Whether it was grey and is to be written so.
        alpha: (height, width) uint8, or None where everything is opaque.
        icc: The colour profile's bytes, carried over.
        exif: The EXIF block without its orientation, carried over.
        notes: What was lost in reading it, a few words each.
    """

    rgb: Pixels
    grey: bool = False
    alpha: Array | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def rgb8(self) -> Array:
        """`rgb` at 8 bits."""
        if self.rgb.dtype == np.uint8:
            return self.rgb  # type: ignore[return-value]
        reduced: Array = np.round(self.rgb / np.float32(257)).astype(np.uint8)
        return reduced

    def enlarged(self, rgb: Pixels) -> "Picture":
        """Return the picture with an enlarged (H, W, 3) `rgb` for its pixels, its alpha enlarged alike."""
        return replace(
            self, rgb=rgb, alpha=_resize_alpha(self.alpha, height=rgb.shape[0], width=rgb.shape[1])
        )

    def resized(self, height: int, width: int) -> "Picture":
        """Return the picture resampled to another size (Lanczos), of the same depth."""
        rgb = _resize(self.rgb, height=height, width=width)
        return replace(self, rgb=rgb, alpha=_resize_alpha(self.alpha, height=height, width=width))


def _resize(rgb: Pixels, *, height: int, width: int) -> Pixels:
    size = (width, height)
    if rgb.dtype == np.uint8:
        return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
    planes = [Image.fromarray(rgb[..., index].astype(np.float32)) for index in range(3)]
    resized = [np.asarray(plane.resize(size, Image.Resampling.LANCZOS)) for plane in planes]
    deep: NDArray[np.uint16] = np.stack(resized, axis=2).round().clip(0, 65_535).astype(np.uint16)
    return deep


def _resize_alpha(alpha: Array | None, *, height: int, width: int) -> Array | None:
    if alpha is None:
        return None
    return np.asarray(Image.fromarray(alpha).resize((width, height), Image.Resampling.BICUBIC))


def from_pil(image: Image.Image) -> Picture:
    """Take the pixels of any Pillow image, its EXIF orientation applied.

    Colour under full transparency is replaced by that of its surroundings, so that nothing dark bleeds into
    the edges when it is enlarged.

    Raises:
        ImageError: It cannot be decoded, has no pixels, or is of floats that are not within [0, 1].
    """
    try:
        return _decode(image)
    except Exception as error:  # Pillow's decoders raise any kind for damaged files
        raise ImageError(f"cannot be read, {_reason(error)}") from error


def _decode(image: Image.Image) -> Picture:
    """Take the pixels of an image, with whatever error its decoder raises."""
    if 0 in image.size:
        raise ValueError("it has no pixels")
    original = image
    if image.format == "TIFF":  # whose file is closed once it is loaded
        with suppress(Exception):  # which come again below
            for tag in _SUB_DIRECTORY_TAGS & set(image.getexif()):
                image.getexif().get_ifd(tag)
    image.load()
    notes = _losses(image)
    icc = image.info.get("icc_profile")
    # Pillow inverts only greys of 8 bits.
    white_is_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == 0
    try:
        image = ImageOps.exif_transpose(image)
        # Copies have nothing of a TIFF's, while only they tell of damage in others.
        exif = _carried_exif((original if original.format == "TIFF" else image).getexif())
    except Exception:  # Pillow raises many kinds for a damaged block
        exif, notes = None, (*notes, "damaged EXIF is left out")
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        deep = _levels(image)
        if white_is_zero:
            deep = 65_535 - deep
        return Picture(np.repeat(deep[..., None], 3, axis=2), True, None, icc, exif, notes)
    if image.mode in {"RGBa", "La"}:
        image = image.convert(image.mode.upper())
    if image.mode == "CMYK":
        image, icc = _from_cmyk(image, icc), None  # the profile describes CMYK, which the result no longer is
    grey = image.mode in {"1", "L", "LA"}
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        alpha = np.ascontiguousarray(rgba[..., 3])
        return Picture(_fill_transparent(rgba[..., :3], alpha), grey, alpha, icc, exif, notes)
    return Picture(np.asarray(image.convert("RGB")), grey, None, icc, exif, notes)


def _carried_exif(source: Image.Exif) -> bytes | None:
    """Return the EXIF block that a result of another size and orientation may have, if any."""
    exif = Image.Exif()
    exif.load(source.tobytes())  # a copy
    for tag in _STORAGE_TAGS & set(exif):
        del exif[tag]
    return exif.tobytes() if exif else None


def _levels(image: Image.Image) -> NDArray[np.uint16]:
    """Return a grey image of more than 8 bits, or of floats in [0, 1], as levels of 16 bits."""
    values = np.asarray(image)
    limit, kind = (1, "float") if image.mode == "F" else (65_535, "integer")
    if not ((values >= 0) & (values <= limit)).all():  # nor is not-a-number
        raise ValueError(f"its {kind} values are not within 0 to {limit:,}")
    levels: NDArray[np.uint16] = np.round(values * (65_535 / limit)).astype(np.uint16)
    return levels


def _losses(image: Image.Image) -> tuple[str, ...]:
    notes = []
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # the others are previews there
        what = "page" if image.format == "TIFF" else "frame of an animation"
        notes.append(f"only the first {what} is taken")
    layout = str(image.info.get("facesr_layout", ""))
    if re.search("(RGB.?|LA|CMYK);16", layout):
        notes.append("16-bit colour is taken at 8 bits")
    if image.mode.startswith("I") and "transparency" in image.info:
        notes.append("the transparency of 16-bit grey is left out")
    return tuple(notes)


def _from_cmyk(image: Image.Image, icc: bytes | None) -> Image.Image:
    if icc is None:
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")
    return converted if converted is not None else image


def _fill_transparent(rgb: Array, alpha: Array) -> Array:
    """Give fully transparent pixels the mean colour of what is visible near them."""
    if alpha.all() or not alpha.any():
        return np.ascontiguousarray(rgb)
    filled = rgb.astype(np.float32)
    missing = alpha == 0
    height, width = alpha.shape
    weight = (alpha / np.float32(255))[..., None]
    planes = np.concatenate([filled * weight, weight], axis=2)
    factor = 2
    while missing.any():
        size = (max(1, width // factor), max(1, height // factor))
        small = np.stack(
            [
                np.asarray(
                    Image.fromarray(np.ascontiguousarray(planes[..., index])).resize(
                        size, Image.Resampling.BOX
                    )
                )
                for index in range(4)
            ],
            axis=2,
        )
        rows = (np.arange(height) * size[1] // height)[:, None]
        columns = np.arange(width) * size[0] // width
        near = small[rows, columns]
        known = missing & (near[..., 3] > 0)
        filled[known] = near[known][:, :3] / near[known][:, 3:]
        missing &= ~known
        factor *= 2
    result: Array = np.round(filled).clip(0, 255).astype(np.uint8)
    return result


def to_pil(picture: Picture) -> Image.Image:
    """Return the picture as L, LA, RGB, RGBA, or I;16 for 16-bit grey, profile and EXIF in its `info`."""
    if picture.rgb.dtype == np.uint16:
        image = Image.fromarray(np.round(picture.rgb.mean(2)).astype(np.uint16))
    else:
        image = Image.fromarray(picture.rgb)
        if picture.grey:
            image = image.convert("L")
        if picture.alpha is not None:
            image.putalpha(Image.fromarray(picture.alpha))
    carried = {"icc_profile": picture.icc, "exif": picture.exif}
    image.info.update({name: block for name, block in carried.items() if block is not None})
    return image


def read_picture(path: Path | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a file.

    Args:
        path: The file, or a stream of it.
        max_pixels: The most that its header may promise.

    Raises:
        ImageError: It is missing, no picture, damaged, or too large.
    """
    file = path if isinstance(path, Path) else None
    try:
        if file:
            check_regular(file)
        with warnings.catch_warnings():
            # The limit below is the one that counts; Pillow's warning of the same would only confuse.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=READ_FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise ImageError(
                        f"{image.width}x{image.height} is more than {max_pixels:,} pixels", file=file
                    )
                image.info["facesr_layout"] = str([tile[3] for tile in image.tile])
                return _decode(image)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("not a picture in a known format", file=file) from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"more than {2 * MAX_PIXELS:,} pixels, the most that are ever read", file=file
        ) from None
    except Exception as error:  # Pillow's decoders raise any kind for damaged files
        raise ImageError(f"cannot be read, {_reason(error)}", file=file) from error


def _reason(error: Exception) -> str:
    """Say what went wrong, in one line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or type(error).__name__


def middle_square(pixels: Array, *, side: int) -> Array:
    """Cut the largest square from the middle of an (h, w, 3) picture and resize it to `side` px."""
    height, width = pixels.shape[:2]
    edge = min(height, width)
    left, top = (width - edge) // 2, (height - edge) // 2
    square = Image.fromarray(pixels[top : top + edge, left : left + edge])
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))


def bicubic(pixels: Array, *, scale: int) -> Array:
    """Enlarge an (h, w, 3) picture by Pillow's bicubic, the baseline of every comparison."""
    size = (pixels.shape[1] * scale, pixels.shape[0] * scale)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def sniff_suffix(content: bytes) -> str:
    """Return the suffix of the format of an encoded picture; what is only read becomes PNG."""
    with Image.open(io.BytesIO(content), formats=READ_FORMATS) as image:
        names = {"JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "TIFF": ".tiff"}
        return names.get(image.format or "", ".png")


def check_writable(path: Path, *, height: int, width: int) -> None:
    """Refuse a size that the format of `path` cannot hold.

    Raises:
        ImageError: A side is too long.
    """
    name = _FORMATS[path.suffix.lower()]
    limit = _SIDE_LIMITS_PX.get(name)
    if limit is not None and max(height, width) > limit:
        raise ImageError(
            f"{width}x{height} is more than {name} can hold ({limit} pixels a side)",
            file=path,
            hint="choose `--format png`",
        )


def encode_picture(picture: Picture, suffix: str, *, quality: int = 95) -> bytes:
    """Encode a picture in the format of a file name's suffix.

    JPEG and BMP hold no alpha: the picture is laid on white. 16-bit grey stays so in PNG and TIFF.

    Raises:
        ImageError: The format cannot hold it.
    """
    name = _FORMATS[suffix.lower()]
    if picture.rgb.dtype == np.uint16 and name not in _DEEP_FORMATS:
        picture = replace(picture, rgb=picture.rgb8)
    image = to_pil(picture)
    options: dict[str, Any] = {}
    if picture.alpha is not None and not holds_alpha(suffix):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba).convert("L" if picture.grey else "RGB")
    if name == "JPEG":
        options = {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
    elif name == "WEBP":
        options = {"quality": quality}
    elif name == "PNG":
        options = {"compress_level": 1}  # a quarter of the time of Pillow's 6, a tenth larger
    elif name == "TIFF" and not _has_sub_directories(picture.exif):  # which libtiff's encoders refuse
        options = {"compression": "tiff_adobe_deflate"}
    if picture.icc is not None and not (name == "WEBP" and picture.icc[16:20] == b"GRAY"):  # has no grey
        options["icc_profile"] = picture.icc
    if picture.exif is not None and not exif_is_too_long(picture, suffix):
        options["exif"] = picture.exif
    encoded = io.BytesIO()
    try:
        image.save(encoded, name, **options)
    except Exception as error:  # Pillow's encoders raise many kinds
        raise ImageError(f"cannot be written as {name}, {_reason(error)}") from error
    return encoded.getvalue()


def _has_sub_directories(block: bytes | None) -> bool:
    exif = Image.Exif()
    exif.load(block or b"")
    return bool(_SUB_DIRECTORY_TAGS & set(exif))


def exif_is_too_long(picture: Picture, suffix: str) -> bool:
    """Tell whether a JPEG would have to leave EXIF out, which has one segment of 64 KiB there."""
    return picture.exif is not None and len(picture.exif) > 65_500 and _FORMATS[suffix.lower()] == "JPEG"


def holds_alpha(suffix: str) -> bool:
    """Tell whether a format keeps transparency."""
    return _FORMATS[suffix.lower()] not in {"JPEG", "BMP"}


def write_picture(path: Path, picture: Picture, *, quality: int = 95) -> None:
    """Encode a picture in the format of its suffix and write it all or nothing.

    Raises:
        ImageError: The disk is full, the folder cannot be written, the format cannot hold it, or there is
            something that is no file, such as a pipe.
    """
    if exists(path):
        check_regular(path)
    try:
        encoded = encode_picture(picture, path.suffix, quality=quality)
        write_atomic(path, lambda stream: stream.write(encoded))
    except ImageError as error:
        raise ImageError(error.reason, file=path) from error
    except (OSError, ValueError, MemoryError) as error:
        raise ImageError(f"cannot be written, {_reason(error)}", file=path) from error
