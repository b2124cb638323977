"""Signals that ask a run to stop after the current step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from facesr.processes import STOP_SIGNALS


class Stopped(Exception):
    """A stop signal broke off work that the resumed run will repeat."""


class StopSignals:
    """Remembers the first stop signal. A later SIGINT ends the process at once."""

    def __init__(self) -> None:
        self.number = 0  # that signal; 0 before it
        self.agreed = 0  # the signal by which all processes of the run stop; 0 while they continue

    @property
    def name(self) -> str:
        """Name of the agreed signal."""
        return signal.Signals(self.agreed).name if self.agreed else ""

    def receive(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or number

    def check(self) -> None:
        """Raise `Stopped` if this process was asked to stop."""
        if self.number:
            raise Stopped


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Catch stop signals, as far as possible, and restore the previous handlers afterwards."""
    stop = StopSignals()
    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, stop.receive) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
