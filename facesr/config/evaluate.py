"""Options of `facesr eval`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from facesr.config.fields import Config, opt
from facesr.config.model import BLEND, DEFAULT_MODEL
from facesr.config.runtime import RuntimeConfig
from facesr.errors import ConfigError

MetricName = Literal[
    "psnr", "ssim", "lpips", "stlpips_alex", "stlpips_vgg", "identity", "niqe", "spectrum_mid",
    "spectrum_fine", "detail_mid", "detail_fine", "grid_4", "grid_8", "grid_16",
]  # fmt: skip
MetricChoice = Literal[MetricName, "sharpness"]
ProtocolName = Literal["challenge", "basicsr-y"]

# What methods and images are ranked by: their differences, the worst images, the order of the report.
RANKING_METRIC: MetricName = "psnr"
# And by this one where there is no ground truth.
RANKING_WITHOUT_HQ: MetricName = "niqe"

_GRIDS: tuple[MetricName, ...] = ("grid_4", "grid_8", "grid_16")
_DETAIL: tuple[MetricName, ...] = ("detail_mid", "detail_fine")
# What images can be scored by without their ground truth.
NO_REFERENCE: tuple[MetricName, ...] = ("niqe", *_DETAIL, *_GRIDS)
# What `--metric sharpness` stands for.
_SHARPNESS: tuple[MetricName, ...] = ("spectrum_mid", "spectrum_fine", *_GRIDS, "niqe")

_DATA, _MEASURE, _OUTPUT = "Data", "Measure", "Output"


@dataclass(frozen=True)
class EvalProtocol:
    """The protocol: what exactly is compared."""

    name: str  # for `--protocol`
    y_channel: bool  # whether luma (BT.601) is compared instead of RGB
    crop: int  # pixels left out along each border

    def __str__(self) -> str:
        return f"{'Y' if self.y_channel else 'RGB'}, crop {self.crop}, 8-bit, mean of images"


PROTOCOLS = {
    "challenge": EvalProtocol("challenge", y_channel=False, crop=0),
    "basicsr-y": EvalProtocol("basicsr-y", y_channel=True, crop=4),
}


@dataclass(frozen=True, kw_only=True)
class EvalConfig(Config):
    """Compare restored images with the ground truth."""

    hq: Path | None = opt(None, "Folder of ground-truth (HQ) images.", panel=_DATA, metavar="FOLDER")
    lq: Path | None = opt(
        None, "Folder of low-quality (LQ) images to restore and score.", panel=_DATA, metavar="FOLDER"
    )
    sr: Path | None = opt(
        None, "Folder of images to score that any tool has already restored.", panel=_DATA, metavar="FOLDER"
    )
    sr_suffix: str = opt(
        "", "Ending of the names in --sr, such as _out, ignored when matching.", panel=_DATA, metavar="TEXT"
    )
    lq_suffix: str = opt(
        "", "Ending of the names in --lq, such as x4, ignored when matching.", panel=_DATA, metavar="TEXT"
    )
    crop_to_scale: bool = opt(
        False, "Crop HQ images whose sides are not multiples of the scale, as BasicSR does.", panel=_DATA
    )
    model: tuple[str, ...] = opt(
        (DEFAULT_MODEL,),
        "Model to score, as in `upscale --model`. Repeat it to compare models.",
        panel="Model",
        short="-m",
        metavar="NAME|PATH",
    )
    sharpness: tuple[float, ...] = opt(
        (),
        "Sharpness of the models, as in `upscale --sharpness`. Repeat it to compare several.",
        panel="Model",
        shown_default="the model's own",
    )
    blend: str = BLEND
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    protocol: ProtocolName = opt(
        "challenge",
        "challenge compares RGB without a crop, basicsr-y compares luma with 4 px cropped.",
        panel=_MEASURE,
    )
    metric: tuple[MetricChoice, ...] = opt(
        (),
        "Metric to report. Repeat it for several. sharpness is all of spectrum, grid and niqe. lpips and"
        " stlpips need the extra `metrics`, identity the extra `identity`.",
        panel=_MEASURE,
        shown_default="psnr and ssim, without --hq sharpness",
    )
    metric_weights: Path | None = opt(
        None,
        "Folder of the weights of ST-LPIPS and identity, if not those of the extras.",
        panel=_MEASURE,
        metavar="FOLDER",
    )
    save: Path | None = opt(None, "Folder for the restored images.", panel=_OUTPUT, metavar="FOLDER")
    csv: Path | None = opt(None, "CSV file for the scores of each image.", panel=_OUTPUT, metavar="FILE")
    report: Path | None = opt(
        None, "Self-contained HTML file that shows scores and images.", panel=_OUTPUT, metavar="FILE"
    )

    def __post_init__(self) -> None:
        if self.hq is None:
            self._check_no_reference()
        elif self.lq is None and self.sr is None:
            raise ConfigError(
                "nothing to score", hint="give LQ images to restore (`--lq`), or restored ones (`--sr`)"
            )

        if self.blend and len(self.model) > 1:
            raise ConfigError(
                f"`--blend {self.blend}` needs one `--model`, found {len(self.model)}",
                hint="give one `--model` with `--blend`, or leave out `--blend`",
            )

    def _check_no_reference(self) -> None:
        if self.sr is None or self.lq is not None:
            raise ConfigError(
                "no folder of ground-truth images given",
                hint="add `--hq val/hq`, or score images without ground truth with `--sr restored/` alone",
            )
        paired = [name for name in self.metric if name not in {*NO_REFERENCE, "sharpness"}]
        if paired:
            raise ConfigError(
                f"`--metric {paired[0]}` compares images with their ground truth",
                hint=f"add `--hq`, or choose among {', '.join(NO_REFERENCE)}",
            )

    @property
    def ranking(self) -> MetricName:
        """Metric that ranks the worst images and sorts the report."""
        return RANKING_WITHOUT_HQ if self.hq is None else RANKING_METRIC

    def resolved(self) -> Self:
        """Replace groups of metrics by their members, and add the ranking metric."""
        self = super().resolved()
        every = NO_REFERENCE if self.hq is None else _SHARPNESS
        default = every if self.hq is None else ("psnr", "ssim")
        names = [
            one for name in self.metric or default for one in (every if name == "sharpness" else (name,))
        ]
        names = names if self.ranking in names else [self.ranking, *names]
        return replace(self, metric=tuple(dict.fromkeys(names)))

    @classmethod
    def defaults(cls, file: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Reject a model together with images that are restored already. The default model does not count."""
        if {"sr", "model"} <= file.keys() | given.keys():
            raise ConfigError(
                "both restored images and a model to restore some", hint="leave out `--sr` or `--model`"
            )
        return {}
