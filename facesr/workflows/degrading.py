"""`facesr degrade`: from HQ pictures to LQ ones, or to pairs."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facesr.cluster import cores
from facesr.config import DegradeConfig
from facesr.errors import ConfigError, ImageError
from facesr.files import (
    Job,
    check_files,
    exists,
    is_special,
    is_there,
    list_images,
    plan_jobs,
    plan_target,
    real,
    result_suffix,
    split_done,
    write_atomic,
)
from facesr.workflows.events import Failure, Reporter, Silent

if TYPE_CHECKING:
    from facesr.image import Array

Params = dict[str, Any]

# By the picture's path relative to its folder, and the number of the copy.
Table = dict[tuple[str, int], Params]


@dataclass(frozen=True)
class DegradeResult:
    """What `degrade` did.

    Attributes:
        written: LQ pictures that are new.
        skipped: LQ pictures that were there already.
        failed: HQ pictures that could not be done, and results that could not be written.
        output: The folder of LQ pictures.
        preview: The contact sheet, if one was asked for.
    """

    written: tuple[Path, ...]
    skipped: tuple[Path, ...]
    failed: tuple[Failure, ...]
    output: Path | None
    preview: Path | None = None


def degrade(config: DegradeConfig, reporter: Reporter | None = None) -> DegradeResult:
    """Make LQ pictures; each depends on its file, the configuration and the seed, and on nothing else.

    Raises:
        ConfigError: A missing or contradictory path, nothing to read, two inputs with one output, a file
            that cannot be written or would overwrite another.
    """
    if config.hq is None:
        raise ConfigError("no HQ folder given", hint="write `facesr degrade hq/ lq/`")
    if config.lq is None and config.preview is None:
        raise ConfigError("no folder for the LQ pictures given", hint="write `facesr degrade hq/ lq/`")
    if config.preview is not None and result_suffix(config.preview) != config.preview.suffix:
        raise ConfigError(f"`--preview {config.preview}` is no name of a picture", hint="let it end in .png")
    outputs = [path for path in (config.lq, config.hq_out) if path is not None]
    if len({real(path) for path in outputs}) < len(outputs):
        raise ConfigError(f"{config.lq} is given for both LQ and truth", hint="name two folders")
    reporter = reporter or Silent()
    sources = list_images([config.hq], recursive=config.recursive, exclude=outputs, warn=reporter.warn)
    jobs, hq_jobs = (
        plan_jobs(sources, output or Path(), suffix=".png", copies=config.copies) if output else []
        for output in (config.lq, config.hq_out)
    )
    check_files(
        {"--params-out": config.params_out, "--preview": config.preview},
        inputs=[*(source.path for source in sources), *([config.replay] if config.replay else [])],
        results=[job.target for job in (*jobs, *hq_jobs)],
    )
    result = DegradeResult((), (), (), config.lq)
    if jobs:
        truths = {(job.source, job.copy): job.target for job in hq_jobs}
        result = _write_pairs(config, reporter, jobs, truths)
    if config.preview is not None:
        from facesr.workflows.preview import write_preview  # loads torch

        write_preview(config, [source.path for source in sources], config.preview)
        result = replace(result, preview=config.preview)
    return result


def _write_pairs(
    config: DegradeConfig, reporter: Reporter, jobs: list[Job], truths: dict[Any, Path]
) -> DegradeResult:
    # Imported here, so that errors in the paths answer without the seconds that torch takes to load.
    import torch

    from facesr.degrade import degrade_pixels
    from facesr.image import Picture, write_picture
    from facesr.workflows.pipeline import map_ahead

    replayed = _read_params(config.replay) if config.replay else None
    alone = config.hq is not None and not config.hq.is_dir()
    cropped: list[Path] = []

    def params_of(job: Job) -> Params | None:
        if replayed is None:
            return draw_for(config, job)
        return _line_of_file(replayed, job) if alone else replayed.get(_key(job))

    def is_done(job: Job) -> bool:
        truth = truths.get((job.source, job.copy), job.target)
        return not config.overwrite and is_there(job.target) and is_there(truth)

    def make(job: Job) -> None:
        params = params_of(job)
        if params is None:
            several = ", or several of its name" if alone else ""
            raise ImageError(f"no line for it in {config.replay}{several}", file=job.source.path)
        pixels, was_cropped = read_truth(config, job.source.path)
        if was_cropped:
            cropped.append(job.source.path)
        try:
            lq = degrade_pixels(pixels, params["steps"], scale=config.scale)
        except Exception as error:
            if replayed is None:
                raise
            # The line was written by anybody.
            reason = f"its line in {config.replay} cannot be used ({type(error).__name__})"
            raise ImageError(reason, file=job.source.path) from error
        if truth := truths.get((job.source, job.copy)):
            write_picture(truth, Picture(rgb=pixels))
        write_picture(job.target, Picture(rgb=lq))

    def write_params(made: Iterable[Job], *, replaced: list[Job]) -> None:
        if config.params_out:
            lines = _lasting_params(earlier, config, replaced)
            lines |= {_key(job): params for job in made if (params := params_of(job))}
            _write_lines(config.params_out, [json.dumps(lines[key]) for key in sorted(lines)])

    todo, skipped = split_done(jobs, is_done)
    earlier: Table = {}
    if config.params_out:
        earlier = _earlier_params(config.params_out, skipped, reporter)
        # Now too, so that a killed run leaves the lines of what it made, and none of what it was to replace.
        if not is_special(config.params_out):
            write_params((job for job in todo if not exists(job.target)), replaced=todo)
    workers = config.workers if config.workers != "auto" else cores()
    written: list[Job] = []
    failed: list[Failure] = []
    reporter.begin(len(todo), "images")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # each worker is a thread of its own
    executor = ThreadPoolExecutor(max_workers=workers)
    try:
        for outcome in map_ahead(executor, make, todo, depth=2 * workers):
            if isinstance(outcome.value, ImageError):
                failed.append(Failure.of(outcome.item.source.path, outcome.value))
            else:
                written.append(outcome.item)
            reporter.advance()
    finally:
        executor.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
    if cropped:
        reporter.warn(
            f"{len(set(cropped))} pictures were cropped to multiples of {config.scale} px,"
            f" such as {min(cropped)}; `--strict` refuses them, `--hq-out` keeps the cropped truth"
        )
    write_params(written, replaced=written)
    return DegradeResult(
        tuple(job.target for job in written),
        tuple(job.target for job in skipped),
        tuple(failed),
        config.lq,
    )


def draw_for(config: DegradeConfig, job: Job) -> Params:
    """Draw all parameters of one result, as a line of the parameter file holds them."""
    from facesr.degrade import derive_seed, draw

    name = job.source.relative.as_posix()
    seed = derive_seed(config.seed, name, job.copy)
    return {"file": name, "copy": job.copy, "seed": seed, "steps": draw(config.degradation, seed)}


def read_truth(config: DegradeConfig, path: Path) -> "tuple[Array, bool]":
    """Read an HQ picture as it is to be degraded; also tell whether it had to be cropped.

    Raises:
        ImageError: It cannot be read, is too small, or must not be cropped.
    """
    from facesr.degrade import crop_to_multiple
    from facesr.image import middle_square, read_picture

    pixels = read_picture(path).rgb8
    if config.size_px:
        pixels = middle_square(pixels, side=config.size_px)
    try:
        fitting = crop_to_multiple(pixels, config.scale)
    except ImageError as error:
        raise ImageError(error.reason, file=path, hint=error.hint) from error
    cropped = fitting.shape != pixels.shape
    if cropped and config.strict:
        height, width = pixels.shape[:2]
        raise ImageError(f"{width}x{height} is not divisible by {config.scale}", file=path)
    return fitting, cropped


def _key(job: Job) -> tuple[str, int]:
    return job.source.relative.as_posix(), job.copy


def _line_of_file(table: Table, job: Job) -> Params | None:
    """Return the line of a file that was named without its folder: by the end of its path, or by its name."""
    name, path = job.source.relative.as_posix(), job.source.path.absolute().as_posix()
    named = [file for file, copy in table if copy == job.copy and Path(file).name == name]
    ends = [file for file in named if path.endswith(f"/{file}")] or (named if len(named) == 1 else [])
    return {**table[max(ends, key=len), job.copy], "file": name} if ends else None


def _earlier_params(path: Path, skipped: list[Job], reporter: Reporter) -> Table:
    """Return the lines of the runs before, as far as they are there; warn where skipped results have none."""
    table = _read_params(path) if exists(path) and not is_special(path) else {}
    if missing := [job.target for job in skipped if _key(job) not in table]:
        reporter.warn(
            f"{len(missing)} skipped pictures have no line in {path}, such as {min(missing)};"
            " `--overwrite` redoes them"
        )
    return table


def _lasting_params(table: Table, config: DegradeConfig, replaced: list[Job]) -> Table:
    """Return the lines whose results lie in the folder and are not replaced."""
    keys, targets = {_key(job) for job in replaced}, {job.target for job in replaced}

    def lasts(file: str, copy: int) -> bool:
        names = ["{stem}_" + str(copy), *(["{stem}"] if copy == 0 else [])]
        found = [plan_target(Path(file), config.lq or Path(), suffix=".png", name=name) for name in names]
        return (file, copy) not in keys and any(exists(path) and path not in targets for path in found)

    return {key: line for key, line in table.items() if lasts(*key)}


def _read_params(path: Path) -> Table:
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


def _write_lines(path: Path, lines: list[str]) -> None:
    content = "".join(line + "\n" for line in lines).encode()
    try:
        write_atomic(path, lambda stream: stream.write(content))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
