"""Finding the training images and rejecting unusable ones before training starts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facesr.config.data import DataConfig
from facesr.data.pairs import (
    FIX,
    Matching,
    PairSet,
    check_sizes,
    list_folder,
    list_hq,
    list_pairs,
    match_pairs,
    refuse,
)
from facesr.errors import ConfigError, ImageError, shorten
from facesr.files.listing import Warn
from facesr.files.paths import exists
from facesr.images.formats import read_size


@dataclass(frozen=True)
class Folder:
    """A folder of HQ images, and of the matching LQ images if there are any."""

    hq: tuple[Path, ...]  # sorted
    lq: tuple[Path, ...]  # in the same order; empty where LQ is made
    share: float  # relative sampling weight of the folder
    size: tuple[int, int] | None = None  # (height, width) of every HQ image taken whole; None for crops
    scale: int = 0  # how many times larger HQ is than LQ; 0 where LQ is made, or could not be read


def list_training(config: DataConfig, *, warn: Warn | None = None) -> list[Folder]:
    """List all training images and check their headers. `warn` is called about files in unsupported formats.

    Raises:
        ConfigError: A missing folder, an image without a match, or a wrong size. The message names the files.
    """
    matching = _matching(config)
    shares = config.train_share or (1.0,) * len(config.train_hq)
    folders = []
    sizes: dict[tuple[int, int], Path] = {}
    problems: list[str] = []
    for index, hq_folder in enumerate(config.train_hq):
        hint = "put HQ faces there, or name their folder with `--train-hq`"
        sources = list_folder(hq_folder, "training images", hint, warn)
        hq = tuple(source.path for source in sources)
        lq: tuple[Path, ...] = ()
        scale = 0
        if config.train_lq:
            lq_folder = config.train_lq[index]
            hint = f"make them with `facesr degrade {hq_folder} {lq_folder} -r`, or leave out `--train-lq`"
            pairs = match_pairs(list_folder(lq_folder, "LQ images", hint, warn), sources, matching)
            scale = check_sizes(list(pairs.values()), f"{lq_folder} and its HQ images", matching)
            lq, hq = zip(*pairs.values(), strict=True)
        for path in hq:
            try:
                height, width = read_size(path)
            except ImageError as error:
                problems.append(str(error))
                continue
            if config.crop_to_scale and scale:
                height, width = height - height % scale, width - width % scale
            if min(height, width) < config.crop_px:
                problems.append(f"{path}: {width}x{height} is smaller than `--crop {config.crop_px}`")
            elif not config.crop_px:
                sizes.setdefault((height, width), path)
        folders.append(Folder(hq, lq, shares[index], scale=scale))
    hint = f"{FIX}, or use a smaller `--crop`" if config.crop_px else FIX
    if len(sizes) > 1:
        examples = [f"{path} is {width}x{height}" for (height, width), path in sizes.items()]
        shown = shorten(examples, limit=3)
        problems.append(f"whole images must all be of one size, or need `--crop`: {shown}")
        hint = f"`facesr degrade {config.train_hq[0]} lq -r --hq-out hq --size 512` makes them of one size"
    elif config.rotate_chance:
        problems += [
            f"{width}x{height} images cannot be turned in a batch, use `--crop`"
            for height, width in sizes
            if height != width
        ]
    refuse(problems, "training data", hint=hint)
    size = next(iter(sizes), None)  # there is one at most, or it was refused
    return [replace(folder, size=size) for folder in folders]


def _matching(config: DataConfig) -> Matching:
    return Matching(
        config.lq_suffix,
        config.crop_to_scale,
        suffix_option="--set data.lq_suffix='\"{}\"'",  # in quotes for TOML, which takes 4 for a number
        crop_option="--set data.crop_to_scale=true",
    )


def check_scale(
    config: DataConfig, folders: Sequence[Folder], sets: Sequence[PairSet], *, scale: int
) -> None:
    """Reject pairs whose scale is not the network's, and image sizes that it does not divide."""
    hint = f"make them with `facesr degrade --scale {scale}`, or choose `--scale`"
    scales = [(str(lq), folder.scale) for folder, lq in zip(folders, config.train_lq, strict=False)]
    for name, found in [*scales, *((one.name, one.scale) for one in sets)]:
        if found not in {0, scale}:
            raise ConfigError(f"{name} is {found} times smaller than HQ, not {scale}", hint=hint)
    if config.crop_px % scale:
        raise ConfigError(f"`--crop {config.crop_px}` is not a multiple of {scale}", hint="choose a multiple")
    height, width = folders[0].size or (scale, scale)
    if (height % scale or width % scale) and not config.crop_to_scale:
        raise ConfigError(
            f"training data: {width}x{height} is not divisible by {scale}",
            hint="use `--set data.crop_to_scale=true`, or take crops with `--crop`",
        )


def fingerprint(folders: Sequence[Folder]) -> str:
    """Return a hash of the names of all images, their sizes in bytes, and the folders' shares."""
    digest = hashlib.sha256()
    for folder in folders:
        digest.update(f"{folder.share}".encode())
        for path in (*folder.hq, *folder.lq):
            size = path.stat().st_size if exists(path) else 0  # it may be gone since it was listed
            digest.update(f"{path.name} {size}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def list_validation(config: DataConfig, *, warn: Warn | None = None) -> list[PairSet]:
    """List and check the validation pairs, one set for each LQ folder. Errors are as in `list_training`."""
    names = [folder.name for folder in config.val_lq]
    hint = "put HQ faces there, or name them with `--val-hq`. `--set validate_every=0` trains without them"
    hq = list_hq(config.val_hq, hint=hint, warn=warn)
    return [
        list_pairs(
            folder,
            hq,
            matching=_matching(config),
            hint=f"make them with `facesr degrade {config.val_hq} {folder} -r`, or name them with `--val-lq`",
            name=folder.name if names.count(folder.name) == 1 else str(folder),
            warn=warn,
        )
        for folder in config.val_lq
    ]
