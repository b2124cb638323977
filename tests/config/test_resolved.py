"""What `resolved` fills in: all that a configuration names, once and for all."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from facesr.config.build import build
from facesr.config.data import DataConfig
from facesr.config.degrade import DegradeConfig
from facesr.config.evaluate import EvalConfig
from facesr.config.export import ExportConfig
from facesr.config.fields import Config, leaves
from facesr.config.model import ModelConfig
from facesr.config.steps import degradation_preset
from facesr.config.train import TrainConfig, train_recipe
from facesr.config.upscale import UpscaleConfig
from facesr.errors import ConfigError
from facesr.weights.find import find_weights
from facesr.weights.save import save_folder
from tests.conftest import TINY, tiny_state

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


HOMES = [
    (UpscaleConfig, {"inputs": ["~/in", "b"], "output": "~/out", "save_faces": "~/faces"}),
    (DegradeConfig, dict.fromkeys(("hq", "lq", "replay", "hq_out", "params_out", "preview"), "~/a")),
    (EvalConfig, dict.fromkeys(("hq", "lq", "sr", "save", "csv", "report", "metric_weights"), "~/a")),
    (ExportConfig, {"model": "faceunet", "output": "~/a.onnx"}),
    (
        TrainConfig,
        {
            "out": "~/a",
            "metric_weights": "~/m",
            "data": {"train_hq": ["~/a"], "train_lq": ["~/b"], "val_hq": "~", "val_lq": ["~/a"]},
        },
    ),
]


@pytest.mark.parametrize(("cls", "tree"), HOMES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_tilde_is_the_home_folder_in_every_path(
    cls: type[Config], tree: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    built = build(cls, tree)
    assert "~" not in repr(built)
    assert built.resolved() == built
    for leaf in leaves(cls):  # none is left out of the list above
        parts = leaf.key.split(".")
        inside = tree.get(parts[0])
        given = inside.get(parts[1]) if isinstance(inside, dict) else inside
        assert "Path" not in str(leaf.annotation) or given or leaf.key == "resume"


def test_a_tilde_is_the_home_folder_where_a_name_may_be_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.toml").write_text("[degradation.steps.fit]\nkind = 'fit'\nto = 'lq'\n")
    (tmp_path / "recipe.toml").write_text("batch = 3\n")
    assert list(DataConfig(degradation=("~/mine.toml=2",)).resolved().degradations) == ["~/mine.toml"]
    assert train_recipe("~/recipe.toml").batch == 3
    save_folder(tmp_path / "w", tiny_state(), ModelConfig(name="tiny", arch="msrresnet", args=TINY))
    for model in ("~/w", "~/w/model.safetensors"):
        assert find_weights(model).tensors == tmp_path / "w" / "model.safetensors"


def test_without_a_home_folder_a_tilde_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(path: Path) -> None:
        raise RuntimeError

    monkeypatch.setattr(Path, "expanduser", unknown)
    assert UpscaleConfig(inputs=(Path("~/in"),), output=Path("out")).resolved().inputs == (Path("~/in"),)


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
