"""Finding the pictures of a run and refusing what cannot be trained on, before anything starts."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from facesr.config.train import DataConfig
from facesr.errors import ConfigError, ImageError, shorten
from facesr.files import READ_FORMATS, Source, Warn, check_regular, exists, list_images

_MEND = "mend or remove these"
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Folder:
    """A folder of HQ pictures, and of their LQ partners where there are any.

    Attributes:
        hq: The pictures, sorted.
        lq: Their partners in the same order; empty where LQ is made.
        share: How often the folder is drawn, in any unit.
        size: (height, width) of every HQ picture where whole pictures are taken; None for crops.
    """

    hq: tuple[Path, ...]
    lq: tuple[Path, ...]
    share: float
    size: tuple[int, int] | None = None


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


def list_training(config: DataConfig, *, scale: int, warn: Warn | None = None) -> list[Folder]:
    """List and check all training pictures by their headers.

    Args:
        config: Names the folders.
        scale: How many times larger than LQ the pictures are.
        warn: Is told if pictures in formats that are not read were left out.

    Raises:
        ConfigError: A missing folder, a missing partner, a size that does not fit; offenders are named.
    """
    shares = config.train_share or (1.0,) * len(config.train_hq)
    folders = []
    for index, hq_folder in enumerate(config.train_hq):
        hint = "put HQ faces there, or name their folder with `--train-hq`"
        sources = _list(hq_folder, "training pictures", hint, warn)
        hq = tuple(source.path for source in sources)
        lq: tuple[Path, ...] = ()
        if config.train_lq:
            lq_folder = config.train_lq[index]
            hint = f"make them with `facesr degrade {hq_folder} {lq_folder} -r`, or leave out `--train-lq`"
            pairs = match_pairs(_list(lq_folder, "LQ partners", hint, warn), sources)
            lq, hq = zip(*pairs.values(), strict=True)
        folders.append(Folder(hq, lq, shares[index]))
    sizes: dict[tuple[int, int], Path] = {}
    problems = []
    for folder in folders:
        for position, path in enumerate(folder.hq):
            try:
                height, width = _header_size(path)
                if folder.lq:
                    _check_pair(folder.lq[position], height=height, width=width, scale=scale)
            except ValueError as error:
                problems.append(str(error))
                continue
            if min(height, width) < max(config.crop_px, scale):
                problems.append(f"{path}: {width}x{height} is smaller than the crop of {config.crop_px} px")
            elif not config.crop_px:
                sizes.setdefault((height, width), path)
    if config.crop_px % scale:
        problems.append(f"--crop {config.crop_px} is not a multiple of {scale}")
    hint = _MEND
    if len(sizes) > 1:
        examples = [f"{path} is {width}x{height}" for (height, width), path in sizes.items()]
        shown = shorten(examples, limit=3)
        problems.append(f"whole pictures must all be of one size, or need `--crop`: {shown}")
        hint = f"`facesr degrade {config.train_hq[0]} lq -r --hq-out hq --size 512` makes them of one size"
    else:
        for height, width in sizes:
            if height % scale or width % scale:
                problems.append(f"{width}x{height} is not divisible by {scale}, use `--crop`")
            if height != width and config.rotate_chance:
                problems.append(f"{width}x{height} pictures cannot be turned in a batch, use `--crop`")
    _refuse(problems, "training data", hint=hint)
    size = next(iter(sizes), None)  # there is one at most, or it was refused
    return [replace(folder, size=size) for folder in folders]


def fingerprint(folders: Sequence[Folder]) -> str:
    """Return a digest of the names of all pictures, their sizes in bytes, and the folders' shares."""
    digest = hashlib.sha256()
    for folder in folders:
        digest.update(f"{folder.share}".encode())
        for path in (*folder.hq, *folder.lq):
            size = path.stat().st_size if exists(path) else 0  # it may be gone since it was listed
            digest.update(f"{path.name} {size}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def list_validation(config: DataConfig, *, scale: int, warn: Warn | None = None) -> list[PairSet]:
    """List and check the validation pairs, one set for each LQ folder; as `list_training`.

    Raises:
        ConfigError: As `list_training`.
    """
    names = [folder.name for folder in config.val_lq]
    hint = "put HQ faces there, or name them with `--val-hq`; `--set validate_every=0` does without"
    truths = list_truths(config.val_hq, hint=hint, warn=warn)
    return [
        list_pairs(
            folder,
            truths,
            scale=scale,
            hint=f"make them with `facesr degrade {config.val_hq} {folder} -r`, or name them with `--val-lq`",
            name=folder.name if names.count(folder.name) == 1 else str(folder),
            warn=warn,
        )
        for folder in config.val_lq
    ]


def list_truths(folder: Path, *, hint: str, warn: Warn | None = None) -> list[Source]:
    """List the truths that pictures are compared with.

    Args:
        folder: Where they are.
        hint: What to do where it is missing.
        warn: Is told if pictures in formats that are not read were left out.

    Raises:
        ConfigError: A missing folder, or one without pictures.
    """
    return _list(folder, "truths", hint, warn)


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
        truths: All of `list_truths`.
        scale: How many times larger the truths are.
        hint: What to do where the folder is missing.
        suffix: What the pictures' names have at their end, and the truths' have not.
        name: Of the set; the folder's if not given.
        warn: Is told if pictures in formats that are not read were left out.

    Raises:
        ConfigError: A missing folder, pictures without a partner, sizes that do not fit. Files whose headers
            cannot be read are left for later.
    """
    pairs = match_pairs(_list(folder, "pictures to compare", hint, warn), truths, suffix=suffix)
    problems = []
    for lq_path, hq_path in pairs.values():
        try:
            height, width = _header_size(hq_path)
            _check_pair(lq_path, height=height, width=width, scale=scale)
        except UnreadableHeader:
            continue
        except ValueError as error:
            problems.append(str(error))
    _refuse(problems, f"{folder} and its truths")
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
    hint = f"{_MEND}; names that occur twice need the same sub-folders on both sides" if by_path else _MEND
    _refuse(sorted(problems), "pairs", hint=hint)
    return {name: (pictures[name], truths[name]) for name in sorted(pictures)}


def _list(folder: Path, what: str, hint: str, warn: Warn | None) -> list[Source]:
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder} for the {what}", hint=hint)
    try:
        return list_images([folder], recursive=True, warn=warn)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error.message}", hint=error.hint) from error


def _header_size(path: Path) -> tuple[int, int]:
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


def _check_pair(lq: Path, *, height: int, width: int, scale: int) -> None:
    lq_height, lq_width = _header_size(lq)
    if (lq_height * scale, lq_width * scale) != (height, width):
        raise ValueError(
            f"{lq}: {lq_width}x{lq_height}, but its truth is {width}x{height}, not {scale} times"
        )


def _refuse(problems: list[str], what: str, *, hint: str = _MEND) -> None:
    if problems:
        raise ConfigError(f"{what}: {shorten(problems)}", hint=hint)
