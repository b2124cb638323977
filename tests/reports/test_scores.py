"""What an evaluation finds: any kind of metric in the summary, the table, JSON and the report."""

import csv
import json
import math
import re
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from facesr.config.evaluate import EvalConfig, MetricName
from facesr.config.runtime import RuntimeConfig
from facesr.metrics import METRICS, Metric
from facesr.reports.scores import ImageScore, Method, explain_missing, summarise_scores, summary_rows
from facesr.workflows.evaluate import evaluate
from tests.conftest import Listener, Run, noise


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for index in range(3):
        hq = noise(48, 64, seed=index)
        for folder, pixels in (("hq", hq), ("sr", np.clip(hq.astype(int) + 8 * (index + 1), 0, 255))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / folder / f"{index}.png")
    return tmp_path


def light(prediction: Tensor, *, crop: int, y_channel: bool) -> Tensor:
    return prediction.double().mean((1, 2, 3))


class MeanLight:
    """Mean brightness of all predictions, in the order in which they came."""

    seen: typing.ClassVar[list[float]] = []

    def __init__(self, *, crop: int, y_channel: bool) -> None:
        self.seen.clear()

    def add(self, prediction: Tensor, target: Tensor) -> None:
        assert prediction.shape == target.shape
        assert prediction.dtype == target.dtype == torch.uint8
        self.seen.append(float(prediction.double().mean()))

    def value(self) -> float:
        return sum(self.seen) / len(self.seen)


Register = Callable[[str, Metric], None]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Return a function that adds a metric: one row, and its name in the configuration."""

    def add(name: str, row: Metric) -> None:
        monkeypatch.setitem(METRICS, name, row)
        names: Any = typing.Literal[tuple(METRICS)]  # type: ignore[misc]
        monkeypatch.setattr(EvalConfig.__dataclass_fields__["metric"], "type", tuple[names, ...])
        monkeypatch.setitem(EvalConfig.__annotations__, "metric", tuple[names, ...])

    return add


NO_REFERENCE = Metric(
    function=light, label="Light", unit="lv", digits=1, higher_is_better=False, kind="no-reference"
)
OF_A_SET = Metric(function=MeanLight, label="MeanLight", digits=3, higher_is_better=True, kind="set")


def test_a_new_metric_is_in_the_table_the_report_csv_and_json(
    run: Run, folders: Path, register: Register
) -> None:
    register("light", NO_REFERENCE)
    table, page = folders / "scores.csv", folders / "report.html"
    arguments = ["eval", "--hq", folders / "hq", "--sr", folders / "sr", "--csv", table, "--report", page]
    arguments += ["--metric", "psnr", "--metric", "light"]
    document = json.loads(run(*arguments, "--json").stdout)
    assert document["metrics"] == {
        "psnr": {"unit": "dB", "higher_is_better": True, "kind": "paired"},
        "light": {"unit": "lv", "higher_is_better": False, "kind": "no-reference"},
    }
    expected = [float(np.asarray(Image.open(folders / "sr" / f"{i}.png")).mean()) for i in range(3)]
    assert [one["scores"]["sr"]["light"] for one in document["images"]] == pytest.approx(expected)
    mean = document["summaries"]["sr"]["light"]["mean"]
    assert mean == pytest.approx(np.mean(expected))
    with table.open() as stream:
        assert [float(row["sr light"]) for row in csv.DictReader(stream)] == pytest.approx(expected)
    html = page.read_text(encoding="utf-8")
    assert f"<td>Light</td><td>{mean:.1f}</td>" in html
    assert "<th>PSNR (dB) ↑</th><th>Light (lv) ↓</th>" in html
    assert "<p>lower is better: Light (lv)</p>" in html
    assert f"<td>{expected[1]:.1f}</td>" in html
    shown = run(*arguments)
    assert re.search(rf"sr +Light +{mean:.1f} ", shown.stdout)
    assert "higher is better: PSNR (dB)\nlower is better: Light (lv)\n" in shown.stderr


def test_a_set_metric_has_one_value_a_method_and_none_an_image(
    run: Run, folders: Path, register: Register
) -> None:
    register("mean_light", OF_A_SET)
    table, page = folders / "scores.csv", folders / "report.html"
    arguments = ["eval", "--hq", folders / "hq", "--sr", folders / "sr", "--csv", table, "--report", page]
    arguments += ["--metric", "psnr", "--metric", "mean_light"]
    document = json.loads(run(*arguments, "--json").stdout)
    expected = [float(np.asarray(Image.open(folders / "sr" / f"{i}.png")).mean()) for i in range(3)]
    assert MeanLight.seen == pytest.approx(expected)  # each once, in the order of the files
    summary = document["summaries"]["sr"]["mean_light"]
    assert summary.pop("mean") == pytest.approx(np.mean(expected))
    assert set(summary.values()) == {None}
    assert all(list(one["scores"]["sr"]) == ["psnr"] for one in document["images"])
    assert table.read_text().splitlines()[0] == "file,sr psnr"
    html = page.read_text(encoding="utf-8")
    assert f"<td>MeanLight</td><td>{np.mean(expected):.3f}</td><td>-</td><td>-</td><td>-</td>" in html
    assert "<th>PSNR (dB) ↑</th></tr>" in html
    assert re.search(rf"sr +MeanLight +{np.mean(expected):.3f} +- +- +- *\n", run(*arguments).stdout)


def test_missing_values_are_counted_with_the_reason_of_their_metric(
    folders: Path, register: Register
) -> None:
    def none(prediction: Tensor, *, crop: int, y_channel: bool) -> Tensor:
        return torch.full((len(prediction),), torch.nan)

    class Never(MeanLight):
        def value(self) -> float:
            return math.nan

    register("light", replace(NO_REFERENCE, function=none, missing="it needs a lamp"))
    register("mean_light", replace(OF_A_SET, function=Never, missing="it needs 9 images"))
    for folder in ("hq", "sr"):
        Image.fromarray(noise(8, 64)).save(folders / folder / "1.png")
    listener = Listener()
    config = EvalConfig(
        hq=folders / "hq",
        sr=folders / "sr",
        metric=("psnr", "ssim", "light", "mean_light"),  # type: ignore[arg-type]
        runtime=RuntimeConfig(device="cpu"),
    )
    evaluate(config, listener)
    assert listener.warnings == [
        "no SSIM for 1 of 3 images: it needs 11 px a side after the crop",
        "no Light for 3 of 3 images: it needs a lamp",
        "no MeanLight for sr: it needs 9 images",
    ]


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_worst_files_follow_the_direction_of_the_ranking_metric(
    monkeypatch: pytest.MonkeyPatch, higher_is_better: bool
) -> None:
    monkeypatch.setattr("facesr.config.evaluate.RANKING_METRIC", "light")
    row = Metric(function=light, label="Light", digits=1, higher_is_better=higher_is_better)
    images = [
        ImageScore(str(value), {"a": {"light": float(value)}, "b": {"light": 1.0}}) for value in (3, 1, 2)
    ]
    config = EvalConfig(hq=Path("hq"), sr=Path("sr"))
    result = summarise_scores(
        config, {"light": row}, [Method("a"), Method("b")], images, {"a": {}, "b": {}}, [], []
    )
    assert result.worst == (("1", "2", "3") if higher_is_better else ("3", "2", "1"))
    assert explain_missing(result) == []
    assert summary_rows(result)[-1][:3] == ("a over b", "Light", "+1.0")


def test_the_names_in_the_configuration_are_checked(run: Run, folders: Path) -> None:
    result = run("eval", "--hq", folders / "hq", "--sr", folders / "sr", "--metric", "light")
    assert result.exit_code == 2
    assert all(name in result.stderr for name in typing.get_args(MetricName))


@pytest.fixture
def large(tmp_path: Path) -> Path:
    for index, side in enumerate((192, 208, 100)):
        for folder in ("hq", "sr"):
            (tmp_path / folder).mkdir(exist_ok=True)
            pixels = noise(side, side, seed=index) // (1 if folder == "hq" else 2)
            Image.fromarray(pixels).save(tmp_path / folder / f"{index}.png")
    return tmp_path


def test_figures_of_sharpness_have_their_direction_and_a_row_of_the_ground_truth(
    run: Run, large: Path
) -> None:
    table, page = large / "s.csv", large / "r.html"
    arguments = ["eval", "--hq", large / "hq", "--sr", large / "sr", "--metric", "sharpness"]
    shown = run(*arguments, "--csv", table, "--report", page)
    assert "nearer to 0 is better: Spectrum gap mid (dB), Spectrum gap fine (dB)" in shown.stderr
    assert "nearer to the ground truth's is better: Grid 4 px (dB), Grid 8 px (dB)" in shown.stderr
    assert (
        "Spectrum gap fine, NIQE for 1 of 3 images: it needs 192 px a side after the crop\n" in shown.stderr
    )
    assert "Grid 16 px for 1 of 3 images: it needs 192 px a side after the crop and an" in shown.stderr
    document = json.loads(run(*arguments, "--json").stdout)
    assert document["metrics"]["spectrum_fine"]["ideal"] == "0"
    assert document["hq"].keys() == {"grid_4", "grid_8", "grid_16", "niqe"}
    images = {one["file"]: one for one in document["images"]}
    assert images["0"]["scores"]["sr"]["spectrum_fine"] == pytest.approx(-6, abs=0.5)  # half the contrast
    assert images["0"]["hq"]["grid_8"] == pytest.approx(images["0"]["scores"]["sr"]["grid_8"], abs=0.5)
    assert images["2"]["scores"]["sr"]["niqe"] is None
    with table.open() as stream:
        row = next(csv.DictReader(stream))
    assert float(row["ground truth niqe"]) == images["0"]["hq"]["niqe"]
    assert "<td>ground truth</td>" in page.read_text(encoding="utf-8")


def test_images_without_ground_truth_are_scored_by_themselves(run: Run, large: Path) -> None:
    page = large / "r.html"
    document = json.loads(run("eval", "--sr", large / "sr", "--report", page, "--json").stdout)
    assert list(document["metrics"]) == ["niqe", "detail_mid", "detail_fine", "grid_4", "grid_8", "grid_16"]
    paired = json.loads(
        run("eval", "--hq", large / "hq", "--sr", large / "sr", "--metric", "niqe", "--json").stdout
    )
    alone = [one["scores"]["sr"]["niqe"] for one in document["images"]]
    assert alone == [one["scores"]["sr"]["niqe"] for one in paired["images"]]
    order = sorted(range(2), key=lambda index: -alone[index])
    assert document["worst"] == [f"{index}.png" for index in order]  # the third one is too small for a value
    html = page.read_text(encoding="utf-8")
    assert "error" not in re.findall(r'data-layer="([^"]+)"', html)
    assert "0.png" in html


def test_a_metric_without_its_weights_is_left_out(
    run: Run, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesr.metrics.data_files.find_spec", lambda name: None)
    arguments = ["eval", "--hq", large / "hq", "--sr", large / "sr", "--metric", "stlpips_vgg"]
    result = run(*arguments)
    assert result.exit_code == 0
    assert result.stderr.count("ST-LPIPS vgg is left out") == 1
    assert "ST-LPIPS" not in result.stdout
    result = run(*arguments, "--metric-weights", large)
    assert result.exit_code == 2
    assert f"no stlpips_vgg.safetensors or vgg_shift_tolerant.pth in {large}" in result.stderr
