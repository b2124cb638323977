"""Finding pictures, planning where results go, and writing files all or nothing."""

import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from facesr.errors import ConfigError, ImageError, shorten

Warn = Callable[[str], object]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp"})

# No others, so that a file cannot call up a decoder that nobody needs, such as that of PostScript.
READ_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")

# What a camera or a phone may have put beside them.
_OTHER_SUFFIXES = frozenset(
    {".arw", ".avif", ".cr2", ".dng", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".nef"}
)

# Results take these instead: BMP is only read, and the rest are rarer names of JPEG.
_RESULT_SUFFIXES = {".bmp": ".png", ".jpe": ".jpg", ".jfif": ".jpg"}


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
    inputs: Iterable[Path],
    *,
    recursive: bool = False,
    exclude: Iterable[Path] = (),
    warn: Warn | None = None,
) -> list[Source]:
    """List pictures: files as they are named, folders by suffix, hidden ones left out, sorted by path.

    Args:
        inputs: Files and folders.
        recursive: Whether to go down into folders; links to folders are not followed.
        exclude: Folders, such as the output, that are not looked into.
        warn: Is told if pictures in formats that are not read were left out.

    Raises:
        ConfigError: A path does not exist, a folder cannot be listed, or nothing is found at all.
    """
    found: list[Source] = []
    others: list[Path] = []
    inputs, exclude = list(inputs), {real(path) for path in exclude}
    for path in inputs:
        if not exists(path):
            raise ConfigError(f"no such file or folder: {path}", hint="check the path")
        if path.is_dir():
            children = list(_walk(path, recursive, exclude))
            found += [Source(child, child.relative_to(path)) for child in children if _is_image(child)]
            others += [child for child in children if child.suffix.lower() in _OTHER_SUFFIXES]
        else:
            found.append(Source(path, Path(path.name)))
    left_out = ""
    if others:
        names = shorten(sorted(map(str, others)), limit=3)
        left_out = f"pictures in other formats are left out, convert them to PNG or JPEG: {names}"
    if not found:
        hint = left_out or f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))} are read"
        if not recursive and any(_is_image(child) for path in inputs for child in _walk(path, True, exclude)):
            hint = "`--recursive` looks into the folders below too"
        raise ConfigError(f"no pictures in {', '.join(map(str, inputs))}", hint=hint)
    if left_out and warn:
        warn(left_out)
    return found


def _walk(folder: Path, recursive: bool, exclude: set[Path]) -> Iterator[Path]:
    for root, folders, names in os.walk(folder, onerror=_refuse_unreadable):
        folders[:] = [
            name
            for name in sorted(folders)
            if recursive and not name.startswith(".") and real(Path(root, name)) not in exclude
        ]
        # Pipes and links that lead nowhere too: they are reported when they are read, not passed over.
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _refuse_unreadable(error: OSError) -> NoReturn:
    raise ConfigError(
        f"cannot list {error.filename}: {error.strerror}", hint="mend its permissions, or leave it out"
    ) from error


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


def is_special(path: Path) -> bool:
    """Tell whether there is something that is neither a file nor a folder, such as a pipe or a device."""
    return exists(path) and not path.is_file() and not path.is_dir()


def check_regular(path: Path) -> None:
    """Refuse what is no ordinary file, such as a pipe that nobody writes to, which would be waited for.

    Raises:
        ImageError: It is none.
        OSError: It is missing.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ImageError("not an ordinary file", file=path)


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
            target = plan_target(source.relative, output, suffix=suffix, name=name + number)
            jobs.append(Job(source, target, copy))
    check_targets(jobs, inputs=[job.source.path for job in jobs])
    return jobs


def plan_target(relative: Path, output: Path, *, suffix: str = "", name: str = "{stem}") -> Path:
    """Return where the result of a source at a relative path goes; as `plan_jobs`."""
    ending = suffix or result_suffix(relative)
    return output / relative.parent / (name.replace("{stem}", relative.stem) + ending)


def check_targets(jobs: Iterable[Job], *, inputs: Iterable[Path]) -> None:
    """Refuse results that would take the place of each other, or of something that is read.

    Args:
        jobs: The results.
        inputs: All files that are read.

    Raises:
        ConfigError: Two jobs share a target, or a target is itself an input.
    """
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
            raise ConfigError(
                f"{job.target} would overwrite an input", hint="choose another folder for the output"
            )


def check_files(
    files: Mapping[str, Path | None], *, inputs: Iterable[Path], results: Iterable[Path] = ()
) -> None:
    """Refuse single files, such as a table, that cannot be written or would take the place of another.

    Args:
        files: From the options to the files that they name, if any.
        inputs: All files that are read.
        results: All others that are written.

    Raises:
        ConfigError: Two are the same, one is an input, a result or a folder, or its folder cannot be made or
            written to.
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
    """Divide jobs into those that are to be done and those that are done already, both in their order."""
    todo: list[Job] = []
    done: list[Job] = []
    for job in jobs:
        (done if is_done(job) else todo).append(job)
    return todo, done


def result_suffix(path: Path) -> str:
    """Return the suffix of a result that keeps its source's format; what is only read becomes PNG."""
    suffix = path.suffix.lower()
    return _RESULT_SUFFIXES.get(suffix, path.suffix if suffix in IMAGE_SUFFIXES else ".png")


def write_atomic(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = False) -> None:
    """Make `path` appear complete or not at all; its folder is made if missing.

    The bytes go to a hidden file beside it, which is renamed when `write` has returned and
    removed when it has raised. Where `path` is a link, the file that it leads to is replaced; what is no
    file, such as a pipe, is written into.

    Args:
        path: The file.
        write: Writes the bytes to the stream that it is given.
        durable: Whether the bytes must be on the disk before they take the old file's place.
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
