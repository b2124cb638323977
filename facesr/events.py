"""What a workflow tells while it runs, and the pieces that results are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from facesr.errors import ImageError


class Reporter:
    """Listens to a running workflow. This one is silent: derive from it and say what is to be shown."""

    def begin(self, total: int, unit: str, *, done: int = 0) -> None:
        """Take note that `total` things called `unit` are to be done, of which `done` are done already."""

    def advance(self, count: int = 1) -> None:
        """Take note that `count` more are done."""

    def show(self, facts: Mapping[str, str]) -> None:
        """Show how the work stands beside the progress: names and values of a few words each."""

    def warn(self, message: str) -> None:
        """Tell the user something that does not stop the work."""


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
