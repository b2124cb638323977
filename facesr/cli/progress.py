"""Progress on stderr: a bar on a terminal, an occasional plain line elsewhere."""

import sys
import time
from collections.abc import Mapping

import rich.console
from rich import progress
from rich.text import Text

from facesr.cli.stderr import plain, print_line, print_warning
from facesr.events import Reporter
from facesr.processes import is_switched_on

PLAIN_INTERVAL_S = 10.0


class ProgressReporter(Reporter):
    """Draws a bar on a terminal. Elsewhere it prints one plain line every ten seconds.

    Use it in a `with` statement, which removes the bar at the end. A mute one prints only warnings.
    """

    def __init__(self, *, mute: bool) -> None:
        self._mute = mute or is_switched_on("FACESR_NO_PROGRESS")
        self._bar: progress.Progress | None = None
        if not self._mute and sys.stderr.isatty():
            self._bar = progress.Progress(
                "{task.description}",
                progress.BarColumn(bar_width=None),
                progress.MofNCompleteColumn(),
                _RateColumn(),
                progress.TimeRemainingColumn(),
                "{task.fields[facts]}",
                console=rich.console.Console(stderr=True),
                transient=True,
            )
        self._done = self._total = self._before = 0
        self._unit = self._facts = ""
        self._start = self._last = time.monotonic()

    def __enter__(self) -> "ProgressReporter":
        return self

    def __exit__(self, *error: object) -> None:
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
        elif not self._mute and time.monotonic() - self._last >= PLAIN_INTERVAL_S:
            self._last = time.monotonic()
            speed = (self._done - self._before) / (self._last - self._start)
            left = f"{(self._total - self._done) / speed:.0f} s remaining"
            words = [f"{self._done}/{self._total} {self._unit}", _rate(speed, self._unit), left]
            print_line(", ".join([*words, plain(self._facts)] if self._facts else words))

    def show(self, facts: Mapping[str, str]) -> None:
        self._facts = ", ".join(f"{name} {value}" for name, value in facts.items())
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], facts=plain(self._facts))

    def warn(self, message: str) -> None:
        print_warning(message)


class _RateColumn(progress.ProgressColumn):
    def render(self, task: progress.Task) -> Text:
        return Text(_rate(task.speed or 0.0, task.fields["unit"]), style="progress.data.speed")


def _rate(speed: float, unit: str) -> str:
    return f"{speed:.1f} {unit}/s" if speed else f"- {unit}/s"
