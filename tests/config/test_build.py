"""Configurations: merged by precedence, validated once, errors that name the key."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesr.config.build import build, merge, nest, parse_override, read_toml
from facesr.config.degrade import DegradeConfig
from facesr.config.fields import Config
from facesr.config.train import TrainConfig
from facesr.config.upscale import UpscaleConfig
from facesr.errors import ConfigError

BASE = {"inputs": ["a"], "output": "o"}


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a=1", {"a": 1}),
        ("a.b=1e-4", {"a": {"b": 1e-4}}),
        ("a.b=[0.9, 0.99]", {"a": {"b": [0.9, 0.99]}}),
        ("a=word", {"a": "word"}),
        ("a=x=y", {"a": "x=y"}),
        ("a=true", {"a": True}),
        ("a='quoted'", {"a": "quoted"}),
        ("a=", {"a": ""}),
    ],
)
def test_an_override_is_toml_or_a_bare_word(text: str, tree: object) -> None:
    assert parse_override(text) == tree


@pytest.mark.parametrize("text", ["", "a", "=1", "a..b=1", ".=2"])
def test_a_malformed_override_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot read `--set"):
        parse_override(text)


keys = st.text("abc", min_size=1, max_size=2)
trees = st.recursive(st.integers(), lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=6)


@given(st.dictionaries(keys, trees), st.dictionaries(keys, trees))
def test_merging_keeps_the_later_value_and_changes_neither(left: dict, right: dict) -> None:
    before = (repr(left), repr(right))
    merged = merge([left, right])
    assert (repr(left), repr(right)) == before
    assert merge([merged, right]) == merged
    assert merged.keys() == left.keys() | right.keys()
    for key, value in right.items():
        if not isinstance(value, dict):
            assert merged[key] == value


def test_every_offender_is_named_by_its_dotted_key() -> None:
    tree = merge([BASE, nest("runtime.batch", -1), nest("runtime.speed", 3), {"quality": 101}])
    with pytest.raises(ConfigError) as caught:
        build(UpscaleConfig, tree, source="run.toml")
    assert caught.value.exit_code == 2
    for part in ("run.toml", "`runtime.batch`", "unknown key `runtime.speed`", "`quality`", "101"):
        assert part in str(caught.value)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="`output` is missing"):
        build(UpscaleConfig, {"inputs": ["a"]})


def test_text_from_the_command_line_becomes_numbers() -> None:
    config = build(UpscaleConfig, merge([BASE, nest("runtime.batch", "8")]))
    assert config.runtime.batch == 8
    assert config.inputs == (Path("a"),)


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    with pytest.raises(ConfigError, match=r"no such configuration file: .*run\.toml"):
        read_toml(path)
    path.write_text("a = ")
    with pytest.raises(ConfigError, match=r"run\.toml is not valid TOML"):
        read_toml(path)
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match=r"run\.toml is not valid TOML"):
        read_toml(path)
    with pytest.raises(ConfigError, match=r"^cannot read [^:]*: [^\[]+$"):  # a folder, without Python's words
        read_toml(tmp_path)


@pytest.mark.parametrize(
    ("config", "tree"),
    [
        (TrainConfig, {"data": {"zoom": [0, 0]}}),
        (TrainConfig, {"data": {"zoom": [1.2, 0.8]}}),
        (DegradeConfig, {"hq": "hq", "size_px": 10**9}),
        (TrainConfig, {"data": {"zoom": [1, float("inf")]}}),
        (TrainConfig, {"optim": {"learning_rate": float("inf")}}),
        (TrainConfig, {"optim": {"learning_rate": "inf"}}),
        (DegradeConfig, {"degradation": {"steps": {"a": {"kind": "noise", "sigma": [0, float("inf")]}}}}),
        (DegradeConfig, {"degradation": {"steps": {"a": {"kind": "noise", "sigma": [0, 1e300]}}}}),
        (DegradeConfig, {"degradation": {"steps": {"a": {"kind": "jpeg", "quality": [1e-300, 1]}}}}),
        (DegradeConfig, {"degradation": {"steps": {"a": {"kind": "resize", "scale": [0.2, float("nan")]}}}}),
    ],
)
def test_numbers_that_cannot_work_are_refused(config: type[Config], tree: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build(config, tree)
