"""What a workflow tells while it runs, and the pieces that results are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from facesr.errors import ImageError


class Reporter(Protocol):
    """Listens to a running workflow; the command line draws progress from it."""

    def begin(self, total: int, unit: str, *, done: int = 0) -> None:
        """Of `total` things called `unit`, all but `done` are about to be done."""

    def advance(self, count: int = 1) -> None:
        """`count` more are done."""

    def show(self, facts: Mapping[str, str]) -> None:
        """How it stands, in a few words each, shown beside the progress."""

    def warn(self, message: str) -> None:
        """Something the user should know; the work goes on."""


class Silent:
    """A reporter that drops everything."""

    def begin(self, total: int, unit: str, *, done: int = 0) -> None:
        pass

    def advance(self, count: int = 1) -> None:
        pass

    def show(self, facts: Mapping[str, str]) -> None:
        pass

    def warn(self, message: str) -> None:
        pass


@dataclass(frozen=True)
class Failure:
    """A file that could not be processed, why, and what to do where there is something to do."""

    file: Path
    reason: str
    hint: str = ""

    @classmethod
    def of(cls, file: Path, error: ImageError) -> "Failure":
        """Return what an error says of the file that it names, or else of `file`."""
        return cls(error.file or file, error.reason, error.hint)
