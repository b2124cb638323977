"""A run against an adversary that has failed stops, and no other does."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from facesr.config.data import DataConfig
from facesr.config.train import train_recipe
from facesr.errors import RunError
from facesr.training import collapse
from facesr.training.collapse import CollapseWatch
from facesr.workflows.train import train
from tests.conftest import noise

BLIND = {"discriminator": math.log(2) + 0.002}


def test_a_discriminator_that_sees_no_difference_ends_the_run_after_200_steps_in_a_row() -> None:
    watch = CollapseWatch()
    for other in ({"discriminator": math.log(2) - 0.1}, {"l1": 0.1}):
        for _ in range(199):
            watch.see_step(BLIND)
        watch.see_step(other)  # the count begins again
    for _ in range(199):
        watch.see_step(BLIND)
    with pytest.raises(RunError, match="no difference for 200 steps"):
        watch.see_step(BLIND)


@pytest.mark.parametrize(("grid_4", "grid_8"), [(3.0, 20.5), (25.0, 4.0)])
def test_a_grid_in_the_results_ends_the_run(grid_4: float, grid_8: float) -> None:
    watch = CollapseWatch()
    watch.see_validation(
        {"a": {"grid_4": 19.0, "grid_8": 2.0}, "small": {"grid_4": math.nan, "grid_8": math.nan}}
    )
    with pytest.raises(RunError, match=f"on b repeat every {4 if grid_4 > 20 else 8} px"):
        watch.see_validation({"a": {"grid_4": 3, "grid_8": 3}, "b": {"grid_4": grid_4, "grid_8": grid_8}})


@pytest.mark.parametrize(
    ("name", "value", "message"), [("_NEAR", 99.0, "no difference"), ("_GRID_DB", -99.0, "repeat every 4 px")]
)
def test_a_run_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float, message: str
) -> None:
    monkeypatch.setattr(collapse, name, value)
    monkeypatch.setattr(collapse, "_STEPS", 2 if name == "_NEAR" else 9)
    (tmp_path / "hq").mkdir()
    (tmp_path / "lq").mkdir()
    Image.fromarray(noise(192, 192)).save(tmp_path / "hq/a.png")
    Image.fromarray(noise(48, 48)).save(tmp_path / "lq/a.png")
    data = DataConfig(
        train_hq=(tmp_path / "hq",), val_hq=tmp_path / "hq", val_lq=(tmp_path / "lq",), crop_px=64, workers=0
    )
    losses = {"l1": {"weight": 1}, "gan": {"share": 0.5}, "psnr": {"weight": 0}}
    config = train_recipe(
        arch="msrresnet",
        args={"blocks": 1, "features": 4},
        batch=1,
        iterations=3,
        validate_every=3,
        sample_count=0,
        device="cpu",
        loss=losses,
        discriminator={"features": 2},
        out=str(tmp_path / "run"),
    )
    with pytest.raises(RunError, match=message):
        train(replace(config, data=data))
