"""Finding pictures, planning where results go, and writing files all or nothing."""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from facesr.errors import ConfigError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})


@dataclass(frozen=True)
class Job:
    """One picture to read and the one file that its result is written to."""

    source: Path
    target: Path


def list_images(inputs: Iterable[Path]) -> list[Path]:
    """List pictures: files as they are named, folders by suffix, hidden files left out, sorted by name.

    Raises:
        ConfigError: A path does not exist, or nothing is found at all.
    """
    found: list[Path] = []
    inputs = list(inputs)
    for path in inputs:
        if path.is_dir():
            found += sorted(
                child
                for child in path.iterdir()
                if child.suffix.lower() in IMAGE_SUFFIXES
                and not child.name.startswith(".")
                and child.is_file()
            )
        elif path.exists():
            found.append(path)
        else:
            raise ConfigError(f"no such file or folder: {path}", hint="check the path")
    if not found:
        raise ConfigError(
            f"no pictures in {', '.join(map(str, inputs))}",
            hint=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))} are read",
        )
    return found


def plan_jobs(sources: Iterable[Path], output: Path, *, suffix: str = "") -> list[Job]:
    """Give every source its target `output/<stem><suffix>`; an empty suffix keeps the source's own.

    Raises:
        ConfigError: Two sources share a target, a target is itself a source, or `output` is a file.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output is not a folder: {output}", hint="name a folder, made if missing")
    jobs = [Job(source, output / (source.stem + (suffix or source.suffix))) for source in sources]
    by_target: dict[Path, Path] = {}
    by_source = {job.source.resolve(): job.source for job in jobs}
    for job in jobs:
        rival = by_target.setdefault(job.target, job.source)
        if rival is not job.source:
            raise ConfigError(
                f"{rival} and {job.source} would both be written to {job.target}",
                hint="rename one of them, or write them to different folders",
            )
        if job.target.resolve() in by_source:
            raise ConfigError(
                f"{job.target} would overwrite an input", hint="choose another folder for the output"
            )
    return jobs


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Make `path` appear complete or not at all; its folder is made if missing.

    The bytes go to a hidden file beside it, which is renamed when `write` has returned and
    removed when it has raised.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".facesr-{secrets.token_hex(6)}.tmp"
    try:
        with temporary.open("xb") as stream:
            write(stream)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
