"""Planning where each result goes, so that none overwrites another file."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

from facesr.errors import ConfigError, ImageError, shorten
from facesr.events import Failure
from facesr.files.listing import IMAGE_SUFFIXES, Source, Warn
from facesr.files.paths import exists, identity, is_special, real

# Results take these instead: BMP is only read, as HEIC is, and the rest are rarer names of JPEG.
_RESULT_SUFFIXES = {".bmp": ".png", ".jpe": ".jpg", ".jfif": ".jpg"}

# What a single result may end in.
WRITTEN_SUFFIXES = tuple(sorted(IMAGE_SUFFIXES - _RESULT_SUFFIXES.keys()))

# An output that ends so is meant to be a file too, though none of these is written.
_FOREIGN_SUFFIXES = {
    ".apng", ".exr", ".gif", ".heic", ".heif", ".ico", ".jp2", ".jxl", ".pdf", ".ppm", ".psd",
    ".svg", ".tga",
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One image to read and the one file that its result is written to."""

    source: Source
    target: Path
    copy: int = 0  # which of several results of one image
    faces: Path | None = None  # PNG files of its faces are called so, with a number added

    def face_files(self, number: int) -> tuple[Path, Path]:
        """Return the paths for one face, numbered from 1: the crop, and the restored face."""
        assert self.faces is not None
        name = f"{self.faces.stem}-{number:02}"
        return self.faces.with_name(f"{name}-lq.png"), self.faces.with_name(f"{name}.png")


@dataclass(frozen=True)
class Place:
    """A folder for results, and the pattern of their names."""

    folder: Path
    name: str = "{stem}"  # where {stem} and {ext} are the source's name and extension
    suffix: str = ""  # empty for the source's own, or PNG's for what is only read (BMP)

    def target(self, source: Source, number: str = "") -> Path:
        """Return the path of a source's result, with `number` appended to its name."""
        relative = source.relative
        words = {"stem": relative.stem, "ext": relative.suffix[1:]}
        name = re.sub("{(stem|ext)}", lambda match: words[match[1]], self.name)
        return self.folder / relative.parent / (name + number + (self.suffix or result_suffix(relative)))


def names_file(output: Path, inputs: Sequence[Path], *, suffixes: Iterable[str] = WRITTEN_SUFFIXES) -> bool:
    """Return whether an output names the file for the only input's result, rather than a folder.

    Raises:
        ConfigError: It ends like an image file, but not in one of `suffixes`, or the input is not one file.
    """
    suffix = output.suffix.lower()
    if (exists(output) and output.is_dir()) or suffix not in IMAGE_SUFFIXES | _FOREIGN_SUFFIXES:
        return False
    if len(inputs) != 1 or inputs[0].is_dir():
        raise ConfigError(
            f"{output} is the name of an image file, which holds one result",
            hint="name a folder for the results, or one file as the input",
        )
    if suffix not in suffixes:
        raise ConfigError(f"cannot write {output}", hint=f"use a name ending in {', '.join(suffixes)}")
    return True


def plan_jobs(
    sources: Iterable[Source],
    *places: Place,
    copies: int = 1,
    overwrite: bool = False,
    is_readable: Callable[[Path], bool] = lambda path: True,
    warn: Warn | None = None,
) -> list[list[Job]]:
    """Give every source its target in each place, at the same relative path.

    With several copies, `_0`, `_1` … is appended to the name. If a source is another source's target, it was
    made by an earlier run of the same command. It is then left out, and `warn` is called. With `overwrite` it
    could be lost, so it is an error. `is_readable` is called for sources that share a target.

    Raises:
        ConfigError: A source is listed twice, two readable sources share a target, a target is itself a
            source, or a place's folder is a file.
    """
    for place in places:
        if exists(place.folder) and not place.folder.is_dir():
            raise ConfigError(f"output is not a folder: {place.folder}", hint="name a folder")
    sources = list(sources)
    seen = set()
    for source in sources:
        if source in seen:
            raise ConfigError(f"{source.path} is named twice", hint="name each image once")
        seen.add(source)
    numbers = [f"_{copy}" for copy in range(copies)] if copies > 1 else [""]
    plans = [
        [Job(one, place.target(one, number), copy) for one in sources for copy, number in enumerate(numbers)]
        for place in places
    ]
    results = set() if overwrite else _results(sources, chain(*plans))
    if results:
        plans = [[job for job in plan if job.source not in results] for plan in plans]
        if warn:
            names = shorten(sorted(str(source.path) for source in results), limit=3)
            warn(f"left out as inputs, since this command writes them: {names}")
    inputs = [source.path for source in sources if source not in results]
    check_targets(chain(*plans), inputs=inputs, is_readable=is_readable)
    return plans


def _results(sources: Iterable[Source], jobs: Iterable[Job]) -> set[Source]:
    """Return the sources that are targets of other sources."""
    real_folder = cache(real)  # of which there are few

    def entry(path: Path) -> Path:
        return real_folder(path.parent) / path.name

    makers: dict[Path, set[Source]] = {}
    for job in jobs:
        makers.setdefault(entry(job.target), set()).add(job.source)
    return {source for source in sources if makers.get(entry(source.path), set()) - {source}}


def check_targets(
    jobs: Iterable[Job],
    *,
    inputs: Iterable[Path],
    is_readable: Callable[[Path], bool] = lambda path: True,
) -> None:
    """Reject targets that would overwrite each other or an input.

    Sources that cannot be read have no result.
    """
    by_target: dict[Path, Job] = {}
    inputs = {identity(path) for path in inputs}
    for job in jobs:
        target = identity(job.target)
        rival = by_target.setdefault(target, job)
        if rival is not job and not is_readable(rival.source.path):
            by_target[target] = job
        elif rival is not job and is_readable(job.source.path):
            raise ConfigError(
                f"{rival.source.path} and {job.source.path} would both be written to {job.target}",
                hint="rename one of them, or use different output folders",
            )
        if target in inputs:
            hint = "choose another output folder"
            raise ConfigError(f"{job.target} would overwrite an input", hint=hint)


def check_files(
    files: Mapping[str, Path | None], *, inputs: Iterable[Path], results: Iterable[Path] = ()
) -> None:
    """Reject single output files, such as a table, that cannot be written or would overwrite another file.

    Args:
        files: Option to path, None for an option that is not used.
        inputs: Files that are read.
        results: All other files that are written.
    """
    taken = {identity(path): "a result" for path in results}
    taken |= {identity(path): "an input" for path in inputs}
    for option, path in files.items():
        if path is None:
            continue
        rival = taken.setdefault(identity(path), f"that of `{option}`")
        if rival != f"that of `{option}`":
            raise ConfigError(f"`{option} {path}` would overwrite {rival}", hint="name another file")
        if exists(path) and path.is_dir():
            raise ConfigError(f"`{option} {path}` is a folder", hint="name a file")
        place = real(path)
        folder = next(filter(exists, place.parents), Path(place.anchor))  # Windows may have no such drive
        if not is_special(path) and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise ConfigError(f"`{option} {path}`: cannot write to {folder}", hint="name another file")


def split_done(
    jobs: Iterable[Job], is_done: Callable[[Job], bool]
) -> tuple[list[Job], list[Job], list[Failure]]:
    """Return jobs to do, those that are done, and those of which `is_done` raises `ImageError`."""
    todo: list[Job] = []
    done: list[Job] = []
    failed: list[Failure] = []
    for job in jobs:
        try:
            (done if is_done(job) else todo).append(job)
        except ImageError as error:
            failed.append(Failure.of(job.source.path, error))
    return todo, done, failed


def foreign(path: Path) -> ImageError:
    """Return the error for a result whose file exists and is not from facesr. It may be an original."""
    return ImageError(
        "exists, and facesr did not write it",
        file=path,
        hint="choose another output, or replace the file with `--overwrite`",
    )


def result_suffix(path: Path) -> str:
    """Return a result's suffix: that of its source, or PNG's for formats that are only read."""
    suffix = path.suffix.lower()
    return _RESULT_SUFFIXES.get(suffix, path.suffix if suffix in IMAGE_SUFFIXES else ".png")
