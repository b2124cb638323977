"""Options of `facesr train`, and its recipes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from facesr.config.build import build, is_file, merge, nest, read_toml
from facesr.config.data import DataConfig
from facesr.config.evaluate import MetricName
from facesr.config.fields import Config, Count, WholeNumber, key, opt
from facesr.config.loss import DiscriminatorConfig, LossConfig, LossName, has_old_losses, translate_losses
from facesr.config.model import Arch
from facesr.config.optim import OptimConfig
from facesr.config.runtime import Device, Dtype
from facesr.config.steps import PRESETS, preset_tree
from facesr.errors import ConfigError

_RECIPE_DIR = Path(__file__).parent / "presets" / "recipes"
RECIPES = ("psnr", "face", "face-gpu", "sharp", "sharp-cpu", "original", "smoke")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """Train a network."""

    recipe: str = opt(
        "psnr",
        "A bundled recipe (psnr, face, face-gpu, sharp, sharp-cpu, original, smoke) or a TOML file.",
        panel="Training",
        metavar="NAME|PATH",
    )
    arch: Arch = opt("msrresnet", "Network architecture.", panel="Training")
    blocks: Count | None = opt(None, "Number of residual blocks (default: by the network).", panel="Training")
    scale: Count | None = opt(
        None, "Enlargement of the network.", panel="Training", shown_default="the network's default"
    )
    features: Count | None = key("Channels of the network (default: by the network).", default=None)
    args: Mapping[str, Any] = key("Constructor arguments of the network.", make=dict)
    iterations: Count = opt(
        300_000, "Number of optimiser steps.", panel="Training", shown_default="by the recipe"
    )
    batch: Count = opt(
        8, "Images per step, over all processes.", panel="Training", shown_default="by the recipe"
    )
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: Mapping[LossName, LossConfig] = key(
        "Losses by name (`l1`, `charbonnier`, `mse`, `psnr`, `pooled`, `phase`, `dots`, `repeats`, `ldl`,"
        " `texture`, `stlpips_alex`, `stlpips_vgg`, `gan`), each with `weight` (1, and 0 leaves it out) or"
        " `share`, `cap`, `start`, `part_px`, and `target` (`hq` or `sharpened`).",
        make=lambda: {"l1": LossConfig()},
    )
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    init: str | None = opt(
        None, "Weights to start from, as in `upscale --model`.", panel="Training", metavar="NAME|PATH"
    )
    device: Device = opt(
        "auto",
        "Device to train on. auto uses CUDA if available, then MPS, then the CPU.",
        panel="Run",
        short="-d",
        envvar="FACESR_DEVICE",
        metavar="auto|cpu|cuda|cuda:N|mps",
    )
    seed: int = opt(0, "Random seed.", panel="Run")
    deterministic: bool = opt(False, "Refuse operations whose results vary on CUDA.", panel="Run")
    out: Path | None = opt(None, "Run folder (default: runs/<arch>-<time>).", panel="Run", metavar="FOLDER")
    resume: Path | None = opt(
        None, "Run folder to continue, with its configuration.", panel="Run", metavar="RUN"
    )
    dtype: Dtype = key("Precision of the forward pass (autocast). auto is fp32.", default="auto")
    compile: bool = key("Compile the network with torch.compile.", default=False)
    graph: bool = key(
        "On CUDA, run each step as one graph. It is not used with several processes, fp16, `compile`,"
        " `optim.accumulate`, a discriminator, or a loss with `share`, `start` or `part_px`.",
        default=True,
    )
    log_every: Count = key("Iterations between lines of metrics.", default=100)
    save_every: Count = key("Iterations between checkpoints.", default=1000)
    validate_every: WholeNumber = key("Iterations between validations. 0 never validates.", default=5000)
    best_by: MetricName = key("Metric on the validation images by which `best/` is chosen.", default="psnr")
    metric_weights: Path | None = key(
        "Folder with the weights of ST-LPIPS. Without it, those of the extra `metrics` are used.",
        default=None,
    )
    sample_count: WholeNumber = key("Validation faces in the sample sheets.", default=4)
    tensorboard: bool = key("Write TensorBoard events too (extra `tensorboard`).", default=False)

    def __post_init__(self) -> None:
        if self.batch % self.optim.accumulate:
            raise ConfigError(f"batch {self.batch} does not divide into {self.optim.accumulate} parts")
        if self.optim.periods and sum(self.optim.periods) < self.iterations:
            raise ConfigError(
                "`optim.periods` end before the last iteration",
                hint=f"make their sum at least {self.iterations}, or leave them out for a single cosine",
            )
        if not any(one.counts and not one.share for one in self.loss.values()):
            raise ConfigError(
                "no loss has a weight above 0", hint="name one, such as `--set loss.l1.weight=1`"
            )
        if any(one.counts and one.share for one in self.loss.values()):
            if self.dtype == "fp16":
                raise ConfigError("a loss with a `share` is not for fp16", hint="train with fp32 or bf16")
            if self.optim.accumulate > 1:
                raise ConfigError(
                    "a loss with a `share` is not for `optim.accumulate`", hint="lower `--batch` instead"
                )

    @classmethod
    def translated(cls, tree: Mapping[str, Any]) -> dict[str, Any]:
        return translate_losses(tree)

    def resolved(self) -> Self:
        """Copy blocks, features and scale into the network's arguments, and resolve the rest."""
        self = super().resolved()
        self = replace(self, resume=find_run(self.resume)) if self.resume else self
        given = {"blocks": self.blocks, "features": self.features, "scale": self.scale}
        args = {**self.args, **{name: value for name, value in given.items() if value is not None}}
        return replace(self, args=args, blocks=None, features=None, scale=None, data=self.data.resolved())

    @classmethod
    def defaults(cls, file: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Use the run's own configuration as the default if it is resumed, else the recipe."""
        asked = {**file, **given}
        if has_old_losses(merge([file, given])) and "loss" in asked:
            raise ConfigError(
                "`optim.loss` and `optim.usm_target` are old names and cannot be combined with `loss`",
                hint="write `[loss.NAME]` with `weight` and `target` instead",
            )
        if asked.get("resume") is None:
            tree = recipe_tree(str(asked.get("recipe", "psnr")))
        else:
            tree = run_tree(Path(str(asked["resume"])))
            for name in ("recipe", "init", "out"):
                if name in given:
                    raise ConfigError(
                        f"`--{name}` cannot be combined with `--resume`", hint=f"leave out `--{name}`"
                    )
        # A value said for a preset changes the preset, unless a file holds the whole of it.
        known = _degradations(tree) | _degradations(file)
        changed = (_degradations(given) - known).intersection(PRESETS)
        presets = {name: preset_tree(name)["degradation"] for name in changed}
        return merge([nest("data.degradations", presets), tree])


def _degradations(tree: Mapping[str, Any]) -> set[str]:
    """Return the names of the degradations in a tree of `TrainConfig`."""
    for name in ("data", "degradations"):
        inner = tree.get(name)
        tree = inner if isinstance(inner, Mapping) else {}
    return set(tree)


def recipe_tree(name: str) -> dict[str, Any]:
    """Return a recipe as a tree, from the bundled ones or from a TOML file."""
    if name in RECIPES:
        tree = read_toml(_RECIPE_DIR / f"{name}.toml")
        return merge([recipe_tree(tree.pop("recipe")), tree]) if "recipe" in tree else tree
    if not is_file(name):
        raise ConfigError(f"no recipe `{name}`", hint=f"use one of {', '.join(RECIPES)}, or a TOML file")
    return translate_losses(read_toml(Path(name)))


def find_run(path: Path) -> Path:
    """Return the run folder that `--resume` means: a run folder, its `last/`, or a file in it.

    Raises:
        ConfigError: The path is not a run folder, or it is a run's `best/`, which cannot be resumed.
    """
    inside = next((part for part in (path, path.parent) if part.name in {"last", "best", "samples"}), None)
    run = inside.parent if inside else path.parent if is_file(str(path)) else path
    # Every run has both, and a `config.toml` alone may be any file for `--config`.
    if not all(is_file(str(run / name)) for name in ("config.toml", "env.json")):
        run = path
    elif inside and inside.name == "best":
        raise ConfigError(
            f"`--resume {path}` names weights, not a run",
            hint=f"`--resume {run}` continues the run, `--init {inside}` starts a new one from these weights",
        )
    if not is_file(str(run / "config.toml")):
        raise ConfigError(
            f"`--resume {path}` is not a run folder (no `config.toml` in it)",
            hint="name the folder that `facesr train` made, such as `--resume runs/mine`",
        )
    return run


def run_tree(path: Path) -> dict[str, Any]:
    """Return the configuration that a run was started with, as a tree. `path` is as for `find_run`."""
    return translate_losses(read_toml(find_run(path) / "config.toml"))


def resumed_config(run: Path) -> TrainConfig:
    """Return the configuration that resumes a run, to pass to `train`.

    Raises:
        ConfigError: `run` is not a run folder.
    """
    return build(TrainConfig, {**run_tree(run), "resume": str(run)})


def train_recipe(name: str = "psnr", **changes: Any) -> TrainConfig:
    """Return a recipe as a configuration, with `changes` to its top-level keys."""
    return build(TrainConfig, {**recipe_tree(name), "recipe": name, **changes})
