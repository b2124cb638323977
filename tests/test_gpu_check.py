"""The check for GPU machines keeps what it found when a section fails, and runs without a GPU."""

import json
from pathlib import Path

import pytest

from tests.benchmarks import gpu_check


def check(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setenv("FACESR_NO_PROGRESS", "1")
    monkeypatch.setattr("sys.argv", ["gpu_check", *map(str, arguments)])
    return gpu_check.main()


def test_a_section_that_fails_is_noted_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_: gpu_check.Setup) -> gpu_check.Facts:
        raise RuntimeError("out of order")

    def fine(_: gpu_check.Setup) -> gpu_check.Facts:
        written = json.loads((tmp_path / "gpu_check.json").read_text())  # before the last section has ended
        return {"noted": written["errors"]}

    monkeypatch.setattr(gpu_check, "SECTIONS", (broken, fine))
    assert check(monkeypatch, "--device", "cpu", "--out", tmp_path) == 1
    results = json.loads((tmp_path / "gpu_check.json").read_text())
    assert results["errors"] == {"broken": "RuntimeError: out of order"}
    assert results["facts"] == {"fine": {"noted": results["errors"]}}
    assert check(monkeypatch, "--device", "cpu", "--out", tmp_path, "--budget", 0) == 1
    assert "budget" in json.loads((tmp_path / "gpu_check.json").read_text())["errors"]["fine"]
    assert check(monkeypatch, "fine", "--device", "cpu", "--out", tmp_path) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_section_runs_on_a_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert check(monkeypatch, "--device", "cpu", "--tiny", "--out", tmp_path) == 0
