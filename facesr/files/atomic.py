"""Atomic writing: a file appears complete or not at all."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from facesr.files.paths import is_special, real


def write_atomic(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = False) -> None:
    """Write a file atomically. A missing folder is created.

    The bytes go to a hidden file in the same folder. It is renamed when `write` returns, and removed when
    `write` raises. With `durable`, the bytes are on disk before the old file is replaced. If `path` is a
    link, the file that it points to is replaced. Anything that is not a regular file, such as a pipe, is
    written to directly.
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
