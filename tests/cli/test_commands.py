"""What a person or a script sees: stdout, stderr, exit codes, precedence."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image

import facesr
from facesr.cli.app import Terminated
from facesr.images.read import read_image
from facesr.weights.find import BUNDLED, bundled_models
from tests.conftest import Run, needs_posix, noise


def test_version(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"facesr {facesr.__version__}\n")


def test_no_arguments_show_the_help(run: Run) -> None:
    assert "upscale" in run().output


@pytest.mark.parametrize("command", ["upscale", "eval", "train", "degrade", "models", "export"])
def test_every_command_has_a_summary_and_examples(run: Run, command: str) -> None:
    result = run(command, "-h")
    assert result.exit_code == 0
    assert result.output.count(f"facesr {command}") >= 3


@pytest.mark.usefixtures("hub_cache")
def test_models_as_a_table_json_or_names(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table = run("models").stdout
    for model in bundled_models():
        assert model.name in table
        assert all(re.search(rf"{score.dataset} +[+]{score.gain:.2f}\n", table) for score in model.scores)
    assert [model["name"] for model in json.loads(run("models", "--json").stdout)] == list(BUNDLED)
    assert run("models", "-q").stdout.split() == list(BUNDLED)


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("width", [24, 40, 60, 72, 79, 80, 120])
def test_numbers_stay_whole_on_a_terminal_of_any_width(
    width: int, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("hq", "a_folder_of_results_with_a_long_name"):
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.fromarray(noise(16, 16, seed=index + len(name))).save(tmp_path / name / f"{index}.png")
    monkeypatch.setenv("COLUMNS", str(width))
    table = run("models").stdout
    expected = [f"{model.parameters / 1e6:.2f} M" for model in bundled_models()]
    expected += [f"{score.gain:+.2f}" for model in bundled_models() for score in model.scores]
    arguments = ("eval", "--hq", tmp_path / "hq", "--sr", tmp_path / "a_folder_of_results_with_a_long_name")
    table += run(*arguments).stdout
    for metric in json.loads(run(*arguments, "--json").stdout)["summaries"].values():
        for name, digits in (("psnr", 2), ("ssim", 4)):
            expected += [f"{metric[name][key]:.{digits}f}" for key in ("mean", "low", "high", "median")]
    for number in expected:
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", table), number
    assert max(map(len, table.splitlines())) <= width


def test_upscale_says_what_it_did_on_stderr(run: Run, faces: Path, tiny_folder: Path, tmp_path: Path) -> None:
    result = run("upscale", faces, tmp_path / "out", "-m", tiny_folder, "-d", "cpu")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"3 written, 0 skipped, 0 failed to {tmp_path / 'out'} at " in result.stderr
    assert "images/s with tiny on cpu (float32)" in result.stderr
    result = run("upscale", faces, tmp_path / "out", "-m", tiny_folder)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "0 written, 3 skipped (`--overwrite` redoes them), 0 failed, all results are" in result.stderr


def test_json_and_quiet_give_data_alone(run: Run, faces: Path, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    document = json.loads(run("upscale", faces, out, "-m", tiny_folder, "-d", "cpu", "--json").stdout)
    assert sorted(document["written"]) == [str(out / f"{index}.png") for index in range(3)]
    assert document["failed"] == document["skipped"] == []
    assert document["images_per_second"] > 0
    result = run("upscale", faces, out, "-m", tiny_folder, "-d", "cpu", "--overwrite", "-q")
    assert sorted(result.stdout.split()) == sorted(document["written"])
    assert result.stderr == ""


def test_exit_codes_of_partial_and_total_failure(
    run: Run, faces: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    (faces / "broken.png").write_text("no picture")
    arguments = ("-m", tiny_folder, "-d", "cpu")
    result = run("upscale", faces, tmp_path / "out", *arguments)
    assert result.exit_code == 3
    assert f"error: {faces / 'broken.png'}: not an image in a known format" in result.stderr
    assert "3 written, 0 skipped, 1 failed" in result.stderr
    result = run("upscale", faces / "broken.png", tmp_path / "out", *arguments, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["failed"][0]["file"] == str(faces / "broken.png")
    assert result.stderr.splitlines()[-1] == "0 written, 0 skipped, 1 failed"  # no speed of nothing


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nowhere"], ["error: no such file or folder: nowhere"]),
        (["-m", "nothing"], ["error: no model `nothing`", "hint: use one of faceunet, "]),
        (["--batch", "none"], ["`--batch`: expected a whole number, or auto, found none"]),
        (["--batch", "0"], ["`--batch`: expected a whole number of at least 1, or auto, found 0"]),
        (
            ["--device", "tpu"],
            ["`--device`: expected auto, cpu, cuda or mps, or cuda with a number"],
        ),
        (["--quality", "x"], ["`--quality`: expected a whole number, found x"]),
        (["--format", "gif"], ["`--format`: expected auto, png, jpg, webp, tiff or avif, found gif"]),
        (["--format", "GIF"], ["`--format`: expected auto, png, jpg, webp, tiff or avif, found GIF"]),
        (["--name", "{stem}_{size}"], ["`--name {stem}_{size}` has the unknown placeholder {size}"]),
        (["--name", "face"], ["`--name face` needs {stem} in it"]),
        (["--json", "--quiet"], ["exclude each other"]),
        (["--set", "runtime.colour=1"], ["unknown key `runtime.colour`"]),
        (["--set", "oops"], ["cannot read `--set oops`"]),
        (["--config", "nowhere.toml"], ["no such configuration file: nowhere.toml"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_usage_errors_are_two_lines_and_exit_2(
    run: Run, faces: Path, tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    result = run("upscale", faces, *arguments, tmp_path / "out")
    assert result.exit_code == 2
    assert result.stdout == ""
    for part in parts:
        assert part in result.stderr
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error", "hint"]
    assert not (tmp_path / "out").exists()


def test_a_format_has_other_names_in_options_and_files(
    run: Run, faces: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text("format = 'Tif'\n")
    for arguments, suffix in ((["--format", "JPEG"], ".jpg"), (["--config", tmp_path / "run.toml"], ".tiff")):
        result = run("upscale", faces, tmp_path / "out", *arguments, "-m", tiny_folder, "-d", "cpu", "-q")
        assert {Path(line).suffix for line in result.stdout.splitlines()} == {suffix}


def test_a_shard_without_pictures_says_so(run: Run, faces: Path, tiny_folder: Path, tmp_path: Path) -> None:
    result = run("upscale", faces, tmp_path / "out", "-m", tiny_folder, "--shard", "98/99")
    assert result.exit_code == 0
    assert "no images in this shard" in result.stderr


def test_unreadable_weights_exit_1(run: Run, faces: Path, tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes(b"nonsense")
    result = run("upscale", faces, tmp_path / "out", "-m", tmp_path / "net.safetensors", "-d", "cpu")
    assert result.exit_code == 1
    assert "net.safetensors: truncated or not a safetensors file" in result.stderr


def test_precedence_is_option_set_environment_file_default_and_errors_name_the_one(
    run: Run, faces: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(*arguments: object) -> tuple[str, str]:
        """Return the device that the command asked for and where, by the error that refuses it."""
        result = run("upscale", faces, tmp_path / "out", "-m", tiny_folder, *arguments)
        assert result.exit_code == 2
        message = result.stderr.splitlines()[0]
        return message.split("`")[1], message.split("found ")[1]

    (tmp_path / "run.toml").write_text("[runtime]\ndevice = 'from-file'\n")
    file = ("--config", tmp_path / "run.toml")
    assert chosen(*file) == ("runtime.device", "from-file")
    monkeypatch.setenv("FACESR_DEVICE", "from-environment")
    assert chosen(*file) == ("FACESR_DEVICE", "from-environment")
    override = ("--set", "runtime.device=from-set")
    assert chosen(*file, *override) == ("runtime.device", "from-set")
    assert chosen(*file, *override, "-d", "from-option") == ("--device", "from-option")


def test_progress_off_a_terminal_is_plain_lines(
    run: Run, faces: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesr.cli.progress.PLAIN_INTERVAL_S", 0.0)
    arguments = ("upscale", faces, tmp_path / "out", "-m", tiny_folder, "-d", "cpu", "--overwrite")
    assert "2/3 images, " in run(*arguments).stderr
    monkeypatch.setenv("FACESR_NO_PROGRESS", "0")
    assert "2/3 images, " in run(*arguments).stderr
    monkeypatch.setenv("FACESR_NO_PROGRESS", "1")
    assert "2/3 images" not in run(*arguments).stderr


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, Terminated])
@pytest.mark.parametrize(
    ("arguments", "workflow", "hint"),
    [
        (("upscale", "in", "out"), "upscale.upscale", "run the same command again to continue"),
        (("degrade", "hq", "lq"), "degrade.degrade", "run the same command again to continue"),
        (("train",), "train.train", "continue a run that has begun with `--resume` and its folder"),
        (
            ("eval", "--hq", "a", "--lq", "b"),
            "evaluate.evaluate",
            "nothing was saved. Run the same command again",
        ),
        (
            ("export", "a", "b.onnx"),
            "export.export",
            "nothing was saved. Run the same command again",
        ),
    ],
)
def test_a_stop_tells_what_the_next_run_makes_of_it(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    stop: type[BaseException],
    wrapped: bool,
    arguments: tuple[str, ...],
    workflow: str,
    hint: str,
) -> None:
    def stopped(*args: object) -> NoReturn:
        try:
            raise stop
        except BaseException as error:
            if wrapped:  # as Python's class creation does, in the midst of an import
                raise RuntimeError("a library's own") from error
            raise

    monkeypatch.setattr(f"facesr.workflows.{workflow}", stopped)
    word = "interrupted" if stop is KeyboardInterrupt else "terminated"
    assert run(*arguments).stderr.splitlines() == [f"error: {word}", f"hint: {hint}"]


@needs_posix
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_whole_files_and_the_next_run_finishes(
    sent: signal.Signals, code: int, tmp_path: Path, tiny_folder: Path
) -> None:
    faces, out = tmp_path / "faces", tmp_path / "out"
    faces.mkdir()
    for index in range(40):
        Image.fromarray(noise(96, 96, seed=index)).save(faces / f"{index}.png")
    command = [sys.executable, "-m", "facesr", "upscale", faces, out, "-m", "msrresnet-b20", "-d", "cpu"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    deadline = time.monotonic() + 60
    while not any(out.glob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(sent)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == code
    assert "Traceback" not in stderr
    assert "run the same command again to continue" in stderr
    written = list(out.iterdir())
    assert 0 < len(written) < 40
    for path in written:
        assert path.suffix == ".png"
        read_image(path)
    command[command.index("msrresnet-b20")] = str(tiny_folder)
    assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
    assert len(list(out.iterdir())) == 40
