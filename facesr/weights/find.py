"""From what `--model` says to files on disk, without reading them."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from facesr.config.build import build
from facesr.config.fields import expand_home
from facesr.config.model import ModelConfig
from facesr.errors import ConfigError, WeightsError
from facesr.files.paths import exists
from facesr.weights.hub import download_folder, parse_reference

# The models in the package, in the order in which `facesr models` lists them.
BUNDLED = ("faceunet", "msrresnet-b20")

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
CARD_NAME = "README.md"
_BUNDLED_DIR = Path(__file__).parent / "bundled"
_MAX_CONFIG_BYTES = 1 << 20
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


@dataclass(frozen=True)
class WeightFiles:
    """Where a model's tensors lie, and its configuration where there is one."""

    tensors: Path
    config: ModelConfig | None
    other: "WeightFiles | None" = None  # what is blended with them
    share: float = 0.0  # of the other

    @property
    def name(self) -> str:
        return f"{self.base_name}+{self.other.name}={self.share:g}" if self.other else self.base_name

    @property
    def base_name(self) -> str:
        return self.config.name if self.config else self.tensors.stem

    @property
    def blend_note(self) -> str:
        """What is said once about blended weights."""
        assert self.other
        return (
            f"weights are blended, {1 - self.share:g} {self.base_name} and {self.share:g} {self.other.name}"
        )

    @property
    def all_tensors(self) -> list[Path]:
        return [self.tensors, *([self.other.tensors] if self.other else [])]


def find_blend(model: str, blend: str) -> WeightFiles:
    """Resolve `--model` and `--blend`, which is empty or `NAME=SHARE`, each name as `find_weights` does.

    Raises:
        ConfigError: A share that is not a number from 0 to 1, or what `find_weights` raises.
    """
    files = find_weights(model)
    if not blend:
        return files
    name, _, text = blend.rpartition("=")
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not name or not 0 <= share <= 1:
        raise ConfigError(
            f"`--blend {blend}` is not a model and a share from 0 to 1",
            hint="write for example `--blend b.pth=0.3`",
        )
    return replace(files, other=find_weights(name), share=share)


def find_weights(model: str) -> WeightFiles:
    """Resolve a bundled name, a weight folder or file, or a repository on the Hub, in this order.

    Raises:
        ConfigError: Nothing by that name.
        WeightsError: A folder that is not a weight folder, a file of another kind, a repository that cannot
            be had.
    """
    if model in BUNDLED:
        return _folder(_BUNDLED_DIR / model)
    path = expand_home(Path(model))
    if exists(path) and path.is_dir():
        return _folder(path)
    if exists(path) and path.is_file():
        if path.suffix.lower() not in WEIGHT_SUFFIXES:
            hint = _weights_near(path) or f"supported are {', '.join(WEIGHT_SUFFIXES)}"
            raise WeightsError(f"{path}: not a weight file", hint=hint)
        return WeightFiles(tensors=path, config=None)
    reference = parse_reference(model)
    if reference is not None and path.suffix.lower() not in WEIGHT_SUFFIXES:
        return _folder(download_folder(*reference, names=(CONFIG_NAME, WEIGHTS_NAME)))
    raise ConfigError(
        f"no model `{model}`",
        hint=f"use one of {', '.join(BUNDLED)}, a weight folder, a file, or user/repo on the Hub",
    )


def bundled_models() -> list[ModelConfig]:
    """Return the configurations of all models in the package."""
    return [_config(_BUNDLED_DIR / name) for name in BUNDLED]


def _folder(path: Path) -> WeightFiles:
    missing = [name for name in (WEIGHTS_NAME, CONFIG_NAME) if not (path / name).is_file()]
    if missing:
        raise WeightsError(
            f"{path}: not a weight folder, {' and '.join(missing)} missing", hint=_weights_near(path)
        )
    return WeightFiles(tensors=path / WEIGHTS_NAME, config=_config(path))


def _weights_near(path: Path) -> str:
    """Return a hint at the weights of a run folder, where a path is one or lies in one; else nothing."""
    for folder in (path, path.parent, path.parent.parent):
        for found in (folder, folder / "best", folder / "checkpoint.pt", folder / "last" / "checkpoint.pt"):
            is_folder = all((found / name).is_file() for name in (WEIGHTS_NAME, CONFIG_NAME))
            if is_folder or (found.suffix == ".pt" and found.is_file()):
                return f"use the weights `{found}`"
    return ""


def _config(folder: Path) -> ModelConfig:
    path = folder / CONFIG_NAME
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise WeightsError(f"{path}: too large for a model configuration")
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # the last from a thousand brackets
        raise WeightsError(f"{path}: cannot be read, {error}") from error
    if not isinstance(tree, dict):
        raise WeightsError(f"{path}: not a model configuration")
    try:
        return build(ModelConfig, tree, source=str(path))
    except ConfigError as error:
        raise WeightsError(error.message, hint="it may come from a newer facesr") from error
