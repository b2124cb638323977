"""Training data: what a network learns from, and how images are varied."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from facesr.config.build import build, is_file, read_toml
from facesr.config.fields import Auto, Config, Count, Positive, WholeNumber, key, opt
from facesr.config.steps import PRESETS, Chance, Degradation, PositiveRange, Range, degradation_preset
from facesr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """Training data: what a network learns from, and how images are varied."""

    train_hq: tuple[Path, ...] = opt(
        (Path("train/hq"),),
        "Folder of high-quality (HQ) faces, may be repeated.",
        panel="Data",
        metavar="FOLDER",
    )
    train_lq: tuple[Path, ...] = opt(
        (),
        "Folder of matching low-quality (LQ) images, one for each --train-hq (default: made on the fly).",
        panel="Data",
        metavar="FOLDER",
    )
    train_share: tuple[Positive, ...] = opt(
        (), "Relative sampling weight of each --train-hq (default: equal).", panel="Data", metavar="NUMBER"
    )
    val_hq: Path = opt(Path("val/hq"), "Folder of validation HQ images.", panel="Data", metavar="FOLDER")
    val_lq: tuple[Path, ...] = opt(
        (Path("val/lq"),),
        "Folder of validation LQ images. The scores of several are averaged.",
        panel="Data",
        metavar="FOLDER",
    )
    crop_px: WholeNumber = opt(
        0,
        "Side of random crops in HQ pixels, 0 for whole images.",
        panel="Data",
        shown_default="by the recipe",
        flag="--crop",
        metavar="PX",
    )
    degradation: tuple[str, ...] = opt(
        ("default",),
        "Preset or TOML file, with =SHARE to mix several, may be repeated.",
        panel="Data",
        metavar="NAME[=SHARE]",
    )
    degradations: Mapping[str, Degradation] = key(
        "Degradations by the names in `degradation` (default: read from there).", make=dict
    )
    lq_suffix: str = key(
        "Ending of the names in `train_lq` and `val_lq`, such as x4, ignored when matching.", default=""
    )
    crop_to_scale: bool = key(
        "Crop HQ images whose sides are not multiples of the scale, as BasicSR does.", default=False
    )
    usm_source: bool = key("Sharpen the HQ image before it is degraded, as Real-ESRGAN does.", default=False)
    flip_chance: Chance = key("Probability of mirroring.", default=0.5)
    rotate_chance: Chance = key("Probability of rotating by 90, 180 or 270 degrees.", default=0.0)
    brightness_chance: Chance = key("Probability of a change of brightness.", default=0.5)
    brightness: Range = key("Range of the factor.", default=(0.7, 1.3))
    contrast_chance: Chance = key("Probability of a change of contrast.", default=0.5)
    contrast: Range = key("Range of the factor.", default=(0.7, 1.3))
    zoom_chance: Chance = key("Probability of a random zoom and shift of the whole image.", default=0.0)
    zoom: PositiveRange = key(
        "Range of the zoom. Below 1 the image shrinks, with mirrored borders unless `crop_px` is set.",
        default=(0.8, 1.3),
    )
    shift: Chance = key("Largest shift with a zoom, relative to the side.", default=0.1)
    reuse: Count = key("How often each degraded image is used, from a ring.", default=1)
    ring: Count = key("Number of images that the ring holds, if `reuse` is above 1.", default=256)
    resident: Literal["auto", "yes", "no"] = key(
        "Keep HQ images on the device and make LQ there. auto does on CUDA if they take less than half of its"
        " free memory.",
        default="auto",
    )
    workers: WholeNumber | Auto = key(
        "Number of processes that prepare images. auto uses up to 8, one per core.",
        default="auto",
    )

    def __post_init__(self) -> None:
        if self.train_lq and len(self.train_lq) != len(self.train_hq):
            raise ConfigError(f"{len(self.train_hq)} --train-hq but {len(self.train_lq)} --train-lq")
        if self.train_share and len(self.train_share) != len(self.train_hq):
            raise ConfigError(f"{len(self.train_hq)} --train-hq but {len(self.train_share)} --train-share")
        if self.resident == "yes" and self.train_lq:
            raise ConfigError(
                "`data.resident` makes LQ on the device, and cannot be combined with `--train-lq`",
                hint="leave out `--train-lq`, or use `--set data.resident=no`",
            )
        read_shares(self.degradation)

    def resolved(self) -> Self:
        """Fill `degradations` with those that `degradation` names, from presets or TOML files."""
        self = super().resolved()
        known = self.degradations
        named = {name: known.get(name) or read_degradation(name) for name in self.degradation_shares}
        return replace(self, degradations=named)

    @property
    def degradation_shares(self) -> dict[str, float]:
        """Names in `degradation` with their shares, 1 if none is given."""
        return read_shares(self.degradation)


def read_shares(degradation: Iterable[str]) -> dict[str, float]:
    """Parse texts such as `mild` and `mild=0.5` into names and shares. A share that is not given is 1."""
    shares: dict[str, float] = {}
    for text in degradation:
        name, _, share = text.rpartition("=") if "=" in text else (text, "", "1")
        try:
            shares[name] = float(share)
        except ValueError:
            raise ConfigError(f"cannot read `--degradation {text}`", hint="write `NAME=SHARE`") from None
        if not 0 < shares[name] < math.inf:
            raise ConfigError(f"the share in --degradation {text} is not a number above 0")
    return shares


def read_degradation(name: str) -> Degradation:
    """Return a preset by name, or read the degradation in a TOML file."""
    if name in PRESETS:
        return degradation_preset(name)
    if not is_file(name):
        raise ConfigError(
            f"no degradation `{name}`", hint=f"name a TOML file, or one of the presets {', '.join(PRESETS)}"
        )
    tree = read_toml(Path(name)).get("degradation")
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{name} has no [degradation] table")
    return build(Degradation, tree, source=name)
