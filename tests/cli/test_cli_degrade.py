"""`facesr degrade` on the command line."""

import json
from pathlib import Path
from typing import NoReturn

import pytest

from facesr.config.build import build
from facesr.config.steps import PRESETS, Degradation
from facesr.errors import ImageError
from tests.conftest import Run


@pytest.mark.parametrize("preset", PRESETS)
def test_a_printed_configuration_reloads_as_it_is(run: Run, tmp_path: Path, preset: str) -> None:
    printed = run("degrade", "--preset", preset, "--print-config", "--seed", "5")
    assert printed.exit_code == 0
    (tmp_path / "c.toml").write_text(printed.stdout)
    assert run("degrade", "--config", tmp_path / "c.toml", "--print-config").stdout == printed.stdout


def test_set_overrides_a_step_of_the_preset(run: Run) -> None:
    import tomllib

    result = run("degrade", "--set", "degradation.steps.jpeg_1.quality=[10,20]", "--print-config")
    config = build(Degradation, tomllib.loads(result.stdout)["degradation"])
    assert config.steps["jpeg_1"].quality == (10, 20)  # type: ignore[union-attr]
    assert "blur_1" in config.steps


def test_steps_of_a_file_replace_the_preset(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[degradation.steps.only]\nkind = 'fit'\nto = 'lq'\n")
    result = run("degrade", "--config", path, "--print-config")
    assert "steps.only" in result.stdout
    assert "blur_1" not in result.stdout
    path.write_text("[degradation.steps.only]\nto = 'lq'\n")
    assert "step `only` has no `kind`" in run("degrade", "--config", path, "--print-config").stderr
    new = "degradation.steps.only.kind=fit"
    assert "steps.only" in run("degrade", "--config", path, "--set", new, "--print-config").stdout
    result = run("degrade", "--config", path, "--preset", "gfpgan", "--print-config")
    assert result.exit_code == 2
    assert "both a preset and a file with degradation steps" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "no HQ folder given"),
        (["nowhere", "lq"], "no such file or folder: nowhere"),
        (["docs/images", "lq", "--replay", "nowhere"], "no such file or folder: `--replay nowhere`"),
        (["--preset", "bsrgan"], "bsrgan"),
        (["--set", "degradation.steps.jpeg_1.kwality=1", "--print-config"], "jpeg_1.kwality"),
        (["--set", "degradation.steps.jpeg_1.quality=[9,1]", "--print-config"], "jpeg_1.quality"),
        (["--set", "degradation.steps.blur1.sigma=[1,2]", "--print-config"], "step `blur1` has no `kind`"),
        (
            ["--set", "degradation.steps.blur1.sigma=[1,2]", "--print-config"],
            "the others are blur_1, resize_1,",
        ),
        (["--set", "degradation.steps=3", "--print-config"], "`degradation.steps`"),
        (["--set", "degradation=3", "--print-config"], "`degradation`"),
    ],
)
def test_usage_errors(run: Run, arguments: list[str], part: str) -> None:
    result = run("degrade", *arguments)
    assert result.exit_code == 2
    assert part in result.stderr
    assert "Traceback" not in result.output


def test_results_on_stderr_as_json_and_as_paths(run: Run, faces: Path, tmp_path: Path) -> None:
    (faces / "bad.png").write_text("no")
    result = run("degrade", faces, tmp_path / "lq")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert f"3 written, 0 skipped, 1 failed to {tmp_path / 'lq'}" in result.stderr
    assert "cropped to multiples of 4 px" in result.stderr
    again = run("degrade", faces, tmp_path / "lq").stderr
    assert f"0 written, 3 skipped (`--overwrite` redoes them), 1 failed to {tmp_path / 'lq'}" in again
    document = json.loads(run("degrade", faces, tmp_path / "lq", "--json").stdout)
    assert len(document["skipped"]) == 3
    assert document["failed"][0]["reason"] == "not an image in a known format"
    paths = run("degrade", faces, tmp_path / "lq", "-q", "--overwrite").stdout.split()
    assert paths == [str(tmp_path / "lq" / f"{index}.png") for index in range(3)]
    result = run("degrade", faces, "--preview", tmp_path / "sheet.png")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"preview in {tmp_path / 'sheet.png'}" in result.stderr


def test_the_hint_of_several_failures_is_given_once(
    run: Run, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> NoReturn:
        raise ImageError("is wrong", file=path, hint=hints[path.name])

    monkeypatch.setattr("facesr.degradation.degrade_files.read_image", refuse)
    hints = {"0.png": "", "1.png": "mend it", "2.png": "mend it"}
    result = run("degrade", faces, tmp_path / "lq", "--json")
    assert result.exit_code == 1
    errors = [f"error: {faces / name}: is wrong" for name in hints]
    assert result.stderr.splitlines()[:4] == [*errors, "hint: mend it"]
    assert result.stderr.count("hint: ") == 1
    assert {Path(one["file"]).name: one["hint"] for one in json.loads(result.stdout)["failed"]} == hints
