"""The command line in processes of its own: with a time limit, its peak memory, and kills."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from facesr.files.listing import IMAGE_SUFFIXES
from facesr.images.read import read_image


@dataclass(frozen=True)
class Done:
    """How a process ended; `peak_mib` is the most memory that it, or we at its start, held at once."""

    code: int
    stdout: bytes
    stderr: str
    peak_mib: float


def facesr(*arguments: object, cwd: Path, limit_s: float = 100, **environment: str) -> Done:
    """Run `facesr` to its end; one that hangs fails the test."""
    command = [sys.executable, "-m", "facesr", *map(os.fsencode, map(str, arguments))]
    variables = {**os.environ, "FACESR_NO_PROGRESS": "1", **environment}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(
            command, cwd=cwd, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        end = time.monotonic() + limit_s
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                child.kill()
                child.wait()
                raise AssertionError(f"{arguments} hangs")
            time.sleep(0.02)
        child.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read())
    return Done(child.returncode, texts[0], texts[1].decode(errors="replace"), usage.ru_maxrss / 1024)


def killed(
    arguments: Sequence[object],
    *,
    progress: Callable[[], int],
    more: range,
    rng: random.Random,
    number: signal.Signals | None = None,
) -> int:
    """Start `facesr`, send it a signal at a random moment, and return its exit code.

    Args:
        arguments: As on the command line.
        progress: Counts what it has done so far.
        more: How much more of that it may do before.
        rng: Draws the moment.
        number: Of a signal to it and its children, as a cluster sends. Without one, it alone is killed.
    """
    goal = progress() + rng.choice(more)
    variables = {**os.environ, "FACESR_NO_PROGRESS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "facesr", *map(os.fsencode, map(str, arguments))]
    with (
        tempfile.TemporaryFile() as err,
        subprocess.Popen(command, env=variables, stderr=err, start_new_session=True) as child,
    ):
        while child.poll() is None and progress() < goal:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02))
        if child.poll() is None:
            child.kill() if number is None else os.killpg(child.pid, number)
        child.wait(timeout=60)
        err.seek(0)
        text = err.read().decode(errors="replace")
    assert "Traceback" not in text, text
    return child.returncode


def pictures_below(folder: Path) -> list[Path]:
    """List what lies under a picture's final name."""
    return [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]


def leftovers(folder: Path) -> list[Path]:
    """List the temporary files that a write has not taken away."""
    return list(folder.rglob(".facesr-*"))


def assert_whole(folder: Path) -> None:
    """Assert that every picture under its final name can be read."""
    for path in pictures_below(folder):
        read_image(path)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files by their relative paths, but for those that a kill left hidden."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".facesr-")
    }


def assert_same_files(left: Path, right: Path) -> None:
    """Assert that two folders hold the same pictures, to the byte."""
    assert {path.name for path in pictures_below(left)} == {path.name for path in pictures_below(right)}
    for path in pictures_below(left):
        assert path.read_bytes() == (right / path.relative_to(left)).read_bytes(), path
