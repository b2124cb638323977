"""`pytest -m cuda` starts where PyTorch, facesr's dependencies and pytest are, and nothing else is."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import OPTIONAL, pytest_cmdline_main

ROOT = Path(__file__).parents[1]


def test_no_module_is_skipped_where_all_tests_run() -> None:
    missing = [name for name in sorted(OPTIONAL) if find_spec(name) is None]
    assert missing == [], "run `pip install -e '.[dev]'`"


def test_the_tests_for_cuda_start_without_plug_ins_and_optional_packages(tmp_path: Path) -> None:
    for name in OPTIONAL:  # stands for a package that is not installed
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('not installed', name={name!r})")
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(tmp_path)}
    environment.pop("PYTEST_ADDOPTS", None)  # may name options of a plug-in
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "--collect-only", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    paths = [path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.cuda" in path.read_text()]
    paths.remove(Path(__file__))
    assert len(paths) > 5
    for path in paths:
        assert f"{path.relative_to(ROOT).as_posix()}::" in done.stdout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"randomly_seed": "default"}, {"randomly_seed": 2026}),
        ({"numprocesses": None, "dist": "no"}, {"numprocesses": 2, "dist": "worksteal"}),
        ({"numprocesses": 0, "dist": "load"}, {"numprocesses": 0, "dist": "load"}),
    ],
)
def test_options_of_plug_ins_have_defaults_where_they_exist(
    options: dict[str, object], expected: dict[str, object]
) -> None:
    config = SimpleNamespace(option=SimpleNamespace(**options))
    pytest_cmdline_main(config)  # type: ignore[arg-type]
    assert vars(config.option) == expected


def test_a_worker_process_starts_no_workers_of_its_own() -> None:
    config = SimpleNamespace(option=SimpleNamespace(numprocesses=None), workerinput={})
    pytest_cmdline_main(config)  # type: ignore[arg-type]
    assert config.option.numprocesses is None
