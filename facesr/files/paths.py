"""What there is at a path."""

import os
import stat
import sys
import unicodedata
from pathlib import Path

from facesr.errors import ImageError


def exists(path: Path) -> bool:
    """Tell whether there is a file or folder; under a name too long for any there is none."""
    try:
        return path.exists()
    except OSError:
        return False


def is_there(path: Path) -> bool:
    """Tell whether a result is there; a folder of its name is none."""
    return exists(path) and not path.is_dir()


def real(path: Path) -> Path:
    """Follow links as far as they lead; Path.resolve raises on a loop."""
    return Path(os.path.realpath(path))


def identity(path: Path) -> Path:
    """Return what all names of one file have in common, to compare and not to open.

    Disks of macOS ignore case and how accents are composed. On Windows, paths compare so by themselves.
    """
    path = real(path)
    if sys.platform == "darwin":
        return Path(unicodedata.normalize("NFC", str(path).casefold()))
    return path


def is_special(path: Path) -> bool:
    """Tell whether there is something that is neither a file nor a folder, such as a pipe or a device."""
    return exists(path) and not path.is_file() and not path.is_dir()


def check_regular(path: Path) -> None:
    """Refuse what is no ordinary file, such as a pipe that nobody writes to, which would be waited for."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ImageError("not an ordinary file", file=path)
