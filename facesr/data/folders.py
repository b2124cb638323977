"""Finding the training images and refusing what cannot be trained on, before anything starts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facesr.config.data import DataConfig
from facesr.data.pairs import (
    FIX,
    PairSet,
    check_pair,
    header_size,
    list_folder,
    list_hq,
    list_pairs,
    match_pairs,
    refuse,
)
from facesr.errors import shorten
from facesr.files.listing import Warn
from facesr.files.paths import exists


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
        sources = list_folder(hq_folder, "training pictures", hint, warn)
        hq = tuple(source.path for source in sources)
        lq: tuple[Path, ...] = ()
        if config.train_lq:
            lq_folder = config.train_lq[index]
            hint = f"make them with `facesr degrade {hq_folder} {lq_folder} -r`, or leave out `--train-lq`"
            pairs = match_pairs(list_folder(lq_folder, "LQ partners", hint, warn), sources)
            lq, hq = zip(*pairs.values(), strict=True)
        folders.append(Folder(hq, lq, shares[index]))
    sizes: dict[tuple[int, int], Path] = {}
    problems = []
    for folder in folders:
        for position, path in enumerate(folder.hq):
            try:
                height, width = header_size(path)
                if folder.lq:
                    check_pair(folder.lq[position], height=height, width=width, scale=scale)
            except ValueError as error:
                problems.append(str(error))
                continue
            if min(height, width) < max(config.crop_px, scale):
                problems.append(f"{path}: {width}x{height} is smaller than the crop of {config.crop_px} px")
            elif not config.crop_px:
                sizes.setdefault((height, width), path)
    if config.crop_px % scale:
        problems.append(f"--crop {config.crop_px} is not a multiple of {scale}")
    hint = FIX
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
    refuse(problems, "training data", hint=hint)
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
    truths = list_hq(config.val_hq, hint=hint, warn=warn)
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
