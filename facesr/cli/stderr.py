"""Lines on stderr, one kind each: `error:`, `hint:`, `warning:` and the summary at the end.

Everything that is not data goes through here, and only here is text made fit for a terminal.
"""

from collections.abc import Iterable

import rich.console
from rich.markup import escape


def print_errors(messages: Iterable[str], hints: Iterable[str]) -> None:
    """Print `error: …` for each message, and `hint: …` once for each different hint that is not empty."""
    for message in messages:
        print_line(f"[bold red]error[/]: {plain(message)}")
    for hint in filter(None, dict.fromkeys(hints)):
        print_line(f"[bold cyan]hint[/]: {plain(hint)}")


def print_warning(message: str) -> None:
    print_line(f"[bold yellow]warning[/]: {plain(message)}")


def print_line(markup: str) -> None:
    """Print rich markup as it is, without wrapping or highlighting."""
    rich.console.Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(markup)


def plain(text: str) -> str:
    """Return markup that shows a text as it is."""
    return escape(printable(text))


def printable(text: str) -> str:
    """Escape what a terminal would obey or cannot show, such as in the names of files."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
