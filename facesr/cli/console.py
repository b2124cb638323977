"""What a command shows, in three modes: for a person, as one JSON document, or as bare paths.

Only data is printed on stdout: a table, the document or the paths. The rest is lines on stderr.
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
from rich.table import Table
from rich.text import Text

from facesr.cli.progress import ProgressReporter
from facesr.cli.stderr import plain, print_errors, print_line, printable
from facesr.errors import ConfigError, FacesrError
from facesr.events import Failure
from facesr.processes import rank_from_environment
from facesr.results import DegradeResult, UpscaleResult


@dataclass(frozen=True)
class Console:
    """What a command body is given to show its progress and result with."""

    json: bool = False  # one JSON document on stdout
    quiet: bool = False  # bare paths on stdout, and errors alone on stderr

    def __post_init__(self) -> None:
        if self.json and self.quiet:
            raise ConfigError("`--json` and `--quiet` exclude each other", hint="leave one of them out")

    def progress(self) -> ProgressReporter:
        """Return a reporter to be used as a context. It draws only for a person who watches."""
        return ProgressReporter(mute=self.quiet or rank_from_environment().rank > 0)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table on stdout. Columns whose cells all start like numbers are right-aligned."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        body = list(rows)
        for index, name in enumerate(columns):
            numeric = all(not row[index] or row[index][0] in "+-0123456789" for row in body)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in body:
            table.add_row(*(Text(printable(cell)) for cell in row))
        with standard_output():
            rich.console.Console().print(table)

    def document(self, value: Any) -> None:
        """Print a JSON document on stdout. Paths become strings."""
        text = json.dumps(value, indent=2, default=str, ensure_ascii=False)
        if re.search("[\ud800-\udfff]", text):
            text = json.dumps(value, indent=2, default=str)  # names of files that are not text, escaped
        self.lines([text])

    def lines(self, lines: Iterable[object]) -> None:
        """Print lines on stdout, one item each, names of files as the bytes that they are on the disk."""
        with standard_output() as stream:
            for line in lines:
                stream.write(os.fsencode(f"{line}\n"))

    def data(self, document: Any, paths: Iterable[object]) -> None:
        """Print what is wanted on stdout, the document, the paths or neither."""
        if self.json:
            self.document(document)
        elif self.quiet:
            self.lines(paths)

    def end(self, summary: str, *, failed: Sequence[Failure] = (), done: int = 1) -> None:
        """List failures on stderr and say what was done, unless only paths are wanted.

        Raises:
            typer.Exit: With 1 if every input failed and with 3 if some did.
        """
        print_errors([f"{one.file}: {one.reason}" for one in failed], [one.hint for one in failed])
        if not self.quiet:
            print_line("\n".join(map(plain, summary.splitlines())))
        if failed:
            raise typer.Exit(3 if done else 1)


def counts(result: UpscaleResult | DegradeResult) -> str:
    """Say how many files went which way, and how to redo those that were skipped."""
    redo = " (`--overwrite` redoes them)" if result.skipped else ""
    return f"{len(result.written)} written, {len(result.skipped)} skipped{redo}, {len(result.failed)} failed"


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Give stdout as a stream of bytes, flushed in the end.

    Raises:
        FacesrError: It is closed or cannot be written.
        BrokenPipeError: Nobody reads it any more. Typer then leaves without a word.
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
