"""Resolves `--model` to files on disk, without reading them."""

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from facesr.config.build import build
from facesr.config.fields import expand_home
from facesr.config.model import ModelConfig
from facesr.errors import ConfigError, WeightsError, reason_of
from facesr.files.paths import exists, is_file
from facesr.weights.hub import cached_folders, download_folder, parse_reference

# The models in the package, in the order in which `facesr models` lists them.
BUNDLED = ("faceunet", "faceunet-sharp", "msrresnet-b20")

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
CARD_NAME = "README.md"
_BUNDLED_DIR = Path(__file__).parent / "bundled"
_MAX_CONFIG_BYTES = 1 << 20
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


@dataclass(frozen=True)
class WeightFiles:
    """Paths of a model's tensors, and its configuration if there is one."""

    tensors: Path
    config: ModelConfig | None
    ends: "tuple[WeightFiles, WeightFiles] | None" = None  # between which the weights are interpolated
    share: float = 0.0  # of the second end
    sharpness: float = 0.0  # how far they are from a base to its sharp sibling, 0 to 1

    @property
    def name(self) -> str:
        if not self.ends:
            return self.config.name if self.config else self.tensors.stem
        first, second = (one.name for one in self.ends)
        return f"{second}={self.share:g}" if self.sharpness else f"{first}+{second}={self.share:g}"

    @property
    def note(self) -> str:
        """Note about blended weights for the user, empty for others."""
        if not self.ends or self.sharpness:
            return ""
        first, second = (one.name for one in self.ends)
        return f"weights are blended, {1 - self.share:g} {first} and {self.share:g} {second}"

    @property
    def all_tensors(self) -> list[Path]:
        return [one.tensors for one in self.ends or (self,)]


def find_model(model: str, *, blend: str = "", sharpness: float | None = None) -> WeightFiles:
    """Resolve `--model` with `--blend` or `--sharpness` to weights.

    Args:
        model: As for `find_weights`.
        blend: Empty or `NAME=SHARE`, with a name as for `find_weights`.
        sharpness: Position between a base, 0, and its sharp sibling, 1. By default, a model that names a base
            uses the sharpness in its configuration. Other models are used as they are.

    Raises:
        ConfigError: A share or sharpness outside 0 to 1, both together, a sharpness for a model without a
            sharp sibling, or an error of `find_weights`.
        WeightsError: The base is missing, or an error of `find_weights`.
    """
    files = find_weights(model)
    if not blend:
        return _sharpened(files, sharpness)
    if sharpness is not None:
        raise ConfigError("`--sharpness` cannot be combined with `--blend`", hint="leave out one of them")
    return _blended(files, blend)


def default_sharpness(files: WeightFiles) -> float | None:
    """Return a model's default sharpness. None if it has no sharp sibling."""
    if files.config and files.config.base:
        return files.config.sharpness
    return 0.0 if _sharp_end(files) else None


def _sharpened(files: WeightFiles, sharpness: float | None) -> WeightFiles:
    if sharpness is None:
        if not files.config or not files.config.base:
            return files
        sharpness = files.config.sharpness
    if not 0 <= sharpness <= 1:
        raise ConfigError(
            f"`--sharpness {sharpness:g}` is not from 0 to 1", hint="write for example `--sharpness 0.5`"
        )
    sharp = _sharp_end(files)
    if sharp is None:
        raise ConfigError(
            f"`--sharpness {sharpness:g}`: `{files.name}` has no sharp sibling",
            hint="leave out `--sharpness`, or use a model whose config.json names its `base`",
        )
    if sharpness == 1:
        return replace(sharp, sharpness=1.0)
    base = _base_of(sharp)
    return replace(sharp, ends=(base, sharp), share=sharpness, sharpness=sharpness) if sharpness else base


def _sharp_end(files: WeightFiles) -> WeightFiles | None:
    """Return the weights at sharpness 1: `files` if it names a base, else its bundled sharp sibling."""
    config = files.config
    if config is None or config.base:
        return files if config else None
    siblings = [one.name for one in bundled_models() if one.base_sha256 == config.sha256 != ""]
    return _folder(_BUNDLED_DIR / siblings[0]) if siblings else None


def _base_of(sharp: WeightFiles) -> WeightFiles:
    assert sharp.config
    name = Path(sharp.config.base).name  # from a stranger it may be a path, and is to lead nowhere else
    beside = sharp.tensors.parent.parent / name
    for folder in (_BUNDLED_DIR / name, beside):
        base = _folder(folder) if exists(folder / CONFIG_NAME) else None
        if base and base.config and base.config.sha256 == sharp.config.base_sha256 != "":
            return base
    raise WeightsError(
        f"{sharp.tensors.parent}: its base `{name}` with sha256 {sharp.config.base_sha256[:12]}… is missing,"
        f" from the bundled models and from {beside}",
        hint=f"put that weight folder at {beside}, or use `--sharpness 1`",
    )


def _blended(files: WeightFiles, blend: str) -> WeightFiles:
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
    return replace(files, ends=(files, find_weights(name)), share=share)


def find_weights(model: str) -> WeightFiles:
    """Resolve a bundled name, a weight folder, a weight file, or a repository on the Hub, in this order.

    Raises:
        ConfigError: Nothing has that name.
        WeightsError: A folder that is not a weight folder, a file of another kind, or a repository that is
            not available.
    """
    if model in BUNDLED:
        return _folder(_BUNDLED_DIR / model)
    path = expand_home(Path(model))
    if exists(path) and path.is_dir():
        return _folder(path)
    if is_file(path):
        if path.suffix.lower() not in WEIGHT_SUFFIXES:
            hint = _weights_near(path) or f"supported are {', '.join(WEIGHT_SUFFIXES)}"
            raise WeightsError(f"{path}: not a weight file", hint=hint)
        return WeightFiles(tensors=path, config=None)
    reference = parse_reference(model)
    if reference is not None and path.suffix.lower() not in WEIGHT_SUFFIXES:
        return _folder(download_folder(*reference, names=(CONFIG_NAME, WEIGHTS_NAME)))
    raise ConfigError(
        f"no model `{model}`",
        hint=f"use one of {', '.join(BUNDLED)}, the path of a weight folder or file, or user/repo on the Hub",
    )


def bundled_models() -> list[ModelConfig]:
    """Return the configurations of all bundled models."""
    return [_config(_BUNDLED_DIR / name) for name in BUNDLED]


def cached_models() -> list[ModelConfig]:
    """Return the configurations of facesr models in the Hub's cache. Their names work with `--model`."""
    found = []
    for name, folder in cached_folders().items():
        with suppress(WeightsError):  # a model of another library
            if _is_weight_folder(folder):
                found.append(replace(_config(folder), name=name))
    return found


def list_weights(model: str) -> list[str]:
    """Return the weights in a folder as names for `find_weights`. Anything else is returned as it is.

    These are the weight files in the folder, and the weight folders and run folders (`best/`) directly in it.

    Raises:
        ConfigError: The folder has none of them.
        WeightsError: The folder cannot be read.
    """
    path = expand_home(Path(model))
    if model in BUNDLED or not (exists(path) and path.is_dir()) or _is_weight_folder(path):
        return [model]
    inside = _inside(path)
    files = [one for one in inside if one.suffix.lower() in WEIGHT_SUFFIXES and is_file(one)]
    folders = [one for folder in inside for one in (folder, folder / "best") if _is_weight_folder(one)]
    if not files and not folders:
        raise ConfigError(
            f"{path}: no models in it",
            hint=_weights_near(path) or f"name a folder with weight folders or {', '.join(WEIGHT_SUFFIXES)}",
        )
    return list(map(str, files + folders))


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise WeightsError(f"{folder}: cannot be read, {reason_of(error)}") from error


def _folder(path: Path) -> WeightFiles:
    missing = [name for name in (WEIGHTS_NAME, CONFIG_NAME) if not is_file(path / name)]
    if missing:
        _inside(path)  # to say so if they only cannot be seen
        raise WeightsError(
            f"{path}: not a weight folder, {' and '.join(missing)} missing", hint=_weights_near(path)
        )
    return WeightFiles(tensors=path / WEIGHTS_NAME, config=_config(path))


def _is_weight_folder(path: Path) -> bool:
    return all(is_file(path / name) for name in (WEIGHTS_NAME, CONFIG_NAME))


def _weights_near(path: Path) -> str:
    """Return a hint that points to the weights of a run folder, if a path is one or is inside one."""
    for folder in (path, path.parent, path.parent.parent):
        for found in (folder, folder / "best", folder / "checkpoint.pt", folder / "last" / "checkpoint.pt"):
            if _is_weight_folder(found) or (found.suffix == ".pt" and is_file(found)):
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
