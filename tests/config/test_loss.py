"""The table of losses, and the keys that it took the place of."""

from pathlib import Path
from typing import Any

import pytest

from facesr.config.build import build, merge
from facesr.config.loss import LossConfig
from facesr.config.train import TrainConfig, resumed_config, train_recipe
from facesr.errors import ConfigError

SHARP = LossConfig(target="sharpened")


def layered(given: dict[str, Any], *, file: dict[str, Any] | None = None) -> TrainConfig:
    """Build as the command line does."""
    file = file or {}
    return build(TrainConfig, merge([TrainConfig.defaults(file, given), file, given]))


def test_training_lowers_l1_unless_told_otherwise() -> None:
    assert build(TrainConfig, {}).loss == {"l1": LossConfig()}
    assert layered({}).loss == {"l1": LossConfig()}


def test_the_losses_of_a_file_join_those_of_the_recipe() -> None:
    file = {"loss": {"psnr": {"weight": 0.0}, "charbonnier": {}}}
    assert layered({"recipe": "face"}, file=file).loss == {
        "psnr": LossConfig(weight=0),
        "phase": LossConfig(weight=4),
        "charbonnier": LossConfig(),
    }
    assert layered({"loss": {"mse": {"weight": 2}}}).loss == {"l1": LossConfig(), "mse": LossConfig(weight=2)}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "no loss has a weight above 0"),
        ({"l1": {"weight": 0}}, "no loss has a weight above 0"),
        ({"l1": {"weight": -1}}, "`loss.l1.weight`"),
        ({"l2": {}}, "`loss.l2`"),
        ({"l1": {"target": "blurred"}}, "`loss.l1.target`"),
        ({"l1": 1}, "`loss.l1`"),
    ],
)
def test_tables_without_a_loss_that_counts_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(TrainConfig, {"loss": table})


@pytest.mark.parametrize(
    ("optim", "expected"),
    [
        ({"loss": "psnr", "usm_target": False}, {"psnr": LossConfig()}),
        ({"loss": "mse", "usm_target": True}, {"mse": SHARP}),
        ({"usm_target": True}, {"l1": SHARP}),
        ({"loss": "charbonnier"}, {"charbonnier": LossConfig()}),
    ],
)
def test_old_keys_are_a_table_of_one_loss_wherever_they_are_read(
    optim: dict[str, Any], expected: dict[str, LossConfig], tmp_path: Path
) -> None:
    tree = {"optim": {**optim, "learning_rate": 1e-3}}
    text = "[optim]\n" + "".join(
        f"{key} = {str(v).lower() if v in (True, False) else repr(v)}\n" for key, v in optim.items()
    )
    (tmp_path / "config.toml").write_text(text)
    configs = {
        "tree": build(TrainConfig, tree),
        "file": layered({}, file=tree),
        "--set": layered(tree),
        "recipe": layered({"recipe": str(tmp_path / "config.toml")}),
        "recipe in Python": train_recipe(str(tmp_path / "config.toml")),
        "run": layered({"resume": str(tmp_path)}),
        "run in Python": resumed_config(tmp_path),
    }
    assert {name: config.loss for name, config in configs.items()} == dict.fromkeys(configs, expected)
    assert configs["tree"].optim.learning_rate == 1e-3


def test_an_old_key_leaves_of_the_recipe_what_it_does_not_say() -> None:
    assert layered({"recipe": "original", "optim": {"loss": "mse"}}).loss == {"mse": SHARP}
    sharp_phase = LossConfig(weight=4, target="sharpened")
    assert layered({"recipe": "face", "optim": {"usm_target": True}}).loss == {
        "psnr": SHARP,
        "phase": sharp_phase,
    }
    assert layered({"recipe": "original", "optim": {"usm_target": False}}).loss == {"l1": LossConfig()}


def test_a_loss_said_for_an_old_run_joins_the_one_that_it_had(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[optim]\nloss = 'psnr'\nusm_target = false\n")
    changed = layered({"resume": str(tmp_path), "loss": {"l1": {"weight": 0.5}}})
    assert changed.loss == {"psnr": LossConfig(), "l1": LossConfig(weight=0.5)}


def test_old_keys_and_the_table_are_not_mixed() -> None:
    with pytest.raises(ConfigError, match="cannot be combined with `loss`"):
        layered({"loss": {"l1": {}}}, file={"optim": {"loss": "psnr"}})


def test_an_old_key_with_a_wrong_value_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"`loss\.huber`"):
        layered({"optim": {"loss": "huber"}})
