from typing import Any

import pytest

from facesr.training.best import choose_best


def scores(ema: float, raw: float, *, metric: str = "psnr") -> dict[str, Any]:
    """Return the scores of a validation whose sets are 1 below and 1 above the means given."""
    kinds = {"ema": ema, "raw": raw}
    return {
        kind: {name: {"psnr": 20.0, metric: mean + part} for name, part in (("a", -1), ("b", 1))}
        for kind, mean in kinds.items()
    }


@pytest.mark.parametrize(
    ("metric", "ema", "raw", "kind"),
    [
        ("psnr", 30, 31, "raw"), ("psnr", 31, 30, "ema"), ("psnr", 30, 30, "ema"),
        ("ssim", 0.5, 0.6, "raw"), ("lpips", 0.5, 0.6, "ema"), ("lpips", 0.6, 0.5, "raw"),
        ("niqe", 5, 6, "ema"), ("spectrum_mid", -2, 3, "ema"), ("spectrum_mid", -4, 3, "raw"),
    ],
)  # fmt: skip
def test_the_better_weights_are_chosen_by_the_direction_of_the_metric(
    metric: str, ema: float, raw: float, kind: str
) -> None:
    best = choose_best(scores(ema, raw, metric=metric), {}, by=metric, step=7)
    psnr = {} if metric == "psnr" else {"psnr": 20.0}
    value = ema if kind == "ema" else raw
    assert best == {"step": 7, metric: pytest.approx(value), **psnr, "weights": kind}


@pytest.mark.parametrize(("metric", "better", "worse"), [("psnr", 31, 29), ("lpips", 0.4, 0.6)])
def test_the_best_so_far_stays_until_it_is_beaten(metric: str, better: float, worse: float) -> None:
    middle = (better + worse) / 2
    best = choose_best(scores(middle, middle, metric=metric), {}, by=metric, step=1)
    for value in (worse, middle):
        assert choose_best(scores(value, value, metric=metric), best, by=metric, step=2) is best
    assert choose_best(scores(better, worse, metric=metric), best, by=metric, step=2)["step"] == 2


@pytest.mark.parametrize(("before", "now"), [("psnr", "ssim"), ("ssim", "psnr"), ("ssim", "lpips")])
def test_values_of_two_metrics_are_never_compared(before: str, now: str) -> None:
    best = choose_best(scores(90, 90, metric=before), {}, by=before, step=1)
    assert choose_best(scores(1, 1, metric=now), best, by=now, step=2)["step"] == 2
