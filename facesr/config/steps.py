"""Degradations as data: the steps that turn an HQ image into an LQ one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Le, MinLen, Predicate

from facesr.config.build import build, read_toml
from facesr.config.fields import Config, key
from facesr.errors import ConfigError

Preset = Literal["default", "mild", "clean", "real-esrgan", "gfpgan", "first-order", "photograph"]
Mode = Literal["area", "bilinear", "bicubic"]
Family = Literal["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]


def low_not_above_high(bounds: tuple[float, float]) -> bool:
    return bounds[0] <= bounds[1]


def has_an_odd_size(bounds: tuple[int, int]) -> bool:
    return (bounds[0] | 1) <= bounds[1]


def not_all_zero(weights: Mapping[str, float]) -> bool:
    return sum(weights.values()) > 0


# Beyond these, numbers overflow on the way, or kernels fill the memory.
_Positive = Annotated[float, Ge(1e-6)]
_Highest = Annotated[float, Le(1_000_000)]
Chance = Annotated[float, Ge(0), Le(1)]
Range = Annotated[tuple[Annotated[float, Ge(0)], _Highest], Predicate(low_not_above_high)]
PositiveRange = Annotated[tuple[_Positive, _Highest], Predicate(low_not_above_high)]
Quality = Annotated[tuple[_Positive, Annotated[float, Le(100)]], Predicate(low_not_above_high)]
# Smallest and largest side, px, of which the odd ones between are equally likely.
KernelSizes = Annotated[tuple[Annotated[int, Ge(1)], Annotated[int, Le(1001)]], Predicate(has_an_odd_size)]
# Interpolations, equally likely, and without antialiasing unless a step asks for it.
Modes = Annotated[tuple[Mode, ...], MinLen(1)]
Fractions = Annotated[tuple[Annotated[float, Ge(0)], Annotated[float, Le(1)]], Predicate(low_not_above_high)]
PositiveFractions = Annotated[tuple[_Positive, Annotated[float, Le(1)]], Predicate(low_not_above_high)]
Angles = Annotated[
    tuple[Annotated[float, Ge(-180)], Annotated[float, Le(180)]], Predicate(low_not_above_high)
]


@dataclass(frozen=True, kw_only=True)
class _Step(Config):
    """Fields of every step. A chance is a probability, and two numbers are a range to draw from."""

    kind: str
    chance: Chance = 1.0  # that the step runs at all, of `align` where the one that it undoes has run


@dataclass(frozen=True, kw_only=True)
class Blur(_Step):
    """Filter with a random kernel."""

    kind: Literal["blur"] = "blur"
    sizes_px: KernelSizes = (7, 21)
    sinc_chance: Chance = 0.1  # of a sinc low-pass instead of the families
    cutoff: PositiveRange = (1 / 5, 1.0)  # of the sinc, in units of pi radians per pixel
    cutoff_small: PositiveRange = (1 / 3, 1.0)  # for kernels below 13 px
    families: Annotated[Mapping[Family, Annotated[float, Ge(0)]], Predicate(not_all_zero)]  # their weights
    sigma: PositiveRange = (0.2, 3.0)  # standard deviation along each axis, px
    beta_generalized: PositiveRange = (0.5, 4.0)  # shape, half of the draws on either side of 1
    beta_plateau: PositiveRange = (1.0, 2.0)


@dataclass(frozen=True, kw_only=True)
class Sinc(_Step):
    """Filter with a sinc low-pass, which rings like over-sharpened and compressed images."""

    kind: Literal["sinc"] = "sinc"
    chance: Chance = 0.8
    sizes_px: KernelSizes = (7, 21)
    cutoff: PositiveRange = (1 / 3, 1.0)  # in units of pi radians per pixel


@dataclass(frozen=True, kw_only=True)
class Resize(_Step):
    """Resize by a random factor."""

    kind: Literal["resize"] = "resize"
    up: Annotated[float, Ge(0)] = 0.2  # weight of a factor in 1 to the end of `scale`
    down: Annotated[float, Ge(0)] = 0.7  # weight of a factor in the start of `scale` to 1
    keep: Annotated[float, Ge(0)] = 0.1  # weight of factor 1
    scale: PositiveRange
    of: Literal["current", "lq"] = "current"  # what the factor refers to, the image as it is or the LQ size
    modes: Modes = ("area", "bilinear", "bicubic")

    def __post_init__(self) -> None:
        if not self.up + self.down + self.keep:
            raise ConfigError("a degradation step `resize` has no weight above 0 among up, down and keep")


@dataclass(frozen=True, kw_only=True)
class Shrink(_Step):
    """Divide the size by a random number."""

    kind: Literal["shrink"] = "shrink"
    divisor: PositiveRange
    modes: Modes = ("bilinear",)


@dataclass(frozen=True, kw_only=True)
class Fit(_Step):
    """Resize to a known size."""

    kind: Literal["fit"] = "fit"
    to: Literal["hq", "lq"]  # the size of the HQ image, or that of the result
    modes: Modes = ("area", "bilinear", "bicubic")
    antialias: bool = False  # average over what a smaller pixel covers, as editors do

    def __post_init__(self) -> None:
        if self.antialias and "area" in self.modes:
            raise ConfigError("a degradation step `fit` cannot antialias with the mode `area`")


@dataclass(frozen=True, kw_only=True)
class Noise(_Step):
    """Add Gaussian or Poisson noise and clip."""

    kind: Literal["noise"] = "noise"
    gaussian_chance: Chance = 0.5  # otherwise Poisson
    sigma: Range  # the Gaussian's standard deviation, grey levels
    poisson_scale: Range = (0.0, 0.0)  # factor on Poisson noise
    grey_chance: Chance = 0.4  # that the three channels share one noise


@dataclass(frozen=True, kw_only=True)
class Jpeg(_Step):
    """Compress with JPEG, 4:2:0."""

    kind: Literal["jpeg"] = "jpeg"
    quality: Quality  # a real number
    ahead_of: str = ""  # name of an earlier step, before which this one may be moved
    ahead_chance: Chance = 0.5  # that it is


@dataclass(frozen=True, kw_only=True)
class Place(_Step):
    """Put the face into the pixel grid of a photograph. The steps up to `align` work on that grid."""

    kind: Literal["place"] = "place"
    scale: PositiveFractions  # the face's size relative to the HQ image, log-uniform
    angle: Angles = (-30.0, 30.0)  # by which it is turned clockwise, degrees
    shift: Fractions = (0.0, 1.0)  # of the face off the grid along each axis, px


@dataclass(frozen=True, kw_only=True)
class Align(_Step):
    """Cut the face out of the photograph again, upright and at the LQ size."""

    kind: Literal["align"] = "align"
    undoes: str  # name of the `place` step
    modes: Annotated[tuple[Literal["bilinear", "bicubic"], ...], MinLen(1)] = ("bilinear", "bicubic")


class _ByKind:
    """Lets pydantic choose the class of a step by its `kind`. Imports pydantic only when used."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic import Field

        return handler.generate_schema(Annotated[source, Field(discriminator="kind")])


StepConfig = Annotated[Blur | Sinc | Resize | Shrink | Fit | Noise | Jpeg | Place | Align, _ByKind()]


@dataclass(frozen=True, kw_only=True)
class Degradation(Config):
    """An ordered set of named steps that turn an HQ image into an LQ one."""

    usm_source: bool = key("Sharpen (unsharp mask) the HQ image before it is degraded.", default=False)
    steps: Mapping[str, StepConfig] = key("The steps by name, in order.")

    def __post_init__(self) -> None:
        names = list(self.steps)
        for index, (name, step) in enumerate(self.steps.items()):
            if isinstance(step, Jpeg) and step.ahead_of and step.ahead_of not in names[:index]:
                raise ConfigError(f"degradation step `{name}`: no step `{step.ahead_of}` before it")
            placed = [other for other in names[:index] if isinstance(self.steps[other], Place)]
            if isinstance(step, Align) and step.undoes not in placed:
                raise ConfigError(
                    f"degradation step `{name}`: no step `{step.undoes}` of kind `place` before it"
                )


PRESETS: tuple[str, ...] = get_args(Preset)
_PRESET_DIR = Path(__file__).parent / "presets" / "degradation"


def degradation_preset(name: str = "default") -> Degradation:
    """Return one of the bundled degradations.

    Raises:
        ConfigError: There is no preset of this name.
    """
    return build(Degradation, preset_tree(name)["degradation"])


def preset_tree(name: str) -> dict[str, Any]:
    """Return a preset's TOML as a tree with the single key `degradation`."""
    if name not in PRESETS:
        raise ConfigError(f"no degradation preset `{name}`", hint=f"presets are {', '.join(PRESETS)}")
    return read_toml(_PRESET_DIR / f"{name}.toml")
