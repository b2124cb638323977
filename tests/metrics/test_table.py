"""The table of metrics: each row says all that measuring and showing need."""

import math
import typing

import numpy as np
import pytest
import torch
from torch import Tensor

from facesr.config.evaluate import RANKING_METRIC, MetricName
from facesr.metrics import METRICS, Metric, SetScorer, measure
from tests.conftest import noise


def brightness(prediction: Tensor, *, crop: int, y_channel: bool) -> Tensor:
    return prediction.double()[..., crop:, :].mean((1, 2, 3))


class Spread:
    """Distance of the mean of all predictions from that of all targets."""

    def __init__(self, *, crop: int, y_channel: bool) -> None:
        self.crop = crop
        self.sums = torch.zeros(2, dtype=torch.float64)
        self.count = 0

    def add(self, prediction: Tensor, target: Tensor) -> None:
        self.sums += torch.stack([images.double().mean() for images in (prediction, target)])
        self.count += 1

    def value(self) -> float:
        return float((self.sums[0] - self.sums[1]).abs() / self.count) if self.count else math.nan


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        "brightness": Metric(
            function=brightness, label="Brightness", higher_is_better=True, kind="no-reference"
        ),
        "spread": Metric(function=Spread, label="Spread", higher_is_better=False, kind="set"),
    }
    for name, row in rows.items():
        monkeypatch.setitem(METRICS, name, row)


def test_every_metric_has_its_name_in_the_configuration() -> None:
    assert set(typing.get_args(MetricName)) == set(METRICS) - {"brightness", "spread"}
    assert METRICS[RANKING_METRIC].kind == "paired"


def test_a_no_reference_metric_sees_the_prediction_only() -> None:
    a, b = noise(12, 16), noise(12, 16, seed=1)
    scores = measure(a, b, names=("brightness", "psnr"), crop=4)
    assert list(scores) == ["brightness", "psnr"]
    assert scores["brightness"] == pytest.approx(a[4:].mean())


def test_a_set_metric_has_one_value_for_all_images() -> None:
    pairs = [(noise(12, 16, seed=seed), noise(12, 16, seed=seed + 9)) for seed in range(3)]
    names = ("psnr", "brightness", "spread")
    assert "spread" not in measure(*pairs[0], names=names)
    scorer = SetScorer(names)
    assert math.isnan(scorer.values()["spread"])
    for pair in pairs:
        scorer.add(*pair)
    expected = abs(np.mean([float(a.mean()) - float(b.mean()) for a, b in pairs]))
    assert scorer.values() == {"spread": pytest.approx(expected)}


def test_values_are_shown_with_the_digits_of_their_row() -> None:
    psnr, lpips = METRICS["psnr"], METRICS["lpips"]
    assert (psnr.title, lpips.title) == ("PSNR (dB)", "LPIPS")
    assert (psnr.show(1.25678), lpips.show(1.25678)) == ("1.26", "1.2568")
    assert (psnr.show(0.5, sign="+"), psnr.show(-0.5, sign="+")) == ("+0.50", "-0.50")
    assert psnr.show(None) == psnr.show(math.nan) == "-"
    assert (psnr.show(math.inf), METRICS["brightness"].show(math.inf)) == ("identical", "infinite")
