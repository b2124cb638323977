"""Finding pairs of LQ and HQ images, and refusing those that do not fit."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from facesr.errors import ConfigError, ImageError, shorten
from facesr.files.listing import READ_FORMATS, Source, Warn, list_images
from facesr.files.paths import check_regular

FIX = "mend or remove these"


_ORIENTATION = 0x0112


@dataclass(frozen=True)
class PairSet:
    """Pictures and their truths, in the same order.

    Attributes:
        name: Of the folder of pictures.
        names: Of the pairs, as `match_pairs` gives them.
        lq: The pictures, LQ or already restored.
        hq: The truths.
    """

    name: str
    names: tuple[str, ...]
    lq: tuple[Path, ...]
    hq: tuple[Path, ...]


def list_hq(folder: Path, *, hint: str, warn: Warn | None = None) -> list[Source]:
    """List the truths that pictures are compared with.

    Args:
        folder: Where they are.
        hint: What to do where it is missing.
        warn: Is told if pictures in formats that are not read were left out.

    Raises:
        ConfigError: A missing folder, or one without pictures.
    """
    return list_folder(folder, "truths", hint, warn)


def list_pairs(
    folder: Path,
    truths: Sequence[Source],
    *,
    scale: int,
    hint: str,
    suffix: str = "",
    name: str = "",
    warn: Warn | None = None,
) -> PairSet:
    """List the pictures of a folder beside their truths, and check their sizes by their headers.

    Args:
        folder: Of the pictures.
        truths: All of `list_hq`.
        scale: How many times larger the truths are.
        hint: What to do where the folder is missing.
        suffix: What the pictures' names have at their end, and the truths' have not.
        name: Of the set; the folder's if not given.
        warn: Is told if pictures in formats that are not read were left out.

    Raises:
        ConfigError: A missing folder, pictures without a partner, sizes that do not fit. Files whose headers
            cannot be read are left for later.
    """
    pairs = match_pairs(list_folder(folder, "pictures to compare", hint, warn), truths, suffix=suffix)
    problems = []
    for lq_path, hq_path in pairs.values():
        try:
            height, width = header_size(hq_path)
            check_pair(lq_path, height=height, width=width, scale=scale)
        except UnreadableHeader:
            continue
        except ValueError as error:
            problems.append(str(error))
    refuse(problems, f"{folder} and its truths")
    lq, hq = zip(*pairs.values(), strict=True)
    return PairSet(name or folder.name, tuple(pairs), lq, hq)


class UnreadableHeader(ValueError):
    """A file that is not a picture, or damaged from its first bytes."""


def match_pairs(
    lq: Sequence[Source], hq: Sequence[Source], *, suffix: str = ""
) -> dict[str, tuple[Path, Path]]:
    """Find the truth of each picture by the names without extension.

    If each name occurs once on either side, it does not matter where the files lie. Otherwise the paths below
    the two folders are compared.

    Args:
        lq: The pictures.
        hq: Their truths.
        suffix: What the stems of `lq` have at their end, and those of `hq` have not.

    Returns:
        From the names, or the paths with `/` between their parts, to picture and truth, sorted.

    Raises:
        ConfigError: A picture without a partner, or two of one name in a list.
    """
    stems = [source.path.stem.removesuffix(suffix) for source in lq], [source.path.stem for source in hq]
    by_path = any(len(set(names)) < len(names) for names in stems)
    tables: list[dict[str, Path]] = []
    problems = []
    for sources, names in zip((lq, hq), stems, strict=True):
        table: dict[str, Path] = {}
        for source, stem in zip(sources, names, strict=True):
            name = (source.relative.parent / stem).as_posix() if by_path else stem
            if name in table:
                problems.append(f"{table[name]} and {source.path} have the same name")
            table[name] = source.path
        tables.append(table)
    pictures, truths = tables
    problems += [
        f"{pictures[name]} has no partner among the truths" for name in pictures.keys() - truths.keys()
    ]
    problems += [f"{truths[name]} has no partner to compare" for name in truths.keys() - pictures.keys()]
    hint = f"{FIX}; names that occur twice need the same sub-folders on both sides" if by_path else FIX
    refuse(sorted(problems), "pairs", hint=hint)
    return {name: (pictures[name], truths[name]) for name in sorted(pictures)}


def list_folder(folder: Path, what: str, hint: str, warn: Warn | None) -> list[Source]:
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder} for the {what}", hint=hint)
    try:
        return list_images([folder], recursive=True, warn=warn)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error.message}", hint=error.hint) from error


def header_size(path: Path) -> tuple[int, int]:
    try:
        check_regular(path)
        with warnings.catch_warnings(), Image.open(path, formats=READ_FORMATS) as image:
            # What is too large is refused when it is read.
            warnings.simplefilter("ignore")
            # For a PNG without EXIF in its header Pillow would decode the picture to look behind it.
            has_exif = image.format != "PNG" or "exif" in image.info
            turned = has_exif and _is_turned(image)
            return (image.width, image.height) if turned else (image.height, image.width)
    except ImageError as error:
        raise UnreadableHeader(error.message) from error
    except Exception as error:  # Pillow raises any kind for damaged files
        raise UnreadableHeader(f"{path}: cannot be read ({type(error).__name__})") from error


def _is_turned(image: Image.Image) -> bool:
    try:
        return image.getexif().get(_ORIENTATION) in {5, 6, 7, 8}
    except Exception:  # a damaged block, which is left out when the picture is read
        return False


def check_pair(lq: Path, *, height: int, width: int, scale: int) -> None:
    lq_height, lq_width = header_size(lq)
    if (lq_height * scale, lq_width * scale) != (height, width):
        raise ValueError(
            f"{lq}: {lq_width}x{lq_height}, but its truth is {width}x{height}, not {scale} times"
        )


def refuse(problems: list[str], what: str, *, hint: str = FIX) -> None:
    if problems:
        raise ConfigError(f"{what}: {shorten(problems)}", hint=hint)
