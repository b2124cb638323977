"""Lines on stderr, one kind each: `error:`, `hint:`, `warning:` and the summary at the end.

Everything that is not data goes through here, and only here is text made fit for a terminal.
"""

from collections.abc import Sequence

import rich.console
from rich.markup import escape

from facesr.errors import FacesrError
from facesr.events import Failure


def print_error(error: FacesrError) -> None:
    """Print `error: …` and, where there is one, `hint: …`."""
    print_line(f"[bold red]error[/]: {plain(error.message)}")
    if error.hint:
        _print_hint(error.hint)


def print_failures(failures: Sequence[Failure]) -> None:
    """Print an error for each file that failed, and each different hint once."""
    for failure in failures:
        print_line(f"[bold red]error[/]: {plain(f'{failure.file}: {failure.reason}')}")
    for hint in dict.fromkeys(failure.hint for failure in failures if failure.hint):
        _print_hint(hint)


def print_warning(message: str) -> None:
    """Print `warning: …`."""
    print_line(f"[bold yellow]warning[/]: {plain(message)}")


def print_summary(text: str) -> None:
    """Print what a command did, which may be several lines."""
    print_line("\n".join(map(plain, text.splitlines())))


def print_line(markup: str) -> None:
    """Print rich markup as it is, without wrapping or highlighting."""
    rich.console.Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(markup)


def plain(text: str) -> str:
    """Return markup that shows a text as it is."""
    return escape(printable(text))


def printable(text: str) -> str:
    """Escape what a terminal would obey or cannot show, such as in the names of files."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _print_hint(text: str) -> None:
    print_line(f"[bold cyan]hint[/]: {plain(text)}")
