"""Lines on stderr: `error:`, `hint:`, `warning:` and the summary at the end.

Everything that is not data goes through here. Only this module makes text safe for a terminal.
"""

from collections.abc import Iterable

import rich.console
from rich.markup import escape


def print_errors(messages: Iterable[str], hints: Iterable[str]) -> None:
    """Print `error: …` for each message, then `hint: …` once for each distinct hint."""
    for message in messages:
        print_line(f"[bold red]error[/]: {plain(message)}")
    for hint in filter(None, dict.fromkeys(hints)):
        print_line(f"[bold cyan]hint[/]: {plain(hint)}")


def print_warning(message: str) -> None:
    print_line(f"[bold yellow]warning[/]: {plain(message)}")


def print_line(markup: str) -> None:
    """Print rich markup without wrapping or highlighting."""
    rich.console.Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(markup)


def plain(text: str) -> str:
    """Return markup that shows a text literally."""
    return escape(printable(text))


def printable(text: str) -> str:
    """Escape what a terminal would act on or cannot show, such as control characters in file names."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
