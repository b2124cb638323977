"""What the documents say is true."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

from facesr.cli.app import app
from facesr.config.fields import leaves
from facesr.config.steps import degradation_preset
from facesr.config.train import TrainConfig
from facesr.images.read import read_image
from facesr.version import __version__
from facesr.weights.find import BUNDLED, find_model

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PARSERS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = load(ROOT / "docs" / "make_reference.py")


def test_the_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == REFERENCE.render(), "run `python docs/make_reference.py`"


def test_every_command_and_model_is_in_the_readme() -> None:
    assert len(README.splitlines()) <= 150
    for name in PARSERS:
        assert f"facesr {name}" in README
    for name in BUNDLED:
        assert f"`{name}`" in README


def examples(page: Path) -> Iterator[list[str]]:
    """Give the words of each `facesr` command of a page, in blocks and within sentences."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:bash|console)\n(.*?)```", text, re.DOTALL)
    lines = [line.split("#")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"`(facesr [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for part in (part for line in lines + spans for part in re.split(r"&&|[|<>]", line)):
        words = shlex.split(part)
        if words[:1] == ["facesr"] and len(words) > 1 and not words[1].startswith("-"):
            yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_parser_accepts_every_example(page: Path) -> None:
    for name, *words in examples(page):
        assert name in PARSERS, name
        parser = PARSERS[name].make_parser(PARSERS[name].context_class(PARSERS[name]))
        assert parser.parse_args(words)[1] == [], f"too many arguments in {words}"


def test_options_for_those_who_come_from_elsewhere_exist() -> None:
    page = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\|.*?[^\\]\|(.*)\|$", page, re.MULTILINE)
    ours = re.findall(r"`(--[a-z-]+)", "\n".join(cells))
    known = {option for parser in PARSERS.values() for param in parser.params for option in param.opts}
    assert len(ours) > 20
    assert set(ours) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\((\w+\.md)\)", index))


def test_the_long_description_needs_no_files_beside_it() -> None:
    pytest.importorskip("hatchling", reason="needs the tests' own requirements")
    render = load(ROOT / "docs" / "long_description.py").render
    alone, linked = render(README, ""), render(README, "https://example.org/facesr")
    assert len(alone) > 4000
    for text in (alone, linked):
        assert not re.findall(r"\]\((?!https://|#)", text)
    assert "![" not in alone
    for target in re.findall(r"!\[[^]]*\]\((docs/[^)]+)", README):
        assert f"https://example.org/facesr/raw/HEAD/{target}" in linked
    assert "(https://example.org/facesr/blob/HEAD/LICENSE)" in linked


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


@pytest.mark.parametrize("name", BUNDLED)
def test_the_tables_repeat_the_scores_that_come_with_each_model(name: str) -> None:
    config = find_model(name).config
    assert config is not None
    title = f"`{name}` at {config.sharpness:g}" if config.base else f"`{name}`"
    for page, row in {
        README: [f"{score.psnr:.2f}" for score in config.scores],
        (ROOT / "docs" / "models.md").read_text(encoding="utf-8"): [
            f"{score.gain:+.2f} ({score.gain_low:+.2f} to {score.gain_high:+.2f})" for score in config.scores
        ],
    }.items():
        rows = [line for line in page.splitlines() if re.match(rf"\| {title}( \(default\))? \|", line)]
        assert rows
        assert " | ".join(row) in rows[0]
