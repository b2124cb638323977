"""What is said about a wrong value: once for each key, in one plain phrase."""

from typing import Any, get_args

import pytest

from facesr.config.build import build, nest
from facesr.config.degrade import DegradeConfig
from facesr.config.evaluate import EvalConfig, MetricChoice
from facesr.config.fields import Config
from facesr.config.train import TrainConfig
from facesr.config.upscale import UpscaleConfig
from facesr.errors import ConfigError

CHOICES = get_args(MetricChoice)
BASE: dict[str, Any] = {"inputs": ["a"], "output": "o"}
PAIRS: dict[str, Any] = {"hq": "a", "lq": "b"}


def problems(config: type[Config], tree: dict[str, Any], **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build(config, tree, **options)
    return str(caught.value)


def steps(**values: Any) -> dict[str, Any]:
    return {"degradation": {"steps": {"a": values}}}


@pytest.mark.parametrize(
    ("config", "tree", "key", "phrase"),
    [
        (UpscaleConfig, {**BASE, "quality": 101}, "quality", "a whole number of at most 100, found 101"),
        (UpscaleConfig, {**BASE, "quality": 1.5}, "quality", "a whole number, found 1.5"),
        (UpscaleConfig, {**BASE, "outscale": 0}, "outscale", "a number above 0, found 0"),
        (UpscaleConfig, {**BASE, "outscale": "17"}, "outscale", "a number of at most 16, found 17"),
        (UpscaleConfig, {**BASE, "outscale": "inf"}, "outscale", "a finite number, found inf"),
        (UpscaleConfig, {**BASE, "recursive": "maybe"}, "recursive", "true or false, found maybe"),
        (UpscaleConfig, {**BASE, "name": 3}, "name", "text, found 3"),
        (UpscaleConfig, {**BASE, "output": 3}, "output", "a path, found 3"),
        (UpscaleConfig, {**BASE, "inputs": 3}, "inputs", "a list, found 3"),
        (UpscaleConfig, {**BASE, "runtime": 3}, "runtime", "a table, found 3"),
        (
            UpscaleConfig,
            {**BASE, "format": ""},
            "format",
            "auto, png, jpg, webp, tiff or avif, found nothing",
        ),
        (
            UpscaleConfig,
            {**BASE, "runtime": {"batch": 0}},
            "runtime.batch",
            "a whole number of at least 1, or auto, found 0",
        ),
        (
            EvalConfig,
            {**PAIRS, "metric": ["x"]},
            "metric.0",
            f"{', '.join(CHOICES[:-1])} or {CHOICES[-1]}, found x",
        ),
        (TrainConfig, {"data": {"zoom": [1.2, 0.8]}}, "data.zoom", "low not above high, found [1.2, 0.8]"),
        (TrainConfig, {"data": {"zoom": [1, 2, 3]}}, "data.zoom", "at most 2 entries, found [1, 2, 3]"),
        (
            DegradeConfig,
            steps(kind="z"),
            "degradation.steps.a",
            "a `kind` among blur, sinc, resize, shrink, fit, noise, jpeg, place, align, found {'kind': 'z'}",
        ),
        (
            DegradeConfig,
            steps(kind="jpeg", quality=[1, 101]),
            "degradation.steps.a.quality.1",
            "a number of at most 100, found 101",
        ),
    ],
)
def test_a_wrong_value_is_one_phrase(
    config: type[Config], tree: dict[str, Any], key: str, phrase: str
) -> None:
    assert problems(config, tree) == f"`{key}`: expected {phrase}"


def test_what_is_missing_or_unknown_is_named() -> None:
    assert problems(TrainConfig, {"optim": {"betas": [0.5]}}) == "`optim.betas.1` is missing"
    assert problems(TrainConfig, {"optim": {"vigour": 3}}) == "unknown key `optim.vigour`"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("optim.lr", "optim.learning_rate"),  # the end of its option
        ("learning_rate", "optim.learning_rate"),  # of several, the one with an option
        ("crop", "data.crop_px"),
        ("flip_chance", "data.flip_chance"),  # without its table
        ("data.num_workers", "data.workers"),
        ("best_bye", "best_by"),
    ],
)
def test_an_unknown_key_is_named_with_the_closest(typed: str, meant: str) -> None:
    assert problems(TrainConfig, nest(typed, 1)) == f"unknown key `{typed}`, the closest is `{meant}`"


def test_a_value_is_named_as_the_user_gave_it() -> None:
    names = {"runtime.batch": "--batch", "metric": "--metric", "runtime.device": "FACESR_DEVICE"}
    tree = {**PAIRS, "runtime": {"batch": "0", "device": "x", "tile": -1}, "metric": ["psnr", "x"]}
    said = problems(EvalConfig, tree, names=names)
    for part in ("`--batch`: ", "`FACESR_DEVICE`: ", "`runtime.tile`: ", "`--metric`: "):
        assert said.count(part) == 1
    assert "runtime.batch" not in said


def test_a_long_value_is_cut_and_stays_on_one_line() -> None:
    said = problems(UpscaleConfig, {**BASE, "quality": "1\n" * 1000})
    assert len(said) < 200
    assert "\n" not in said
