"""Planning which result goes where, so that none takes the place of another file."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from facesr.errors import ConfigError
from facesr.files.listing import IMAGE_SUFFIXES, Source
from facesr.files.paths import exists, is_special, real

# Results take these instead: BMP is only read, and the rest are rarer names of JPEG.
_RESULT_SUFFIXES = {".bmp": ".png", ".jpe": ".jpg", ".jfif": ".jpg"}


@dataclass(frozen=True)
class Job:
    """One picture to read and the one file that its result is written to."""

    source: Source
    target: Path
    copy: int = 0  # which of several results of one picture


def plan_jobs(
    sources: Iterable[Source], output: Path, *, suffix: str = "", copies: int = 1, name: str = "{stem}"
) -> list[Job]:
    """Give every source its targets below `output`, at its relative path.

    Without a `suffix` a target has the source's own, or PNG's for what is only read (BMP). In `name`,
    `{stem}` is the source's. Of several copies, `_0`, `_1` … is added to the stem.

    Raises:
        ConfigError: A source comes twice, two share a target, a target is itself a source, or `output` is
            a file.
    """
    if exists(output) and not output.is_dir():
        raise ConfigError(f"output is not a folder: {output}", hint="name a folder, made if missing")
    jobs = []
    seen = set()
    for source in sources:
        if source in seen:
            raise ConfigError(f"{source.path} is named twice", hint="name it once")
        seen.add(source)
        for copy in range(copies):
            number = f"_{copy}" if copies > 1 else ""
            stem = (name + number).replace("{stem}", source.relative.stem)
            ending = suffix or result_suffix(source.relative)
            jobs.append(Job(source, output / source.relative.parent / (stem + ending), copy))
    check_targets(jobs, inputs=[job.source.path for job in jobs])
    return jobs


def check_targets(jobs: Iterable[Job], *, inputs: Iterable[Path]) -> None:
    """Refuse results that would take the place of each other, or of one of the files that are read."""
    by_target: dict[Path, Job] = {}
    inputs = {real(path) for path in inputs}
    for job in jobs:
        target = real(job.target)
        rival = by_target.setdefault(target, job)
        if rival is not job:
            raise ConfigError(
                f"{rival.source.path} and {job.source.path} would both be written to {job.target}",
                hint="rename one of them, or write them to different folders",
            )
        if target in inputs:
            hint = "choose another folder for the output"
            raise ConfigError(f"{job.target} would overwrite an input", hint=hint)


def check_files(
    files: Mapping[str, Path | None], *, inputs: Iterable[Path], results: Iterable[Path] = ()
) -> None:
    """Refuse single files, such as a table, that cannot be written or would take the place of another.

    The files are those that options name, if any; the results are all others that are written.
    """
    taken = dict.fromkeys(map(real, results), "a result") | dict.fromkeys(map(real, inputs), "an input")
    for option, path in files.items():
        if path is None:
            continue
        rival = taken.setdefault(real(path), f"that of `{option}`")
        if rival != f"that of `{option}`":
            raise ConfigError(f"`{option} {path}` would overwrite {rival}", hint="name another file")
        if exists(path) and path.is_dir():
            raise ConfigError(f"`{option} {path}` is a folder", hint="name a file")
        folder = next(parent for parent in real(path).parents if exists(parent))
        if not is_special(path) and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise ConfigError(f"`{option} {path}`: cannot write to {folder}", hint="name another file")


def split_done(jobs: Iterable[Job], is_done: Callable[[Job], bool]) -> tuple[list[Job], list[Job]]:
    todo: list[Job] = []
    done: list[Job] = []
    for job in jobs:
        (done if is_done(job) else todo).append(job)
    return todo, done


def result_suffix(path: Path) -> str:
    """Return the suffix of a result that keeps its source's format; what is only read becomes PNG."""
    suffix = path.suffix.lower()
    return _RESULT_SUFFIXES.get(suffix, path.suffix if suffix in IMAGE_SUFFIXES else ".png")
