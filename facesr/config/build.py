"""Turns TOML files, overrides and options into one validated configuration."""

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from facesr.config.explain import explain
from facesr.config.fields import Config, expand_home, leaves
from facesr.errors import ConfigError, reason_of, shorten

T = TypeVar("T", bound=Config)
Tree = dict[str, Any]


def read_toml(path: Path) -> Tree:
    """Read a TOML file.

    Raises:
        ConfigError: The file cannot be read, or is not valid TOML.
    """
    try:
        return tomllib.loads(expand_home(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = "give an existing file with `--config`"
        raise ConfigError(f"no such configuration file: {path}", hint=hint) from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {reason_of(error)}", hint="name a TOML file") from error
    except (ValueError, RecursionError) as error:  # the latter from a thousand brackets
        raise ConfigError(f"{path} is not valid TOML: {error}", hint="see https://toml.io") from error


def is_file(name: str) -> bool:
    """Return whether a file of this name exists. A name that is too long is not an error, just False."""
    try:
        return expand_home(Path(name)).is_file()
    except OSError:
        return False


def parse_override(text: str) -> Tree:
    """Turn `a.b=VALUE` into `{"a": {"b": VALUE}}`. VALUE is TOML, or a bare word that becomes a string."""
    key, equals, raw = text.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise ConfigError(f"cannot read `--set {text[:100]}`", hint="write it as `--set section.key=value`")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (ValueError, RecursionError):
        value = raw.strip()
    return nest(key.strip(), value)


def nest(key: str, value: Any) -> Tree:
    """Return a tree with `value` at the dotted `key`: nested dictionaries, one for each part."""
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def merge(trees: Iterable[Mapping[str, Any]]) -> Tree:
    """Merge trees into a new one. Later values replace earlier ones, and tables merge key by key."""
    merged: Tree = {}
    for tree in trees:
        for key, value in tree.items():
            known = merged.get(key)
            both = isinstance(known, dict) and isinstance(value, Mapping)
            merged[key] = merge([known, value]) if both and known is not None else value
    return merged


def build(
    cls: type[T],
    tree: Mapping[str, Any],
    *,
    source: str = "",
    names: Mapping[str, str] | None = None,
    hint: str = "",
) -> T:
    """Validate a tree and return the configuration, resolved.

    Args:
        cls: Class of the configuration.
        tree: Nested plain values, as parsed from TOML or JSON.
        source: File that the tree came from, for error messages.
        names: What the user typed for some dotted keys, such as `--batch` for `runtime.batch`.
        hint: What to do about a wrong value.

    Raises:
        ConfigError: An unknown key or a wrong value. The message names every such key once.
    """
    from pydantic import TypeAdapter, ValidationError  # 0.1 s, which --help need not pay

    tree = cls.translated(tree)
    try:
        config = TypeAdapter(cls).validate_python(dict(tree))
    except ValidationError as error:
        problems = shorten(explain(error.errors(), tree, names or {}, list(leaves(cls))))
        raise ConfigError(f"{source}: {problems}" if source else problems, hint=hint) from None
    return config.resolved()


def dump(config: Config) -> str:
    """Return a configuration as TOML that `build` reads back. Keys without a value are left out."""
    import tomli_w

    return tomli_w.dumps(_plain(dataclasses.asdict(config)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
