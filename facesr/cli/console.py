"""Where output goes: data to stdout, everything else to stderr, in one of three modes."""

import errno
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO

import rich.console
import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from facesr.cluster import rank_from_environment
from facesr.errors import ConfigError, FacesrError
from facesr.workflows.events import Failure

_PLAIN_INTERVAL_S = 10.0


@dataclass(frozen=True)
class Console:
    """Shows progress and results for a person, as one JSON document, or as bare paths.

    Raises:
        ConfigError: Both `json` and `quiet`.
    """

    json: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.json and self.quiet:
            raise ConfigError("`--json` and `--quiet` exclude each other", hint="leave one of them out")

    def progress(self) -> "ProgressReporter":
        """Return a reporter to be used as a context: it draws only for a person who watches."""
        return ProgressReporter(mute=self.quiet or rank_from_environment().rank > 0)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table on stdout; columns whose cells all start like numbers are right-aligned."""
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
        """Print a JSON document on stdout; paths become strings."""
        text = json.dumps(value, indent=2, default=str, ensure_ascii=False)
        if re.search("[\ud800-\udfff]", text):
            text = json.dumps(value, indent=2, default=str)  # names of files that are not text, escaped
        self.lines([text])

    def lines(self, lines: Iterable[object]) -> None:
        """Print lines on stdout, one item each, names of files as the bytes that they are on the disk."""
        with standard_output() as stream:
            for line in lines:
                stream.write(os.fsencode(f"{line}\n"))

    def summary(self, text: str) -> None:
        """Tell the end of the story on stderr."""
        if not self.quiet:
            _stderr("\n".join(map(_plain, text.splitlines())))

    def failures(self, failures: Sequence[Failure]) -> None:
        """List the files that failed on stderr, in every mode, and each different hint once."""
        for failure in failures:
            _stderr(f"[bold red]error[/]: {_plain(f'{failure.file}: {failure.reason}')}")
        for hint in dict.fromkeys(failure.hint for failure in failures if failure.hint):
            _print_hint(hint)

    def exit_code(self, *, failed: int, done: int) -> None:
        """Leave with 1 if every input failed and with 3 if some did."""
        if failed:
            raise typer.Exit(3 if done else 1)


def counts(*, written: int, skipped: int, failed: int) -> str:
    """Say how many files went which way, and how to have those that were skipped after all."""
    redo = " (`--overwrite` redoes them)" if skipped else ""
    return f"{written} written, {skipped} skipped{redo}, {failed} failed"


def print_error(error: FacesrError) -> None:
    """Print `error: …` and, where there is one, `hint: …` on stderr."""
    _stderr(f"[bold red]error[/]: {_plain(error.message)}")
    if error.hint:
        _print_hint(error.hint)


def _print_hint(text: str) -> None:
    _stderr(f"[bold cyan]hint[/]: {_plain(text)}")


def _stderr(markup: str) -> None:
    rich.console.Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(markup)


def _plain(text: str) -> str:
    """Return markup for a line of text as it is."""
    return escape(printable(text))


def printable(text: str) -> str:
    """Escape what a terminal would obey or cannot show, such as in the names of files."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Give stdout as a stream of bytes, flushed in the end.

    Raises:
        FacesrError: It is closed or cannot be written.
        BrokenPipeError: Nobody reads it any more; Typer then leaves without a word.
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


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_rate(task.speed or 0.0, task.fields["unit"]), style="progress.data.speed")


def _rate(speed: float, unit: str) -> str:
    return f"{speed:.1f} {unit}/s" if speed else f"- {unit}/s"


class ProgressReporter(AbstractContextManager["ProgressReporter"]):
    """Draws a bar on a terminal; elsewhere prints one plain line every ten seconds."""

    def __init__(self, *, mute: bool) -> None:
        self._mute = mute or bool(os.environ.get("FACESR_NO_PROGRESS"))
        self._bar: Progress | None = None
        if not self._mute and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                _RateColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[facts]}"),
                console=rich.console.Console(stderr=True),
                transient=True,
            )
        self._done = self._total = self._before = 0
        self._unit = self._facts = ""
        self._start = self._last = time.monotonic()

    def __enter__(self) -> "ProgressReporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, total: int, unit: str, *, done: int = 0) -> None:
        self._done, self._total, self._unit = done, total, unit
        self._before = done
        self._start = self._last = time.monotonic()
        if self._bar is not None:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._bar.add_task("", total=total, completed=done, unit=unit, facts="")
            self._bar.start()

    def advance(self, count: int = 1) -> None:
        self._done += count
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], count)
        elif not self._mute and time.monotonic() - self._last >= _PLAIN_INTERVAL_S:
            self._last = time.monotonic()
            speed = (self._done - self._before) / (self._last - self._start)
            left = (self._total - self._done) / speed
            line = (
                f"{self._done}/{self._total} {self._unit}, {_rate(speed, self._unit)}, {left:.0f} s remaining"
            )
            _stderr(", ".join(filter(None, [line, escape(self._facts)])))

    def show(self, facts: Mapping[str, str]) -> None:
        self._facts = ", ".join(f"{name} {value}" for name, value in facts.items())
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], facts=escape(self._facts))

    def warn(self, message: str) -> None:
        _stderr(f"[bold yellow]warning[/]: {_plain(message)}")
