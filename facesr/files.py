"""Finding pictures, planning where results go, and writing files all or nothing."""

import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from facesr.errors import ConfigError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})

_WRITTEN_SUFFIXES = IMAGE_SUFFIXES - {".bmp"}


@dataclass(frozen=True)
class Source:
    """A picture, and its path relative to the folder that was named."""

    path: Path
    relative: Path


@dataclass(frozen=True)
class Job:
    """One picture to read and the one file that its result is written to.

    Attributes:
        source: The picture.
        target: The file.
        copy: Which of several results of one picture, from 0.
    """

    source: Source
    target: Path
    copy: int = 0


def list_images(
    inputs: Iterable[Path], *, recursive: bool = False, exclude: Iterable[Path] = ()
) -> list[Source]:
    """List pictures: files as they are named, folders by suffix, hidden ones left out, sorted by path.

    Args:
        inputs: Files and folders.
        recursive: Whether to go down into folders; links to folders are not followed.
        exclude: Folders, such as the output, that are not looked into.

    Raises:
        ConfigError: A path does not exist, or nothing is found at all.
    """
    found: list[Source] = []
    inputs, exclude = list(inputs), {path.resolve() for path in exclude}
    for path in inputs:
        if path.is_dir():
            found += [Source(child, child.relative_to(path)) for child in _walk(path, recursive, exclude)]
        elif path.exists():
            found.append(Source(path, Path(path.name)))
        else:
            raise ConfigError(f"no such file or folder: {path}", hint="check the path")
    if not found:
        raise ConfigError(
            f"no pictures in {', '.join(map(str, inputs))}",
            hint=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))} are read",
        )
    return found


def _walk(folder: Path, recursive: bool, exclude: set[Path]) -> list[Path]:
    found: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in sorted(folders)
            if recursive and not name.startswith(".") and Path(root, name).resolve() not in exclude
        ]
        paths = (Path(root, name) for name in sorted(names) if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    return found


def plan_jobs(
    sources: Iterable[Source], output: Path, *, suffix: str = "", copies: int = 1, name: str = "{stem}"
) -> list[Job]:
    """Give every source its targets below `output`, at its relative path.

    Args:
        sources: The pictures.
        output: The folder of results.
        suffix: Of the targets; empty for the source's own, or PNG for what is only read (BMP).
        name: Of the targets, with `{stem}` for the source's.
        copies: Results of each picture; with several, `_0`, `_1` … is added to the stem.

    Raises:
        ConfigError: Two sources share a target, a target is itself a source, or `output` is a file.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output is not a folder: {output}", hint="name a folder, made if missing")
    jobs = []
    for source in sources:
        for copy in range(copies):
            stem = name.replace("{stem}", source.relative.stem) + (f"_{copy}" if copies > 1 else "")
            ending = suffix or result_suffix(source.relative)
            target = output / source.relative.with_name(stem + ending)
            jobs.append(Job(source, target, copy))
    by_target: dict[Path, Job] = {}
    inputs = {job.source.path.resolve() for job in jobs}
    for job in jobs:
        rival = by_target.setdefault(job.target, job)
        if rival is not job:
            raise ConfigError(
                f"{rival.source.path} and {job.source.path} would both be written to {job.target}",
                hint="rename one of them, or write them to different folders",
            )
        if job.target.resolve() in inputs:
            raise ConfigError(
                f"{job.target} would overwrite an input", hint="choose another folder for the output"
            )
    return jobs


def result_suffix(path: Path) -> str:
    """Return the suffix of a result that keeps its source's format; what is only read becomes PNG."""
    return path.suffix if path.suffix.lower() in _WRITTEN_SUFFIXES else ".png"


def write_atomic(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = False) -> None:
    """Make `path` appear complete or not at all; its folder is made if missing.

    The bytes go to a hidden file beside it, which is renamed when `write` has returned and
    removed when it has raised.

    Args:
        path: The file.
        write: Writes the bytes to the stream that it is given.
        durable: Whether the bytes must be on the disk before they take the old file's place.
    """
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
