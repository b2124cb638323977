"""Written down parameters of degraded images, by which they can be made again."""

import json
from pathlib import Path
from typing import Any

from facesr.config.degrade import DegradeConfig
from facesr.errors import ConfigError
from facesr.events import Reporter
from facesr.files.atomic import write_atomic
from facesr.files.jobs import Job, plan_target
from facesr.files.paths import exists, is_special

Line = dict[str, Any]


# By the picture's path relative to its folder, and the number of the copy.
Table = dict[tuple[str, int], Line]


def key_of(job: Job) -> tuple[str, int]:
    return job.source.relative.as_posix(), job.copy


def line_of_file(table: Table, job: Job) -> Line | None:
    """Return the line of a file that was named without its folder: by the end of its path, or by its name."""
    name, path = job.source.relative.as_posix(), job.source.path.absolute().as_posix()
    named = [file for file, copy in table if copy == job.copy and Path(file).name == name]
    ends = [file for file in named if path.endswith(f"/{file}")] or (named if len(named) == 1 else [])
    return {**table[max(ends, key=len), job.copy], "file": name} if ends else None


def earlier_params(path: Path, skipped: list[Job], reporter: Reporter) -> Table:
    """Return the lines of the runs before, as far as they are there; warn where skipped results have none."""
    table = read_params(path) if exists(path) and not is_special(path) else {}
    if missing := [job.target for job in skipped if key_of(job) not in table]:
        reporter.warn(
            f"{len(missing)} skipped pictures have no line in {path}, such as {min(missing)};"
            " `--overwrite` redoes them"
        )
    return table


def lasting_params(table: Table, config: DegradeConfig, replaced: list[Job]) -> Table:
    """Return the lines whose results lie in the folder and are not replaced."""
    keys, targets = {key_of(job) for job in replaced}, {job.target for job in replaced}

    def lasts(file: str, copy: int) -> bool:
        names = ["{stem}_" + str(copy), *(["{stem}"] if copy == 0 else [])]
        found = [plan_target(Path(file), config.lq or Path(), suffix=".png", name=name) for name in names]
        return (file, copy) not in keys and any(exists(path) and path not in targets for path in found)

    return {key: line for key, line in table.items() if lasts(*key)}


def read_params(path: Path) -> Table:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        table = [json.loads(line) for line in lines if line.strip()]
        return {
            (str(line["file"]), int(line["copy"])): {**line, "steps": list(line["steps"])} for line in table
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"cannot read the parameters in {path}: {error}", hint="name a file written by `--params-out`"
        ) from error


def write_lines(path: Path, lines: list[str]) -> None:
    content = "".join(line + "\n" for line in lines).encode()
    try:
        write_atomic(path, lambda stream: stream.write(content))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
