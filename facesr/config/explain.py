"""Explains pydantic's validation errors in plain words, one problem for each key."""

import contextlib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from facesr.config.fields import Leaf

# What was found may be a whole book.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100

# By the first word of an error's type, such as `int_parsing`.
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "tuple": "a list",
    "dict": "a table",
    "mapping": "a table",
    "dataclass": "a table",
    "model": "a table",
}

_LIMITS = {
    "greater_than": "above {gt:g}",
    "greater_than_equal": "of at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "of at most {le:g}",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
}


def explain(
    errors: Iterable[Any], tree: Mapping[str, Any], names: Mapping[str, str], known: Sequence[Leaf]
) -> list[str]:
    """Return one problem for each key in pydantic's `ValidationError.errors()`.

    `names` is as in `build`. `known` are the fields among which an unknown key may have been meant.
    """
    # A field is also known by its option, such as `lr`, and one with an option is meant more often.
    shown = [leaf for leaf in known if leaf.is_shown]
    keys_by_word = {leaf.name: leaf.key for leaf in [*known, *shown]}
    keys_by_word |= {leaf.flag.lstrip("-"): leaf.key for leaf in shown}
    groups: dict[tuple[str, ...], list[Any]] = {}
    for error in errors:
        groups.setdefault(_locate(error, tree), []).append(error)
    return [_explain(keys, group, tree, names, keys_by_word) for keys, group in groups.items()]


def _locate(error: Any, tree: Any) -> tuple[str, ...]:
    # The location names branches of unions too. Only what leads on into the tree is a key.
    keys: list[str] = []
    for part in error["loc"]:
        with contextlib.suppress(LookupError, TypeError):
            tree = tree[part]
            keys.append(str(part))
    return (*keys, str(error["loc"][-1])) if error["type"].startswith("missing") else tuple(keys)


def _explain(
    keys: tuple[str, ...],
    errors: list[Any],
    tree: Any,
    names: Mapping[str, str],
    keys_by_word: Mapping[str, str],
) -> str:
    first = errors[0]
    name = _name(keys, names)
    if first["type"].startswith("missing"):
        return f"`{name}` is missing"
    if first["type"] == "unexpected_keyword_argument":
        close = get_close_matches(keys[-1], keys_by_word, n=1, cutoff=0.75)
        return f"unknown key `{name}`" + "".join(f", the closest is `{keys_by_word[word]}`" for word in close)
    if first["type"] == "union_tag_not_found":
        for key in keys[:-1]:
            tree = tree[key]
        known = [key for key, step in tree.items() if isinstance(step, Mapping) and "kind" in step]
        others = f", the others are {', '.join(known)}" if known else ""
        parent = _name(keys[:-1], names)
        return f"`{parent}`: step `{keys[-1]}` has no `kind`, and a new step needs one{others}"
    expected = ", or ".join(dict.fromkeys(map(_expectation, errors)))
    found = first["input"]
    # A text is shown as it was typed, without quotes.
    shown = _SHORT.repr(found)[1:-1] or "nothing" if isinstance(found, str) else _SHORT.repr(found)
    return f"`{name}`: expected {expected}, found {shown}"


def _name(keys: tuple[str, ...], names: Mapping[str, str]) -> str:
    """Return the option that set a key or its parent, else the dotted key."""
    dotted = [".".join(keys[:count]) for count in range(len(keys), 0, -1)]
    return next((names[key] for key in dotted if key in names), ".".join(keys))


def _expectation(error: Any) -> str:
    kind, facts = error["type"], error.get("ctx", {})
    if kind in _LIMITS:
        limit = _LIMITS[kind].format(**facts)
        if kind.startswith("too"):
            return limit
        # pydantic gives the limits of whole numbers as whole numbers.
        whole = all(isinstance(value, int) for value in facts.values())
        return f"{'a whole number' if whole else 'a number'} {limit}"
    if kind == "literal_error":
        return str(facts["expected"]).replace("'", "")
    if kind == "union_tag_invalid":
        return f"a `kind` among {facts['expected_tags']}".replace("'", "")
    if kind == "predicate_failed":  # its name is a sentence
        return str(error["msg"]).split("'")[1].replace("_", " ")
    return _KINDS.get(kind.split("_")[0]) or str(error["msg"]).removeprefix("Input should be ")
