"""What the documents say is true."""

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from facesr.cli.app import app
from facesr.config.fields import leaves
from facesr.config.steps import degradation_preset
from facesr.config.train import TrainConfig
from facesr.images.read import read_image
from facesr.version import __version__
from facesr.weights.find import BUNDLED
from tests.conftest import Run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = load(ROOT / "docs" / "make_reference.py")


def commands() -> set[str]:
    return {info.name or info.callback.__name__ for info in app.registered_commands if info.callback}


def test_the_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == REFERENCE.render(), "run `python docs/make_reference.py`"


def test_every_command_and_model_is_in_the_readme() -> None:
    assert len(README.splitlines()) <= 150
    for name in commands():
        assert f"facesr {name}" in README
    for name in BUNDLED:
        assert f"`{name}`" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_use_commands_and_options_that_exist(page: Path, run: Run) -> None:
    for block in re.findall(r"```(?:bash|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|", line.split("#")[0]):
                words = shlex.split(part)
                if words[:1] != ["facesr"] or len(words) < 2 or words[1].startswith("-"):
                    continue
                assert words[1] in commands(), line
                known = run(words[1], "--help").output
                for word in words[2:]:
                    if word.startswith("-") and word != "-":
                        assert re.search(rf"(?<![\w-]){re.escape(word.split('=')[0])}(?![\w-])", known), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_example_has_pictures() -> None:
    for path in (ROOT / "docs" / "example").iterdir():
        assert max(read_image(path).size) <= 128


def test_licences_and_changelog_match_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0 AND BSD-3-Clause AND CC-BY-NC-SA-4.0 AND MIT"
    known = (
        "Apache License",
        "NonCommercial",
        "MIT License",
        "Redistribution and use in source and binary forms",
    )
    for name, words in zip(project["license-files"], known, strict=True):
        assert words in (ROOT / name).read_text(encoding="utf-8")
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_keys_for_those_who_come_from_elsewhere_exist() -> None:
    page = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
    steps = {
        f"{name}.{key}"
        for name, step in degradation_preset("real-esrgan").steps.items()
        for key in vars(step)
    }
    known = steps | {leaf.key for leaf in leaves(TrainConfig)}
    theirs = {"network_g", "datasets", "path", "optim_g", "scheduler", "pixel_opt", "degradation"}
    dotted = set(re.findall(r"`([a-z_0-9]+\.[a-z_.0-9]+)`", page))
    ours = {word for word in dotted if word.split(".")[0] not in theirs and not word.endswith(".py")}
    assert len(ours) > 20
    assert ours <= known


def test_every_key_is_explained() -> None:
    for config in REFERENCE.COMMANDS.values():
        for leaf in leaves(config):
            assert leaf.option is not None, leaf.key
