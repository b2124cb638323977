"""Metrics of restored images: how near they are to the ground truth, or how good they look by themselves."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facesr.metrics.fidelity import psnr, ssim
from facesr.metrics.perceptual import lpips


class SetScore(Protocol):
    """A value of a whole set of images, which come one after another and need not be kept."""

    def add(self, prediction: Tensor, target: Tensor) -> None:
        """Take in (B, 3, H, W) uint8 predictions and their targets. Called on one thread, in order."""

    def value(self) -> float:
        """Return the value of all images so far, NaN where there is none."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric, and all that tables and reports say of it.

    Its function computes it from (B, 3, H, W) tensors, uint8 or float RGB in [0, 1], by `kind`:
        paired: `(prediction, target, *, crop, y_channel) -> (B,)`.
        no-reference: `(prediction, *, crop, y_channel) -> (B,)`.
        set: `(*, crop, y_channel) -> SetScore`, called once for each method.
    """

    function: Callable[..., Any]
    label: str
    higher_is_better: bool
    digits: int = 4
    unit: str = ""
    kind: Literal["paired", "no-reference", "set"] = "paired"
    missing: str = "the value is not a number"  # follows "no SSIM for 3 of 400 images: "

    @property
    def title(self) -> str:
        """The label with the unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def show(self, value: float | None, *, sign: str = "") -> str:
        """Write a value as text, a dash where there is none; `sign="+"` marks positive ones too."""
        if value is None or math.isnan(value):
            return "-"
        if math.isinf(value):
            return "identical" if self.kind == "paired" else "infinite"
        return f"{value:{sign}.{self.digits}f}"


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
    "lpips": Metric(function=lpips, label="LPIPS", higher_is_better=False),
}

Scores = dict[str, float]


def measure(
    prediction: NDArray[np.uint8],
    target: NDArray[np.uint8],
    *,
    names: Iterable[str] = ("psnr", "ssim"),
    crop: int = 0,
    y_channel: bool = False,
) -> Scores:
    """Score one (H, W, 3) uint8 image by the metrics named; `set` metrics have no value for one image."""
    (scores,) = measure_batch(_batch(prediction), _batch(target), names=names, crop=crop, y_channel=y_channel)
    return scores


def measure_batch(
    prediction: Tensor,
    target: Tensor,
    *,
    names: Iterable[str] = ("psnr", "ssim"),
    crop: int = 0,
    y_channel: bool = False,
) -> list[Scores]:
    """Score each of (B, 3, H, W) uint8 images, on any device, as `measure` does one."""
    columns = {}
    for name in names:
        metric = METRICS[name]
        if metric.kind != "set":
            images = (prediction,) if metric.kind == "no-reference" else (prediction, target)
            columns[name] = metric.function(*images, crop=crop, y_channel=y_channel).tolist()
    return [{name: values[index] for name, values in columns.items()} for index in range(len(prediction))]


class SetScorer:
    """Scores the images of one method, added one by one, by the `set` metrics among those named."""

    def __init__(self, names: Iterable[str], *, crop: int = 0, y_channel: bool = False) -> None:
        self._scores: dict[str, SetScore] = {
            name: METRICS[name].function(crop=crop, y_channel=y_channel)
            for name in names
            if METRICS[name].kind == "set"
        }

    def add(self, prediction: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """Take in an (H, W, 3) image and its target of the same size."""
        for score in self._scores.values():
            score.add(_batch(prediction), _batch(target))

    def values(self) -> Scores:
        """Return the values of all images so far."""
        return {name: score.value() for name, score in self._scores.items()}


def _batch(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.stack([pixels])).permute(0, 3, 1, 2)


__all__ = ["METRICS", "Metric", "Scores", "SetScore", "SetScorer", "measure", "measure_batch", "psnr", "ssim"]
