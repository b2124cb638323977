"""Errors for users: what went wrong, and what to do about it."""

from collections.abc import Sequence
from pathlib import Path


class FacesrError(Exception):
    """Base of every error that a user can cause and fix.

    Args:
        message: One sentence that names the file, option or key, without a full stop.
        hint: One sentence that says what to do. Empty if there is nothing to add.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(FacesrError):
    """A wrong option, configuration key or path."""

    exit_code = 2


class DeviceError(FacesrError):
    """A device or precision that is not available on this machine."""

    exit_code = 2


class ImageError(FacesrError):
    """An image that cannot be read, processed or written.

    Args:
        reason: What is wrong with it.
        file: Path of the file. None for an image that is not in a file.
        hint: What to do, as in `FacesrError`.
    """

    def __init__(self, reason: str, *, file: Path | None = None, hint: str = "") -> None:
        super().__init__(f"{file}: {reason}" if file else reason, hint=hint)
        self.reason = reason
        self.file = file


class MissingExtra(FacesrError):
    """A package is needed that is not installed. One of facesr's extras installs it."""

    def __init__(self, extra: str) -> None:
        super().__init__(f"this needs the extra `{extra}`", hint=f"run `pip install 'facesr[{extra}]'`")


class RunError(FacesrError):
    """A training run that cannot continue."""


class WeightsError(FacesrError):
    """Weights that cannot be read, or that belong to another network."""


def shorten(entries: Sequence[str], *, limit: int = 10) -> str:
    """Join entries into one line. After the first few, it only counts the rest."""
    more = [f"and {len(entries) - limit} more"] if len(entries) > limit else []
    return "; ".join([*entries[:limit], *more])


def reason_of(error: Exception) -> str:
    """Return what went wrong, in one line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or type(error).__name__
