"""Finding pairs of LQ and HQ images, and rejecting those that do not fit."""

import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from facesr.errors import ConfigError, ImageError, shorten
from facesr.files.listing import Source, Warn, list_images
from facesr.images.formats import read_size

FIX = "fix or remove these files"

# How many times larger HQ may be, where only restored images are there to compare with.
_LARGEST_SCALE = 8


@dataclass(frozen=True)
class Matching:
    """How LQ and HQ images are matched, and the options that the user chose it with."""

    suffix: str = ""  # at the end of the images' stems, and not of the HQ images'
    crop: bool = False  # whether HQ images may be larger, by less than the scale, and are then cropped
    suffix_option: str = "--lq-suffix {}"
    crop_option: str = "--crop-to-scale"


@dataclass(frozen=True)
class PairSet:
    """Images and their HQ images, in the same order."""

    name: str  # of the folder of images
    names: tuple[str, ...]  # of the pairs, as `match_pairs` gives them
    lq: tuple[Path, ...]  # the images, LQ or already restored
    hq: tuple[Path, ...]
    scale: int = 0  # how many times larger HQ is; 0 if no header could be read
    crop: bool = False  # whether HQ images are cropped to a multiple of the scale


def list_hq(folder: Path, *, hint: str, warn: Warn | None = None) -> list[Source]:
    """List the HQ images of a folder. The arguments are those of `list_folder`."""
    return list_folder(folder, "HQ images", hint, warn)


def list_pairs(
    folder: Path,
    hq: Sequence[Source],
    *,
    scale: int = 0,
    hint: str,
    matching: Matching,
    name: str = "",
    warn: Warn | None = None,
) -> PairSet:
    """List the images of a folder with their HQ images, and check the sizes in their headers.

    `hint` says what to do if the folder is missing. `warn` is called about files in unsupported formats.

    Raises:
        ConfigError: A missing folder, images without a match, or sizes that do not fit. Files whose headers
            cannot be read are not reported here.
    """
    pairs = match_pairs(list_folder(folder, "images to compare", hint, warn), hq, matching)
    scale = check_sizes(list(pairs.values()), f"{folder} and its HQ images", matching, scale=scale)
    lq_paths, hq_paths = zip(*pairs.values(), strict=True)
    return PairSet(name or folder.name, tuple(pairs), lq_paths, hq_paths, scale, matching.crop)


def check_sizes(pairs: Sequence[tuple[Path, Path]], what: str, matching: Matching, *, scale: int = 0) -> int:
    """Check in the headers that each HQ image is `scale` times as large as its LQ image.

    A scale of 0 means the scale of most pairs. With cropping, an HQ image may be larger by less than the
    scale, or by less than 8 px if the other image is already restored.

    Returns:
        The scale, or 0 if no header could be read.

    Raises:
        ConfigError: Sizes that do not fit. `what` names the kind of image in the message.
    """
    sizes: dict[Path, tuple[tuple[int, int], tuple[int, int]]] = {}
    for lq_path, hq_path in pairs:
        with suppress(ImageError):
            sizes[lq_path] = read_size(lq_path), read_size(hq_path)
    exact = Counter(hq[0] // lq[0] for lq, hq in sizes.values() if hq[0] * lq[1] == hq[1] * lq[0])
    whole = Counter(hq[0] // lq[0] for lq, hq in sizes.values() if hq[0] // lq[0] == hq[1] // lq[1])
    ratios = whole if matching.crop else exact or whole
    scale = scale or max(ratios, key=lambda ratio: ratios[ratio], default=min(len(sizes), 1))
    spare = (scale if scale > 1 else _LARGEST_SCALE) - 1
    problems = []
    croppable = True
    for path, (lq, hq) in sizes.items():
        rest = [high - low * scale for low, high in zip(lq, hq, strict=True)]
        fits_cropped = min(rest) >= 0 and max(rest) <= spare
        croppable &= fits_cropped
        if any(rest) and not (matching.crop and fits_cropped):
            expected = f"not {scale} times as large" if scale > 1 else "which is another size"
            problems.append(f"{path}: {lq[1]}x{lq[0]}, but its HQ image is {hq[1]}x{hq[0]}, {expected}")
    hint = f"`{matching.crop_option}` crops the HQ images to {scale} times the size of the others"
    refuse(problems, what, hint=hint if croppable else FIX)
    return scale


def match_pairs(
    lq: Sequence[Source], hq: Sequence[Source], matching: Matching
) -> dict[str, tuple[Path, Path]]:
    """Find the HQ image of each image by file name without extension.

    If no name occurs twice on either side, sub-folders are ignored. Otherwise the paths below the two folders
    are compared.

    Returns:
        The image and its HQ image by name, or by path with `/` as separator, sorted.

    Raises:
        ConfigError: An image without a match, or two of the same name in one list.
    """
    stems = (
        [source.path.stem.removesuffix(matching.suffix) for source in lq],
        [source.path.stem for source in hq],
    )
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
    images, hq_images = tables
    problems += [f"{images[name]} has no matching HQ image" for name in images.keys() - hq_images.keys()]
    problems += [f"{hq_images[name]} has no matching image" for name in hq_images.keys() - images.keys()]
    hint = f"{FIX}. Names that occur twice need the same sub-folders on both sides" if by_path else FIX
    suffix, count = _common_suffix(lq, hq) if problems else ("", 0)
    if suffix not in {"", matching.suffix} and 2 * count > len(lq):
        option = matching.suffix_option.format(shlex.quote(suffix))
        hint = f"`{option}` matches {'them' if count == len(lq) else f'{count} of {len(lq)}'}"
    refuse(sorted(problems), "pairs", hint=hint)
    return {name: (images[name], hq_images[name]) for name in sorted(images)}


def _common_suffix(lq: Sequence[Source], hq: Sequence[Source]) -> tuple[str, int]:
    """Return the most common ending by which a stem of `lq` is longer than one of `hq`, and its count."""
    known = {source.path.stem for source in hq}
    endings = Counter(
        stem[length:]
        for stem in (source.path.stem for source in lq)
        for length in range(1, len(stem))
        if stem[:length] in known
    )
    return max(endings.items(), key=lambda item: item[1], default=("", 0))


def list_folder(folder: Path, what: str, hint: str, warn: Warn | None) -> list[Source]:
    """List all images in a folder and below it. A folder without images is an error."""
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder} for the {what}", hint=hint)
    try:
        return list_images([folder], recursive=True, warn=warn)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error.message}", hint=error.hint) from error


def refuse(problems: list[str], what: str, *, hint: str = FIX) -> None:
    """Raise one `ConfigError` for all problems with `what`, if there are any."""
    if problems:
        raise ConfigError(f"{what}: {shorten(problems)}", hint=hint)
