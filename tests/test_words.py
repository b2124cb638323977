"""What a user reads follows the rules of plain words, as far as a test can tell."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from facesr.cli.app import app
from tests.conftest import Run
from tests.test_docs import PAGES, ROOT

SOURCES = sorted(path for kind in ("*.py", "*.html") for path in (ROOT / "facesr").rglob(kind))
# What no visitor of an HTML page reads.
CODE = re.compile(r"<(script|style)\b.*?</\1>|<meta[^>]*>|\{[^{}]*;\s[^{}]*\}", re.DOTALL)
PROSE = [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / "facesr").rglob("README.md"))]

# Each with what to write instead.
WORDS = {
    r";(\s|$)": "two sentences",
    r"\bpictures?\b": "image",
    r"(?<!ground )(?<!ground-)\btruths?\b": "ground truth",
    r"\bmend(s|ed)?\b": "fix",
    r"\bgo(es)? on\b": "continue",
    r"\bpartners?\b": "matching image",
    r"\bto be had\b": "not available",
    r"\bpromis(e|es|ed)\b": "declares",
    r"\bbeside\b": "compared with, next to",
    r"\b(is|are) none\b": "is not one",
    r"\b(is|are|were|was) taken\b": "processed, used",
    r"\btold\b": "reported",
    r"\bin any unit\b": "relative",
    r"\bcheck the path\b": "say what to do",
}


def wrong(text: str) -> list[str]:
    """Return what a text has that is better said otherwise."""
    return [
        f"{text[max(0, match.start() - 40) : match.end() + 40]!r} has {match[0]!r}, write {better}"
        for word, better in WORDS.items()
        if (match := re.search(word, text, re.IGNORECASE))
    ]


def texts(path: Path) -> Iterator[str]:
    """Yield each text of a module or page, docstrings included, with `{}` for what is filled in."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        yield source
        return
    tree = ast.parse(source)
    parts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            fixed = [part for part in node.values if isinstance(part, ast.Constant)]
            parts.update(map(id, fixed))
            yield "{}".join(str(part.value) for part in fixed)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "facesr")))
def test_messages_help_and_docstrings_use_plain_words(path: Path) -> None:
    shown = (CODE.sub("", text) for text in texts(path))
    assert not [found for text in shown if text.count(" ") >= 2 for found in wrong(text)]


def test_the_help_of_commands_uses_plain_words(run: Run) -> None:
    for command in [[], *([info.name or info.callback.__name__] for info in app.registered_commands)]:
        assert not wrong(run(*command, "--help").output)


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_use_plain_words(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`|<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not wrong(" ".join(prose.split()))


def test_the_rules_find_what_they_are_about() -> None:
    for text in ("one; two", "the pictures", "a truth", "mend it", "goes on", "check the path"):
        assert any(re.search(word, text) for word in WORDS), text
    assert not any(re.search(word, "the ground truth of an image") for word in WORDS)
