"""The metadata of a weight folder (`config.json`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from facesr.config.fields import Config, opt

Arch = Literal["msrresnet", "edsr", "faceunet", "rrdbnet", "srvgg"]

DEFAULT_MODEL = "faceunet"

# Options of commands that run one model.
MODEL: Any = opt(
    DEFAULT_MODEL,
    "A bundled name (see `facesr models`), a weight folder, a .safetensors or .pth file, or user/repo.",
    panel="Model",
    short="-m",
    envvar="FACESR_MODEL",
    metavar="NAME|PATH",
)
BLEND: Any = opt(
    "",
    "Second model of the same architecture and its share of the weights, 0 to 1.",
    panel="Model",
    metavar="NAME|PATH=SHARE",
)
SHARPNESS: Any = opt(
    None,
    "Sharpness of the result, from 0 (most faithful) to 1 (sharpest).",
    panel="Model",
    shown_default="the model's own",
)


@dataclass(frozen=True, kw_only=True)
class Score(Config):
    """Mean PSNR on one set of pairs, for the model and for Pillow's bicubic. RGB, no crop, 8-bit, in dB."""

    dataset: str  # which pairs, and how their LQ side was made
    images: int  # how many pairs
    psnr: float
    bicubic_psnr: float
    gain_low: float | None = None  # of the 95 % interval of the mean gain over bicubic, None when unknown
    gain_high: float | None = None

    @property
    def gain(self) -> float:
        return self.psnr - self.bicubic_psnr


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """Everything needed to rebuild a network and to judge its weights. Unknown numbers are 0."""

    name: str  # short, lower case, with dashes
    arch: Arch
    args: dict[str, Any]  # every constructor argument of the network, resolved
    scale: int = 0
    parameters: int = 0
    multiply_adds: int = 0  # for one 128x128 input
    license: str = ""  # SPDX identifier of the weights' licence
    summary: str = ""  # one sentence for tables
    data: str = ""  # what it was trained on, and the terms of that data
    degradation: str = ""  # how its LQ inputs were made
    training: str = ""  # recipe in words
    iterations: int = 0  # of the optimiser
    batch: int = 0  # images a step
    patch_px: int = 0  # side of a training input in LQ pixels
    limits: str = ""  # what it does badly
    scores: tuple[Score, ...] = ()
    base: str = ""  # name of the weights that these were sharpened from, for `--sharpness`
    base_sha256: str = ""  # of their `model.safetensors`
    sharpness: Annotated[float, Ge(0), Le(1)] = 1  # on the way from the base to these, by default
    sha256: str = ""  # of `model.safetensors`, hexadecimal, empty when the file is not to be checked


def describe_args(args: Mapping[str, Any]) -> str:
    """Return a network's arguments as text, such as `blocks 2, features 64, noise`."""
    shown = {name: value for name, value in args.items() if value is not False}
    return ", ".join(name if value is True else f"{name} {value}" for name, value in shown.items())
