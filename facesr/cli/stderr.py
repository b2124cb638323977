"""Lines on stderr."""

import rich.console
from rich.markup import escape

from facesr.errors import FacesrError


def print_error(error: FacesrError) -> None:
    """Print `error: …` and, where there is one, `hint: …` on stderr."""
    print_line(f"[bold red]error[/]: {plain(error.message)}")
    if error.hint:
        print_hint(error.hint)


def print_hint(text: str) -> None:
    print_line(f"[bold cyan]hint[/]: {plain(text)}")


def print_line(markup: str) -> None:
    rich.console.Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(markup)


def plain(text: str) -> str:
    """Return markup for a line of text as it is."""
    return escape(printable(text))


def printable(text: str) -> str:
    """Escape what a terminal would obey or cannot show, such as in the names of files."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
