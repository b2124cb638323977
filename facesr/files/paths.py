"""What a path refers to."""

import os
import stat
import sys
import unicodedata
from pathlib import Path

from facesr.errors import ImageError


def exists(path: Path) -> bool:
    """Return whether a file or folder exists. A name that is too long is not an error, just False."""
    try:
        return path.exists()
    except OSError:
        return False


def is_there(path: Path) -> bool:
    """Return whether a result exists. A folder of the same name does not count."""
    return exists(path) and not path.is_dir()


def is_file(path: Path) -> bool:
    """Return whether a path is a regular file. In a folder without permission it is False."""
    try:
        return path.is_file()
    except OSError:
        return False


def real(path: Path) -> Path:
    """Follow links as far as possible. Unlike Path.resolve, a loop is not an error."""
    return Path(os.path.realpath(path))


def identity(path: Path) -> Path:
    """Return a path that is the same for all names of a file. Compare it, but do not open it.

    macOS ignores case and how accents are composed. On Windows, Path objects compare that way by themselves.
    """
    path = real(path)
    if sys.platform == "darwin":
        return Path(unicodedata.normalize("NFC", str(path).casefold()))
    return path


def is_special(path: Path) -> bool:
    """Return whether a path is neither a file nor a folder but, for example, a pipe or a device."""
    return exists(path) and not path.is_file() and not path.is_dir()


def check_regular(path: Path) -> None:
    """Reject anything but a regular file. Reading a pipe without a writer would wait forever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ImageError("not an ordinary file", file=path)
