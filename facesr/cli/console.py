"""How a command shows its result: as text for a person, as one JSON document, or as bare paths.

stdout carries only data: a table, the document or the paths. Everything else goes to stderr.
"""

import errno
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import rich.console
import typer
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from facesr.cli.progress import ProgressReporter
from facesr.cli.stderr import plain, print_errors, print_line, printable
from facesr.errors import ConfigError, FacesrError
from facesr.events import Failure
from facesr.processes import rank_from_environment
from facesr.results import DegradeResult, UpscaleResult

_GAP = 2  # between the columns of a table, in characters
_LEAST_TEXT = 16  # a column of texts is not folded to fewer


@dataclass(frozen=True)
class Console:
    """Prints a command's progress and result. Every command body gets one."""

    json: bool = False  # one JSON document on stdout
    quiet: bool = False  # bare paths on stdout, and errors alone on stderr

    def __post_init__(self) -> None:
        if self.json and self.quiet:
            raise ConfigError("`--json` and `--quiet` exclude each other", hint="leave one of them out")

    def progress(self) -> ProgressReporter:
        """Return a progress reporter to use in a `with` statement. In quiet mode it prints only warnings."""
        return ProgressReporter(mute=self.quiet or rank_from_environment().rank > 0)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table on stdout. If the terminal is too narrow for it, print one line for each value.

        Columns whose cells all start like numbers are right-aligned and never folded.
        """
        body = [[printable(cell) for cell in row] for row in rows]
        console = rich.console.Console()
        widths = _fit(columns, body, console.width)
        with standard_output():
            if not widths:
                console.print(Text("\n\n".join(_as_lines(columns, row) for row in body)))
                return
            table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
            for (name, *cells), width in zip(zip(columns, *body, strict=True), widths, strict=True):
                table.add_column(
                    name, justify="right" if _is_numeric(cells) else "left", overflow="fold", width=width
                )
            for row in body:
                table.add_row(*map(Text, row))
            console.print(table)

    def document(self, value: Any) -> None:
        """Print a JSON document on stdout. Paths become strings."""
        text = json.dumps(value, indent=2, default=str, ensure_ascii=False)
        if re.search("[\ud800-\udfff]", text):
            text = json.dumps(value, indent=2, default=str)  # names of files that are not text, escaped
        self.lines([text])

    def lines(self, lines: Iterable[object]) -> None:
        """Print one item a line on stdout. File names are printed as the bytes on disk."""
        with standard_output() as stream:
            for line in lines:
                stream.write(os.fsencode(f"{line}\n"))

    def data(self, document: Any, paths: Iterable[object]) -> None:
        """Print on stdout what the mode asks for: the document, the paths or nothing."""
        if self.json:
            self.document(document)
        elif self.quiet:
            self.lines(paths)

    def end(self, *summary: str, failed: Sequence[Failure] = (), done: int = 1) -> None:
        """List failures and print the summary's lines on stderr. In quiet mode, print only the failures.

        Raises:
            typer.Exit: With code 1 if every input failed, with code 3 if some did.
        """
        print_errors([f"{one.file}: {one.reason}" for one in failed], [one.hint for one in failed])
        if not self.quiet:
            print_line("\n".join(map(plain, summary)))
        if failed:
            raise typer.Exit(3 if done else 1)


def _is_numeric(cells: Iterable[str]) -> bool:
    return all(not cell or cell[0] in "+-0123456789" for cell in cells)


def _fit(columns: Sequence[str], body: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return column widths that fit into `room`, with text cells folded if needed. Empty if none fit."""
    table = list(zip(columns, *body, strict=True))
    widths = [max(cell_len(line) for cell in cells for line in cell.split("\n")) for cells in table]
    least = [
        width if _is_numeric(cells[1:]) else min(width, _LEAST_TEXT)
        for width, cells in zip(widths, table, strict=True)
    ]
    while sum(widths) + _GAP * (len(widths) - 1) > room:
        foldable = [index for index, width in enumerate(widths) if width > least[index]]
        if not foldable:
            return []
        widths[max(foldable, key=widths.__getitem__)] -= 1
    return widths


def _as_lines(columns: Sequence[str], row: Sequence[str]) -> str:
    names = (name.replace("-\n", "-").replace("\n", " ") for name in columns)
    return "\n".join(
        f"{name}: {cell}" if name else cell for name, cell in zip(names, row, strict=True) if cell
    )


def counts(result: UpscaleResult | DegradeResult) -> str:
    """Return how many files were written, skipped and failed, and how to redo the skipped ones."""
    redo = " (`--overwrite` redoes them)" if result.skipped else ""
    return f"{len(result.written)} written, {len(result.skipped)} skipped{redo}, {len(result.failed)} failed"


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Yield stdout as a binary stream, and flush it at the end.

    Raises:
        FacesrError: stdout is closed or cannot be written.
        BrokenPipeError: The reader has gone away. Typer then exits silently.
    """
    if sys.stdout is None:
        raise FacesrError("stdout is closed")
    sys.stdout.flush()
    try:
        yield sys.stdout.buffer
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        # What is left in the buffer would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise FacesrError(f"cannot write to stdout: {error.strerror}") from error
