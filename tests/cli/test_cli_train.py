"""`facesr train` on the command line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from facesr.config.build import build, read_toml
from facesr.config.steps import Degradation, Fit, degradation_preset
from facesr.config.train import TrainConfig
from tests.conftest import Run, noise


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.fromarray(noise(48, 48, seed=index)).save(tmp_path / name / f"{index}.png")
    (tmp_path / "lq").mkdir()
    for index in range(2):
        Image.fromarray(noise(12, 12, seed=index)).save(tmp_path / "lq" / f"{index}.png")
    options = {
        "--recipe": "smoke", "--blocks": "1", "--set": "features=8", "--crop": "32", "--device": "cpu",
        "--train-hq": tmp_path / "train", "--val-hq": tmp_path / "val", "--val-lq": tmp_path / "lq",
        "--iterations": "2",
    }  # fmt: skip
    return ["train", *(str(word) for pair in options.items() for word in pair), "--set", "data.workers=0"]


def test_a_run_is_summed_up(run: Run, arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run(*arguments, "--out", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "warning: on this CPU 2 steps take about" in result.stderr
    assert "2 steps done, best " in result.stderr
    assert f"over bicubic) in {out / 'best'}" in result.stderr
    again = run(*arguments, "--out", out)
    assert again.exit_code == 2
    assert f"hint: continue with `--resume {out}`" in again.stderr
    document = json.loads(run("train", "--resume", out, "--json").stdout)
    assert (document["step"], document["run"]) == (2, str(out))
    assert run("train", "--resume", out, "-q").stdout.strip() == str(out / "best")


@pytest.mark.parametrize("option", ["--recipe=smoke", "--init=faceunet", "--out=elsewhere"])
def test_a_resumed_run_takes_nothing_that_it_would_not_use(
    option: str, run: Run, arguments: list[str], tmp_path: Path
) -> None:
    run(*arguments, "--out", tmp_path / "run")
    result = run("train", "--resume", tmp_path / "run", option)
    assert result.exit_code == 2
    assert f"`{option.partition('=')[0]}` cannot be combined with `--resume`" in result.stderr


def test_a_configuration_file_resumes_too(run: Run, arguments: list[str], tmp_path: Path) -> None:
    run(*arguments, "--out", tmp_path / "run")
    (tmp_path / "go on.toml").write_text(f"resume = '{tmp_path / 'run'}'\niterations = 3\n")
    result = run("train", "--config", tmp_path / "go on.toml")
    assert result.exit_code == 0, result.stderr
    assert "3 steps done" in result.stderr


def degradations_of(run_folder: Path) -> dict[str, Degradation]:
    return dict(build(TrainConfig, read_toml(run_folder / "config.toml")).data.degradations)


def test_a_value_said_for_a_preset_changes_that_alone(run: Run, arguments: list[str], tmp_path: Path) -> None:
    sigma = "data.degradations.mild.steps.noise_1.sigma=[1,2]"
    out = tmp_path / "run"
    result = run(*arguments, "--out", out, "--degradation", "mild", "--degradation", "clean", "--set", sigma)
    assert result.exit_code == 0, result.stderr
    preset = degradation_preset("mild")
    changed = replace(
        preset, steps={**preset.steps, "noise_1": replace(preset.steps["noise_1"], sigma=(1, 2))}
    )
    expected = {"mild": changed, "clean": degradation_preset("clean")}
    assert degradations_of(out) == expected
    # What the run has learnt from stays beneath values that are said when it goes on.
    quality = "data.degradations.mild.steps.jpeg_1.quality=[90,95]"
    assert run("train", "--resume", out, "--iterations", "3", "--set", quality).exit_code == 0
    steps = {**changed.steps, "jpeg_1": replace(preset.steps["jpeg_1"], quality=(90, 95))}
    assert degradations_of(out) == {**expected, "mild": replace(preset, steps=steps)}


def test_a_value_said_brings_no_step_of_a_preset_back(run: Run, arguments: list[str], tmp_path: Path) -> None:
    file, out = tmp_path / "mine.toml", tmp_path / "run"
    file.write_text("[data.degradations.mild.steps.fit]\nkind = 'fit'\nto = 'lq'\n")
    area, bicubic = (f"data.degradations.mild.steps.fit.modes=['{mode}']" for mode in ("area", "bicubic"))
    result = run(*arguments, "--out", out, "--config", file, "--degradation", "mild", "--set", area)
    assert result.exit_code == 0, result.stderr
    assert degradations_of(out)["mild"].steps == {"fit": Fit(to="lq", modes=("area",))}
    assert run("train", "--resume", out, "--iterations", "3", "--set", bicubic).exit_code == 0
    assert degradations_of(out)["mild"].steps == {"fit": Fit(to="lq", modes=("bicubic",))}


def test_quiet_prints_what_is_there(run: Run, arguments: list[str], tmp_path: Path) -> None:
    result = run(*arguments, "--out", tmp_path / "run", "-q", "--set", "validate_every=0")
    assert Path(result.stdout.strip()) == tmp_path / "run"


def test_any_whole_number_is_a_seed(run: Run, arguments: list[str], tmp_path: Path) -> None:
    assert run(*arguments, "--out", tmp_path / "a", "--seed", str(10**30)).exit_code == 0
    assert run(*arguments, "--out", tmp_path / "b", "--seed", "-3").exit_code == 0


def test_processes_that_cannot_meet_are_one_error(
    run: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    result = run(*arguments, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "cannot connect to the other processes" in result.stderr
    assert "torchrun" in result.stderr
    halves = run(*arguments, "--out", tmp_path / "run", "--batch", "6", "--set", "optim.accumulate=2")
    assert "batch 6 does not divide among 2 processes in 2 parts each" in halves.stderr


def test_without_out_the_run_is_named_by_arch_and_time(
    run: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments).exit_code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("msrresnet-20")


@pytest.mark.parametrize(
    ("extra", "part"),
    [
        (["--recipe", "none"], "no recipe `none`"),
        (["--train-hq", "nowhere"], "no folder nowhere for the training images"),
        (["--arch", "swinir"], "swinir"),
        (["--batch", "0"], "`--batch`: expected a whole number of at least 1, found 0"),
        (["--set", "batch=0"], "`batch`: expected a whole number of at least 1, found 0"),
        (["--set", "optim.speed=1"], "unknown key `optim.speed`"),
        (["--set", "optim.betas=[1.0, 0.9]"], "`optim.betas.0`: expected a number below 1, found 1.0"),
        (["--set", "args.depth=1"], "no argument `depth`"),
        (["--set", "optim.accumulate=3"], "batch 4 does not divide into 3 parts"),
        (["--set", "optim.periods=[1]"], "end before the last iteration"),
        (
            ["--set", "data.degradations.default.steps.blur1.sigma=[1,2]"],
            "`data.degradations.default.steps`: step `blur1` has no `kind`",
        ),
        (["--degradation", "none"], "no degradation `none`"),
        (["--train-share", "1", "--train-share", "2"], "1 --train-hq but 2 --train-share"),
        (["--resume", "nowhere"], "`--resume nowhere` is not a run folder (no `config.toml` in it)"),
        (["--resume", "README.md"], "`--resume README.md` is not a run folder (no `config.toml` in it)"),
        (["--init", "nothing"], "no model `nothing`"),
        (
            ["--device", "tpu"],
            "`--device`: expected auto, cpu, cuda or mps, or cuda with a number",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_errors(run: Run, arguments: list[str], extra: list[str], part: str, tmp_path: Path) -> None:
    result = run(*arguments, "--out", tmp_path / "run", *extra)
    assert result.exit_code == 2, result.output
    assert part in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()
