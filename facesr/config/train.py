"""Options of `facesr train`, and its recipes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from facesr.config.build import build, is_file, merge, nest, read_toml
from facesr.config.degrade import (
    PRESETS,
    Chance,
    Degradation,
    PositiveRange,
    Range,
    degradation_preset,
    preset_tree,
)
from facesr.config.fields import Config, key, opt
from facesr.config.model import Arch
from facesr.config.upscale import Auto, Dtype
from facesr.errors import ConfigError

Method = Literal["adam", "muon"]
Loss = Literal["l1", "charbonnier", "mse", "psnr"]
Positive = Annotated[float, Gt(0)]
Decay = Annotated[float, Ge(0), Lt(1)]
Count = Annotated[int, Ge(1)]
Optional0 = Annotated[int, Ge(0)]

_RECIPE_DIR = Path(__file__).parent / "presets" / "recipes"
RECIPES = ("psnr", "face", "original", "smoke")

_DATA, _TRAINING, _RUN = "Data", "Training", "Run"


@dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """What is learnt from, and how pictures are varied."""

    train_hq: tuple[Path, ...] = opt(
        (Path("train/hq"),), "Folder of HQ faces; may be repeated.", panel=_DATA, metavar="FOLDER"
    )
    train_lq: tuple[Path, ...] = opt(
        (),
        "Folder of LQ partners, one for each --train-hq; otherwise they are made.",
        panel=_DATA,
        metavar="FOLDER",
    )
    train_share: tuple[Positive, ...] = opt(
        (),
        "How often each --train-hq is drawn, in any unit; equal if not given.",
        panel=_DATA,
        metavar="NUMBER",
    )
    val_hq: Path = opt(Path("val/hq"), "Folder of validation truths.", panel=_DATA, metavar="FOLDER")
    val_lq: tuple[Path, ...] = opt(
        (Path("val/lq"),), "Folder of validation inputs; several are averaged.", panel=_DATA, metavar="FOLDER"
    )
    crop_px: Optional0 = opt(
        0,
        "Side of random crops in HQ pixels; 0 takes whole pictures.",
        panel=_DATA,
        shown_default="by the recipe",
        flag="--crop",
        metavar="PX",
    )
    degradation: tuple[str, ...] = opt(
        ("default",),
        "Preset or TOML file, with =SHARE to mix several; may be repeated.",
        panel=_DATA,
        metavar="NAME[=SHARE]",
    )
    degradations: Mapping[str, Degradation] = key(
        "The degradations themselves by the names in `degradation`; those not given are read from there.",
        make=dict,
    )
    usm_source: bool = key(
        "Sharpen the HQ picture before it is degraded, as Real-ESRGAN does.", default=False
    )
    flip_chance: Chance = key("Probability of a mirror image.", default=0.5)
    rotate_chance: Chance = key("Probability of a turn by 90, 180 or 270 degrees.", default=0.0)
    brightness_chance: Chance = key("Probability of a change of brightness.", default=0.5)
    brightness: Range = key("Range of its factor.", default=(0.7, 1.3))
    contrast_chance: Chance = key("Probability of a change of contrast.", default=0.5)
    contrast: Range = key("Range of its factor.", default=(0.7, 1.3))
    zoom_chance: Chance = key("Probability of a random zoom and shift of the whole picture.", default=0.0)
    zoom: PositiveRange = key(
        "Range of its factor; below 1 shrinks, and mirrors the borders.", default=(0.8, 1.3)
    )
    shift: Chance = key("Largest shift with it, as a part of the side.", default=0.1)
    reuse: Count = key("How often each degraded picture is used, from a ring.", default=1)
    ring: Count = key("Pictures that the ring holds, if `reuse` is above 1.", default=256)
    workers: Optional0 | Auto = key(
        "Processes that prepare pictures; auto is 8, or the cores that each process has if they are fewer.",
        default="auto",
    )

    def __post_init__(self) -> None:
        if self.train_lq and len(self.train_lq) != len(self.train_hq):
            raise ConfigError(f"{len(self.train_hq)} --train-hq but {len(self.train_lq)} --train-lq")
        if self.train_share and len(self.train_share) != len(self.train_hq):
            raise ConfigError(f"{len(self.train_hq)} --train-hq but {len(self.train_share)} --train-share")
        known = self.degradations
        named = {
            name: known[name] if name in known else read_degradation(name) for name in self.degradation_shares
        }
        object.__setattr__(self, "degradations", named)

    @property
    def degradation_shares(self) -> dict[str, float]:
        """The names in `degradation` with their shares, 1 where none is given."""
        shares: dict[str, float] = {}
        for text in self.degradation:
            name, _, share = text.rpartition("=") if "=" in text else (text, "", "1")
            try:
                shares[name] = float(share)
            except ValueError:
                raise ConfigError(f"cannot read --degradation {text}", hint="write `NAME=SHARE`") from None
            if not 0 < shares[name] < math.inf:
                raise ConfigError(f"the share in --degradation {text} is not a number above 0")
        return shares


def read_degradation(name: str) -> Degradation:
    """Return a preset by its name, or the degradation in a TOML file.

    Raises:
        ConfigError: Neither.
    """
    if name in PRESETS:
        return degradation_preset(name)
    if not is_file(name):
        raise ConfigError(
            f"no degradation `{name}`", hint=f"presets are {', '.join(PRESETS)}; otherwise name a TOML file"
        )
    tree = read_toml(Path(name))
    if "degradation" not in tree:
        raise ConfigError(f"{name} has no [degradation] table")
    return build(Degradation, tree["degradation"], source=name)


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Config):
    """How the weights are moved."""

    learning_rate: Positive = opt(
        2e-4, "Peak learning rate.", panel=_TRAINING, shown_default="by the recipe", flag="--lr"
    )
    method: Method = key(
        "adam, or muon for all kernels but the first and the last, and Adam for the rest.", default="adam"
    )
    betas: tuple[Decay, Decay] = key("Adam's decay rates.", default=(0.9, 0.99))
    periods: tuple[Count, ...] = key(
        "Iterations of each cosine cycle; one over the whole run if not given.", default=()
    )
    learning_rate_floor: Annotated[float, Ge(0)] = key("Learning rate at the end of a cycle.", default=1e-7)
    warmup: Optional0 = key("Iterations over which the learning rate rises from 0.", default=0)
    loss: Loss = key(
        "Mean absolute, Charbonnier or mean squared error, or the PSNR of each picture.", default="l1"
    )
    ema_decay: Annotated[float, Ge(0), Le(1)] = key("Of the running average of the weights.", default=0.999)
    ema_warmup: bool = key(
        "Let the average follow closely at first: decay (1 + n) / (10 + n) at step n, up to `ema_decay`.",
        default=False,
    )
    clip_norm: Annotated[float, Ge(0)] = key("Largest norm of the gradient; 0 does not clip.", default=0.0)
    accumulate: Count = key("Parts that a batch is computed in, to save memory.", default=1)
    usm_target: bool = key("Compare with a sharpened truth, as Real-ESRGAN does; costs PSNR.", default=False)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """Train a network."""

    recipe: str = opt(
        "psnr",
        "A bundled recipe (psnr, face, original, smoke) or a TOML file.",
        panel=_TRAINING,
        metavar="NAME|PATH",
    )
    arch: Arch = opt("msrresnet", "The network.", panel=_TRAINING)
    blocks: Count | None = opt(
        None, "Its residual blocks; the network's default if not given.", panel=_TRAINING
    )
    features: Count | None = opt(None, "Its channels; the network's default if not given.", panel=_TRAINING)
    args: Mapping[str, int | float] = key("Constructor arguments of the network.", make=dict)
    iterations: Count = opt(
        300_000, "Steps of the optimiser.", panel=_TRAINING, shown_default="by the recipe"
    )
    batch: Count = opt(
        8, "Pictures a step, over all processes.", panel=_TRAINING, shown_default="by the recipe"
    )
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    init: str | None = opt(
        None, "Weights to start from, as `upscale --model` takes them.", panel=_TRAINING, metavar="NAME|PATH"
    )
    device: str = opt(
        "auto",
        "Where to train; auto takes CUDA, then MPS, then the CPU.",
        panel=_RUN,
        short="-d",
        envvar="FACESR_DEVICE",
        metavar="auto|cpu|cuda|cuda:N|mps",
    )
    seed: int = opt(0, "Changes every draw.", panel=_RUN)
    deterministic: bool = opt(False, "Refuse operations whose results vary on CUDA.", panel=_RUN)
    out: Path | None = opt(None, "Run folder; runs/<arch>-<time> if not given.", panel=_RUN, metavar="FOLDER")
    resume: Path | None = opt(None, "Go on with this run, with its configuration.", panel=_RUN, metavar="RUN")
    dtype: Dtype = key("Precision of the forward pass (autocast); auto is fp32.", default="auto")
    compile: bool = key("Compile the network with torch.compile.", default=False)
    log_every: Count = key("Iterations between lines of metrics.", default=100)
    save_every: Count = key("Iterations between checkpoints.", default=1000)
    validate_every: Optional0 = key("Iterations between validations; 0 never validates.", default=5000)
    sample_count: Optional0 = key("Validation faces in the sample sheets.", default=4)
    tensorboard: bool = key("Write TensorBoard events too (extra `tensorboard`).", default=False)

    def __post_init__(self) -> None:
        given = {"blocks": self.blocks, "features": self.features}
        args = {**self.args, **{name: value for name, value in given.items() if value is not None}}
        for name, value in {"args": args, "blocks": None, "features": None}.items():
            object.__setattr__(self, name, value)
        if self.batch % self.optim.accumulate:
            raise ConfigError(f"batch {self.batch} does not divide into {self.optim.accumulate} parts")
        if self.optim.periods and sum(self.optim.periods) < self.iterations:
            raise ConfigError("`optim.periods` end before the last iteration")

    @classmethod
    def base(cls, file: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Put the run's own configuration beneath when it is resumed, and the recipe otherwise."""
        asked = {**file, **given}
        if asked.get("resume") is None:
            tree = recipe_tree(str(asked.get("recipe", "psnr")))
        else:
            tree = read_toml(Path(str(asked["resume"])) / "config.toml")
            for name in {"recipe", "init", "out"} & given.keys():
                raise ConfigError(
                    f"`{name}` is of no use to a run that goes on", hint=f"leave out `--{name}`"
                )
        # A value said for a preset changes the preset, unless a file holds the whole of it.
        known = _degradations(tree) | _degradations(file)
        changed = (_degradations(given) - known).intersection(PRESETS)
        presets = {name: preset_tree(name)["degradation"] for name in changed}
        return merge([nest("data.degradations", presets), tree])


def _degradations(tree: Mapping[str, Any]) -> set[str]:
    """Return the names of the degradations that a tree of `TrainConfig` says something of."""
    for name in ("data", "degradations"):
        inner = tree.get(name)
        tree = inner if isinstance(inner, Mapping) else {}
    return set(tree)


def recipe_tree(name: str) -> dict[str, Any]:
    """Return a recipe, bundled or in a file, as a tree.

    Raises:
        ConfigError: Neither.
    """
    if name in RECIPES:
        return read_toml(_RECIPE_DIR / f"{name}.toml")
    if not is_file(name):
        raise ConfigError(
            f"no recipe `{name}`", hint=f"bundled are {', '.join(RECIPES)}; or name a TOML file"
        )
    return read_toml(Path(name))


def resumed_config(run: Path) -> TrainConfig:
    """Return the configuration that goes on with a run, for `train`.

    Raises:
        ConfigError: No run there.
    """
    return build(TrainConfig, {**read_toml(run / "config.toml"), "resume": str(run)})


def train_recipe(name: str = "psnr", **changes: Any) -> TrainConfig:
    """Return a recipe as a configuration, with some of its top-level keys changed."""
    return build(TrainConfig, {**recipe_tree(name), "recipe": name, **changes})
