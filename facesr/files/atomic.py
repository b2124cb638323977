"""Writing files all or nothing."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from facesr.files.paths import is_special, real


def write_atomic(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = False) -> None:
    """Make `path` appear complete or not at all; its folder is made if missing.

    The bytes go to a hidden file beside it, which is renamed when `write` has returned and removed when it
    has raised. Those of a `durable` file are on the disk before they take the old file's place.
    Where `path` is a link, the file that it leads to is replaced; what is no file, such as a pipe, is
    written into.
    """
    if is_special(path):
        with path.open("wb") as stream:
            write(stream)
        return
    path = real(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".facesr-{secrets.token_hex(6)}.tmp"
    try:
        with temporary.open("xb") as stream:
            write(stream)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
