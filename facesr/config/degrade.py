"""Options of `facesr degrade`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

from annotated_types import Ge, Le

from facesr.config.fields import Auto, Config, Count, arg, key, opt
from facesr.config.presets import DEFAULT_SCALE
from facesr.config.steps import Degradation, Preset, degradation_preset, preset_tree
from facesr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DegradeConfig(Config):
    """Make LQ images from HQ ones."""

    hq: Path | None = arg("High-quality (HQ) image, or folder of HQ images.", metavar="HQ", default=None)
    lq: Path | None = arg(
        "Folder for the LQ images, created if missing, or a PNG file for a single HQ image.",
        metavar="LQ",
        default=None,
    )
    preset: Preset | None = opt(
        None,
        "Bundled degradation (default: `default`, unless a file defines the steps).",
        panel="Degradation",
        short="-p",
    )
    scale: Count = opt(DEFAULT_SCALE, "Factor by which LQ is smaller.", panel="Degradation")
    seed: int = opt(0, "Random seed.", panel="Degradation")
    copies: Count = opt(
        1, "Number of LQ images per HQ image, each with its own random degradation.", panel="Degradation"
    )
    replay: Path | None = opt(
        None,
        "Repeat the degradations recorded in a file of --params-out, or in LQ PNGs.",
        panel="Degradation",
    )
    recursive: bool = opt(
        False, "Include sub-folders, and mirror them in the output.", panel="Input", short="-r"
    )
    size_px: Annotated[int, Ge(1), Le(16_384)] | None = opt(
        None,
        "Crop the central square and resize it to this side first.",
        panel="Input",
        flag="--size",
        metavar="PX",
    )
    strict: bool = opt(
        False,
        "Reject images whose sides are not multiples of the scale, instead of cropping them.",
        panel="Input",
    )
    hq_out: Path | None = opt(
        None, "Folder for the HQ images as they were degraded, or a PNG file for one.", panel="Output"
    )
    params_out: Path | None = opt(
        None, "JSON Lines file that lists what was drawn for each result.", panel="Output"
    )
    preview: Path | None = opt(
        None, "PNG file for a sheet of some inputs and several draws of each.", panel="Output"
    )
    overwrite: bool = opt(False, "Replace existing results instead of skipping them.", panel="Output")
    workers: Count | Auto = opt(
        "auto", "Number of threads. auto uses one per core.", panel="Output", metavar="auto|N"
    )
    print_config: bool = opt(
        False, "Print the resolved configuration as TOML and exit.", panel="Configuration"
    )
    degradation: Degradation = key("Degradation with its steps (default: the preset's).", default=None)

    def resolved(self) -> Self:
        """Use the preset's degradation if none is given."""
        self = super().resolved()
        return replace(self, degradation=self.degradation or degradation_preset(self.preset or "default"))

    @classmethod
    def defaults(cls, file: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Use the preset as the default, unless the file defines its own steps."""
        preset = given.get("preset", file.get("preset"))
        inside = file.get("degradation")
        if not isinstance(inside, Mapping) or "steps" not in inside:
            return preset_tree(preset or "default")
        if preset is not None:
            raise ConfigError(
                "both a preset and a file with degradation steps", hint="leave out `--preset` or the steps"
            )
        return {}
