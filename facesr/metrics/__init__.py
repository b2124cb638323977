"""Metrics of restored images: how close they are to the ground truth, or how good they look on their own."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facesr.metrics.fidelity import psnr, ssim
from facesr.metrics.naturalness import niqe
from facesr.metrics.perceptual import lpips
from facesr.metrics.recognition import find_identity, identity
from facesr.metrics.sharpness import PERIODS, detail, grid, spectrum_gap
from facesr.metrics.shift_tolerant import Trunk, find_stlpips, stlpips


class SetScore(Protocol):
    """A metric of a whole set of images. Images are added one by one and need not be kept."""

    def add(self, prediction: Tensor, target: Tensor) -> None:
        """Add (B, 3, H, W) uint8 predictions and their targets. Called on one thread, in order."""

    def value(self) -> float:
        """Return the value of all images so far, NaN without images."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric, and everything that tables and reports need to know about it.

    Its function takes (B, 3, H, W) tensors, uint8 or float RGB in [0, 1]. Its signature depends on `kind`:
        paired: `(prediction, target, *, crop, y_channel) -> (B,)`.
        no-reference: `(prediction, *, crop, y_channel) -> (B,)`.
        set: `(*, crop, y_channel) -> SetScore`, called once for each method.

    With `find_weights`, the function also takes `weights`, a folder or None. `find_weights(weights)` raises a
    FacesrError if the weights are missing.
    """

    function: Callable[..., Any]
    label: str
    higher_is_better: bool | None  # None where the value nearest to `ideal` is best
    ideal: Literal["", "0", "the ground truth's"] = ""
    digits: int = 4
    unit: str = ""
    kind: Literal["paired", "no-reference", "set"] = "paired"
    missing: str = "the value is not a number"  # follows "no SSIM for 3 of 400 images: "
    find_weights: Callable[[Path | None], Path] | None = None

    @property
    def title(self) -> str:
        """Label with unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def better(self) -> str:
        """Which values are better: `higher`, `lower`, or `nearer to` the ideal."""
        if self.higher_is_better is None:
            return f"nearer to {self.ideal}"
        return "higher" if self.higher_is_better else "lower"

    @property
    def has_best(self) -> bool:
        """Whether values can be ranked without those of the ground truth."""
        return self.higher_is_better is not None or self.ideal == "0"

    def merit(self, value: float) -> float:
        """Return a number that is higher for a better value. `has_best` must be true."""
        if self.higher_is_better is None:
            return -abs(value)
        return value if self.higher_is_better else -value

    def show(self, value: float | None, *, sign: str = "") -> str:
        """Return a value as text, or a dash for no value. `sign="+"` also marks positive values."""
        if value is None or math.isnan(value):
            return "-"
        if math.isinf(value):
            return "identical" if self.kind == "paired" else "infinite"
        return f"{value:{sign}.{self.digits}f}"


_TOO_SMALL = "it needs 192 px a side after the crop"


def _stlpips(trunk: Trunk) -> Metric:
    return Metric(
        function=partial(stlpips, trunk=trunk),
        label=f"ST-LPIPS {trunk}",
        higher_is_better=False,
        missing="it needs 64 px a side after the crop",
        find_weights=partial(find_stlpips, trunk),
    )


def _of_band(band: str, function: Callable[..., Tensor], label: str, **row: Any) -> Metric:
    return Metric(
        function=partial(function, band=band),
        label=f"{label} {band}",
        unit="dB",
        digits=1,
        higher_is_better=None,
        missing=_TOO_SMALL,
        **row,
    )


# To add a metric: write its function, a row here, and its name in `facesr.config.evaluate.MetricName`.
METRICS: dict[str, Metric] = {
    "psnr": Metric(
        function=psnr,
        label="PSNR",
        unit="dB",
        digits=2,
        higher_is_better=True,
        missing="the crop leaves no pixels",
    ),
    "ssim": Metric(
        function=ssim, label="SSIM", higher_is_better=True, missing="it needs 11 px a side after the crop"
    ),
    "lpips": Metric(
        function=lpips,
        label="LPIPS",
        higher_is_better=False,
        missing="it needs 31 px a side after the crop",
    ),
    "stlpips_alex": _stlpips("alex"),
    "stlpips_vgg": _stlpips("vgg"),
    "identity": Metric(
        function=identity,
        label="Identity",
        higher_is_better=False,
        digits=3,
        missing="dlib finds no face in the HQ image",
        find_weights=find_identity,
    ),
    "niqe": Metric(
        function=niqe, label="NIQE", higher_is_better=False, digits=2, kind="no-reference", missing=_TOO_SMALL
    ),
    "spectrum_mid": _of_band("mid", spectrum_gap, "Spectrum gap", ideal="0"),
    "spectrum_fine": _of_band("fine", spectrum_gap, "Spectrum gap", ideal="0"),
    "detail_mid": _of_band("mid", detail, "Detail", kind="no-reference", ideal="the ground truth's"),
    "detail_fine": _of_band("fine", detail, "Detail", kind="no-reference", ideal="the ground truth's"),
    **{
        f"grid_{period}": Metric(
            function=partial(grid, period=period),
            label=f"Grid {period} px",
            unit="dB",
            digits=1,
            higher_is_better=None,
            ideal="the ground truth's",
            kind="no-reference",
            missing=f"{_TOO_SMALL} and an image that is not flat",
        )
        for period in PERIODS
    },
}

Scores = dict[str, float]


def measure(
    prediction: NDArray[np.uint8],
    target: NDArray[np.uint8],
    *,
    names: Iterable[str] = ("psnr", "ssim"),
    crop: int = 0,
    y_channel: bool = False,
    weights: Path | None = None,
) -> Scores:
    """Score one (H, W, 3) uint8 image by the metrics in `names`. Metrics of kind `set` are left out.

    `weights` is the folder with the weights of ST-LPIPS and identity (default: the installed packages).
    """
    options: Any = {"names": names, "crop": crop, "y_channel": y_channel, "weights": weights}
    (scores,) = measure_batch(_batch(prediction), _batch(target), **options)
    return scores


def measure_batch(
    prediction: Tensor,
    target: Tensor,
    *,
    names: Iterable[str] = ("psnr", "ssim"),
    crop: int = 0,
    y_channel: bool = False,
    weights: Path | None = None,
) -> list[Scores]:
    """Score each of (B, 3, H, W) uint8 images, on any device. Everything else is as in `measure`."""
    columns = {}
    for name in names:
        metric = METRICS[name]
        if metric.kind != "set":
            images = (prediction,) if metric.kind == "no-reference" else (prediction, target)
            options = {"weights": weights} if metric.find_weights else {}
            with torch.no_grad():
                values = metric.function(*images, crop=crop, y_channel=y_channel, **options)
            columns[name] = values.tolist()
    return [{name: values[index] for name, values in columns.items()} for index in range(len(prediction))]


class SetScorer:
    """Scores the images of one method, added one by one, by the metrics of kind `set` in `names`."""

    def __init__(self, names: Iterable[str], *, crop: int = 0, y_channel: bool = False) -> None:
        self._scores: dict[str, SetScore] = {
            name: METRICS[name].function(crop=crop, y_channel=y_channel)
            for name in names
            if METRICS[name].kind == "set"
        }

    def add(self, prediction: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """Add an (H, W, 3) image and its target of the same size."""
        for score in self._scores.values():
            score.add(_batch(prediction), _batch(target))

    def values(self) -> Scores:
        """Return the values of all images so far."""
        return {name: score.value() for name, score in self._scores.items()}


def _batch(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.stack([pixels])).permute(0, 3, 1, 2)


__all__ = [
    "METRICS",
    "Metric",
    "Scores",
    "SetScore",
    "SetScorer",
    "measure",
    "measure_batch",
    "psnr",
    "ssim",
    "stlpips",
]
