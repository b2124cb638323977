"""`facesr models`: what is at hand, and what is in weights of any kind."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from facesr.models import build_network
from facesr.models.srvgg import SRVGG
from facesr.weights.find import BUNDLED, CONFIG_NAME
from tests.conftest import Run, tiny_state

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def shelf(tmp_path: Path, tiny_folder: Path) -> Path:
    """Return a folder with a weight file, a weight folder, a run and what is neither."""
    shelf = tmp_path / "shelf"
    shutil.copytree(tiny_folder, shelf / "folder")
    shutil.copytree(tiny_folder, shelf / "run" / "best")
    (shelf / "run" / "last").mkdir()
    (shelf / "empty").mkdir()
    (shelf / "notes.txt").write_text("none")
    torch.save({"params": build_network("srvgg", {"blocks": 2, "features": 8}).state_dict()}, shelf / "a.pth")
    return shelf


def described(run: Run, *arguments: object) -> list[dict[str, Any]]:
    result = run("models", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)["models"]
    return found


def test_a_file_is_described_by_its_tensors(run: Run, shelf: Path) -> None:
    [model] = described(run, shelf / "a.pth")
    convolutions = [(3, 8), (8, 8), (8, 8), (8, 48)]
    assert model["multiply_adds"] == 128 * 128 * 9 * sum(one * other for one, other in convolutions)
    slopes = 3 * 8
    assert model["parameters"] == sum(9 * one * other + other for one, other in convolutions) + slopes
    assert (model["name"], model["arch"], model["scale"]) == ("a", "srvgg", 4)
    assert model["tiling"] == "exact halo, 4 px"
    assert model["precisions"] == ["fp32", "fp16", "bf16"]
    assert (model["license"], model["code_license"]) == ("", "")
    assert described(run, "--file", shelf / "a.pth") == [model]


def test_a_table_has_a_row_for_each_and_says_where_a_licence_is_unknown(
    run: Run, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    lines = run("models", shelf / "a.pth", "faceunet").stdout.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["a", "faceunet"]
    assert re.search("exact halo, 4 px +fp32, fp16, bf16 +unknown", lines[-2])
    assert re.search("windows, 128 px +fp32, fp16, bf16 +CC-BY-NC-SA-4.0", lines[-1])


@pytest.mark.parametrize("key", ["license", "modelspec.license"])
def test_a_safetensors_file_may_say_its_licence(key: str, run: Run, tmp_path: Path) -> None:
    save_file(tiny_state(), tmp_path / "a.safetensors", {key: "CC0-1.0"})
    assert [one["license"] for one in described(run, tmp_path / "a.safetensors")] == ["CC0-1.0"]


def test_a_folder_gives_its_files_its_weight_folders_and_the_best_of_its_runs(run: Run, shelf: Path) -> None:
    paths = [shelf / "a.pth", *(shelf / one / "model.safetensors" for one in ("folder", "run/best"))]
    assert run("models", shelf, "-q").stdout.splitlines() == list(map(str, paths))
    assert run("models", shelf / "run", "-q").stdout.splitlines() == [str(paths[-1])]
    assert run("models", shelf / "folder", "-q").stdout.splitlines() == [str(paths[1])]


def test_what_cannot_be_read_is_reported_and_the_others_are_described(run: Run, shelf: Path) -> None:
    (shelf / "b.pth").write_bytes(b"<html>")
    (shelf / "folder" / CONFIG_NAME).write_text("[]")
    result = run("models", shelf, shelf / "notes.txt", "-q")
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == 2
    assert f"error: {shelf / 'b.pth'}: an HTML page, not weights" in result.stderr
    assert f"{CONFIG_NAME}: not a model configuration" in result.stderr
    assert f"error: {shelf / 'notes.txt'}: not a weight file" in result.stderr
    assert run("models", shelf / "b.pth").exit_code == 1


@pytest.mark.parametrize(
    ("name", "error"), [("nothing", "no model `nothing`"), ("empty", "empty: no models in it")]
)
def test_no_such_model_is_a_usage_error(name: str, error: str, run: Run, shelf: Path) -> None:
    result = run("models", shelf / "a.pth", shelf / name if name == "empty" else name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert error in result.stderr


def test_multiply_adds_that_cannot_be_counted_are_left_out(
    run: Run, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_value(self: SRVGG, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x

    monkeypatch.setattr(SRVGG, "forward", by_value)
    [model] = described(run, shelf / "a.pth")
    assert (model["multiply_adds"], model["scale"]) == (0, 4)


def snapshot(cache: Path, repo: str, ref: str) -> Path:
    """Return the only snapshot of a repository in the Hub's cache, which is still to be made."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / ref).write_text(COMMIT)
    return folder / "snapshots" / COMMIT


def test_the_list_has_the_models_in_the_hubs_cache_by_what_names_them(
    run: Run, hub_cache: Path, tiny_folder: Path
) -> None:
    shutil.copytree(tiny_folder, snapshot(hub_cache, "user/tiny", "main"))
    shutil.copytree(tiny_folder, snapshot(hub_cache, "user/tagged", "v1"))
    other = snapshot(hub_cache, "user/bert", "main")
    shutil.copytree(tiny_folder, other)
    (other / CONFIG_NAME).write_text('{"model_type": "bert"}')
    snapshot(hub_cache, "user/half", "main").mkdir(parents=True)
    names = [*BUNDLED, "user/tagged@v1", "user/tiny"]
    assert run("models", "-q").stdout.splitlines() == names
    assert [one["name"] for one in json.loads(run("models", "--json").stdout)] == names


def test_the_list_needs_no_cache(run: Run, hub_cache: Path) -> None:
    assert run("models", "-q").stdout.splitlines() == list(BUNDLED)
    hub_cache.write_text("a file")
    result = run("models", "-q")
    assert (result.stdout.splitlines(), result.stderr) == (list(BUNDLED), "")
