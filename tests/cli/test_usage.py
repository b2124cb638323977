"""Mistakes in how a command is called: one line that says what is wrong, one that says what to write."""

import os
import subprocess
import sys

import pytest

from facesr.cli.usage import _CALLED_HERE, is_usage_error
from facesr.errors import ConfigError
from tests.conftest import Run


@pytest.mark.parametrize(
    ("arguments", "error", "command"),
    [
        (["nonsense"], "no such command `nonsense`", "facesr"),
        (["upscal"], "no such command `upscal`. Did you mean `upscale`?", "facesr"),
        (["--bogus"], "no such option: `--bogus`", "facesr"),
        (["--"], "missing command", "facesr"),
        (["upscale", "a", "b", "--bogus"], "no such option: `--bogus`", "facesr upscale"),
        (["upscale", "--bogus"], "no such option: `--bogus`", "facesr upscale"),
        (
            ["upscale", "a", "b", "--batc", "3"],
            "no such option: `--batc` (Possible options: `--batch`, `--faces`)",
            "facesr upscale",
        ),
        (["upscale", "a", "b", "--model"], "option `--model` requires an argument", "facesr upscale"),
        (["degrade", "--strict=3"], "option `--strict` does not take a value", "facesr degrade"),
        (["eval", "a"], "got unexpected extra argument(s) (a)", "facesr eval"),
        (["train", "--set"], "option `--set` requires an argument", "facesr train"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_an_error_and_a_hint_that_names_the_help(
    run: Run, arguments: list[str], error: str, command: str
) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [f"error: {error}", f"hint: see `{command} --help`"]


@pytest.mark.parametrize("option", sorted(_CALLED_HERE))
def test_an_option_of_another_tool_is_named_as_it_is_called_here(run: Run, option: str) -> None:
    result = run("upscale", "a", "b", option, "x")
    assert result.exit_code == 2
    hint = f"hint: use `{_CALLED_HERE[option]}`, see `facesr upscale --help`"
    assert result.stderr.splitlines()[1] == hint
    assert run("models", "a", option, "x").stderr.splitlines()[1] == "hint: see `facesr models --help`"


@pytest.mark.parametrize(
    ("arguments", "ours"),
    [
        (["upscale", "-i", "in", "-o", "out"], "facesr upscale INPUT... OUTPUT"),
        (["train", "--best-by", "niqe"], "--set best_by=VALUE"),
        (["train", "--warmup=3"], "--set optim.warmup=VALUE"),
        (["train", "--learning-rate", "1e-4"], "--lr"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_arguments_and_keys_given_as_options_are_shown_as_they_are_written(
    run: Run, arguments: list[str], ours: str
) -> None:
    hint = run(*arguments).stderr.splitlines()[1]
    assert hint == f"hint: use `{ours}`, see `facesr {arguments[0]} --help`"


@pytest.mark.parametrize(
    ("arguments", "missing", "usage"),
    [
        (["upscale"], "arguments `INPUT` and `OUTPUT`", "INPUT... OUTPUT"),
        (["upscale", "in.jpg"], "argument `OUTPUT`", "INPUT... OUTPUT"),
        (["upscale", "--batch", "3", "in.jpg", "-r"], "argument `OUTPUT`", "INPUT... OUTPUT"),
        (["export"], "arguments `MODEL` and `OUTPUT`", "MODEL OUTPUT"),
        (["export", "faceunet"], "argument `OUTPUT`", "MODEL OUTPUT"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_values_count_from_the_left_and_the_hint_says_what_to_write(
    run: Run, arguments: list[str], missing: str, usage: str
) -> None:
    command = f"facesr {arguments[0]}"
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        f"error: missing {missing}",
        f"hint: write `{command} {usage}`, see `{command} --help`",
    ]


def test_only_typers_own_errors_are_usage_errors() -> None:
    assert not is_usage_error(ConfigError("of ours"))
    assert not is_usage_error(SystemExit(2))


def test_debugging_leaves_usage_errors_as_they_are(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESR_DEBUG", "1")
    assert run("upscale").stderr.startswith("error: missing arguments")


def test_debugging_is_off_at_0(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESR_DEBUG", "0")
    assert run("upscale", "nowhere", "out").stderr.startswith("error: no such file")


def as_a_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    known = {**os.environ, **environment}
    return subprocess.run(command, env=known, capture_output=True, text=True, timeout=60, check=False)


def test_a_process_answers_alike() -> None:
    done = as_a_process("-m", "facesr", "upscale", "in.jpg")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "error: missing argument `OUTPUT`"
    done = as_a_process("-m", "facesr", "upscale", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage:" in done.stdout


@pytest.mark.parametrize(
    ("words", "position", "found"),
    [
        ("facesr ev", 1, ["eval"]),
        ("facesr upscale --form", 2, ["--format"]),
        ("facesr upscale --format p", 3, ["png"]),
        ("facesr eval --metric l", 3, ["lpips"]),
        ("facesr upscale --bogus ", 3, []),
    ],
)
def test_the_shell_completes_commands_options_and_choices(
    words: str, position: int, found: list[str]
) -> None:
    environment = {"_FACESR_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    done = as_a_process("-c", "from facesr.cli.app import app; app(prog_name='facesr')", **environment)
    assert (done.stdout.split(), done.stderr) == (found, "")
