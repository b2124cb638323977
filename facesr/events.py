"""What a workflow reports while it runs, and the failures that results list."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from facesr.errors import ImageError


class Reporter:
    """Receives what a running workflow reports. This class ignores it. Derive from it to show something."""

    def begin(self, total: int, unit: str, *, done: int = 0) -> None:
        """The workflow starts on `total` things, counted in `unit`, of which `done` are done already."""

    def advance(self, count: int = 1) -> None:
        """The workflow has finished `count` more things."""

    def show(self, facts: Mapping[str, str]) -> None:
        """Show names and values next to the progress, a few words each."""

    def warn(self, message: str) -> None:
        """Warn the user about something that does not stop the work."""


@dataclass(frozen=True)
class Failure:
    """A file that could not be processed, why, and, if possible, what to do about it."""

    file: Path
    reason: str
    hint: str = ""

    @classmethod
    def of(cls, file: Path, error: ImageError) -> "Failure":
        """Make a failure from an error. It names the error's file, else `file`."""
        return cls(error.file or file, error.reason, error.hint)
