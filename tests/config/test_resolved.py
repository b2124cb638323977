"""What `resolved` fills in: all that a configuration names, once and for all."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from facesr.config.build import build
from facesr.config.data import DataConfig
from facesr.config.degrade import DegradeConfig
from facesr.config.evaluate import EvalConfig
from facesr.config.fields import Config
from facesr.config.steps import degradation_preset
from facesr.config.train import TrainConfig
from facesr.config.upscale import UpscaleConfig
from facesr.errors import ConfigError

CONFIGS = [
    UpscaleConfig(inputs=(Path("in"),), output=Path("out")),
    DegradeConfig(preset="mild"),
    DegradeConfig(degradation=degradation_preset("clean")),
    EvalConfig(hq=Path("hq"), lq=Path("lq"), metric=("ssim",)),
    TrainConfig(blocks=3, args={"features": 8}, data=DataConfig(degradation=("mild=2", "clean"))),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_resolving_twice_is_as_once_and_leaves_the_original(config: Config) -> None:
    before = repr(config)
    resolved = config.resolved()
    assert resolved.resolved() == resolved
    assert repr(config) == before


def test_what_is_named_is_filled_in() -> None:
    assert DegradeConfig(preset="mild").resolved().degradation == degradation_preset("mild")
    assert EvalConfig(hq=Path("hq"), lq=Path("lq"), metric=("ssim",)).resolved().metric == ("psnr", "ssim")
    config = TrainConfig(blocks=3, args={"features": 8}, data=DataConfig(degradation=("mild=2",))).resolved()
    assert (config.args, config.blocks) == ({"features": 8, "blocks": 3}, None)
    assert config.data.degradations == {"mild": degradation_preset("mild")}


def test_building_resolves() -> None:
    assert build(TrainConfig, {"blocks": 3}) == TrainConfig(blocks=3).resolved()


def test_what_is_given_in_full_is_not_read_again() -> None:
    mine = degradation_preset("clean")
    config = DataConfig(degradation=("none",), degradations={"none": mine})
    assert config.resolved().degradations == {"none": mine}
    with pytest.raises(ConfigError, match="no degradation `none`"):
        DataConfig(degradation=("none",)).resolved()


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        TrainConfig().batch = 3  # type: ignore[misc]
