"""Records of degradations: the parameters of each result, in its PNG file or as lines of a text file."""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from facesr.errors import ConfigError, ImageError, shorten
from facesr.events import Reporter
from facesr.files.atomic import write_atomic
from facesr.files.jobs import Job
from facesr.files.paths import check_regular, is_there

# The file, the number of its copy, the seed, the scale and the drawn steps, as plain JSON values.
Record = dict[str, Any]

KEY = "facesr:degradation"  # of the text chunk in a PNG
_MAX_CHARACTERS = 65_536  # the longest of a preset has 2,000


class Replay:
    """Records to repeat: the lines of a file, the PNGs of a folder, or one PNG for every result."""

    def __init__(self, path: Path) -> None:
        self.path = path
        is_png = path.suffix.lower() == ".png"
        self._lines = None if path.is_dir() or is_png else _read_lines(path)

    def record_for(self, job: Job, *, output: Path) -> Record:
        """Return the record for one result, which will be written below the folder `output`."""
        if self._lines is None:
            png = self.path / job.target.relative_to(output) if self.path.is_dir() else self.path
            if not is_there(png):
                raise ImageError(f"`--replay {self.path}` has no {png.name} for it", file=job.source.path)
            return read_record(png)
        record = self._lines.get((job.source.relative.as_posix(), job.copy))
        if record is None:
            raise ImageError(f"`--replay {self.path}` has no line for it", file=job.source.path)
        return record


def find_record(path: Path) -> str | None:
    """Return the record of a PNG as text, even if it is damaged. None for any other file."""
    try:
        return _read_text(path)
    except ImageError:
        return None


def read_record(path: Path) -> Record:
    """Return the record in a PNG file.

    Raises:
        ImageError: The file has no record, or a damaged one.
    """
    text = _read_text(path)
    if text is None:
        raise ImageError("has no degradation record", file=path)
    try:
        return _parse(text)
    except (ValueError, RecursionError) as error:  # the latter from a thousand brackets
        raise ImageError(f"its degradation record is damaged, {error}", file=path) from error


def _read_text(path: Path) -> str | None:
    try:
        check_regular(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nothing but the header is decoded
            with Image.open(path, formats=["PNG"]) as image:
                return image.info.get(KEY)
    except ImageError:
        raise
    except Exception as error:  # Pillow raises any kind for damaged files
        raise ImageError(f"not a readable PNG ({type(error).__name__})", file=path) from error


def encode_record(record: Record) -> str:
    """Return a record as ASCII text for a PNG. Of the path it keeps only the file name."""
    return json.dumps({**record, "file": Path(record["file"]).name}, separators=(",", ":"))


def write_params(path: Path, jobs: Iterable[Job], reporter: Reporter) -> None:
    """Write the records of all existing results, one JSON line each, and warn about results without one."""
    lines, missing = [], []
    for job in jobs:
        if not is_there(job.target):
            continue
        try:
            record = {**read_record(job.target), "file": job.source.relative.as_posix()}
            lines.append(json.dumps(record) + "\n")
        except ImageError as error:
            missing.append(error.message)
    if missing:
        reporter.warn(f"{len(missing)} results are not listed in {path}: {shorten(missing, limit=3)}")
    try:
        write_atomic(path, lambda stream: stream.write("".join(lines).encode()))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error


def _read_lines(path: Path) -> dict[tuple[str, int], Record]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        records = [_parse(line) for line in lines if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"cannot read `--replay {path}`: {error}",
            hint="name a file written by `--params-out`, or a folder of PNG files made by `facesr degrade`",
        ) from error
    return {(record["file"], record["copy"]): record for record in records}


def _parse(text: str) -> Record:
    """Parse a record. Raises ValueError or RecursionError if it is not one."""
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"it is longer than {_MAX_CHARACTERS:,} characters")
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError("it is not a JSON object")
    for key, kind in {"file": str, "copy": int, "seed": int, "scale": int, "steps": list}.items():
        if not isinstance(record.get(key), kind):
            raise ValueError(f"it has no `{key}` of type {kind.__name__}")
    return record
