"""Degrading files: read, degrade, write."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facesr.config.degrade import DegradeConfig
from facesr.degradation.record import (
    Line,
    Table,
    earlier_params,
    key_of,
    lasting_params,
    line_of_file,
    read_params,
    write_lines,
)
from facesr.errors import ImageError
from facesr.events import Failure, Reporter
from facesr.files.jobs import Job, split_done
from facesr.files.paths import exists, is_special, is_there
from facesr.processes import cores
from facesr.results import DegradeResult

if TYPE_CHECKING:
    from facesr.images.image import Array


def degrade_files(
    config: DegradeConfig, reporter: Reporter, jobs: list[Job], truths: dict[Any, Path]
) -> DegradeResult:
    # Imported here, so that errors in the paths answer without the seconds that torch takes to load.
    import torch

    from facesr.degradation.degrader import degrade_pixels
    from facesr.images.image import ImageData
    from facesr.images.write import write_image
    from facesr.parallel import map_ahead

    replayed = read_params(config.replay) if config.replay else None
    alone = config.hq is not None and not config.hq.is_dir()
    cropped: list[Path] = []

    def params_of(job: Job) -> Line | None:
        if replayed is None:
            return draw_for(config, job)
        return line_of_file(replayed, job) if alone else replayed.get(key_of(job))

    def is_done(job: Job) -> bool:
        truth = truths.get((job.source, job.copy), job.target)
        return not config.overwrite and is_there(job.target) and is_there(truth)

    def make(job: Job) -> None:
        params = params_of(job)
        if params is None:
            several = ", or several of its name" if alone else ""
            raise ImageError(f"no line for it in {config.replay}{several}", file=job.source.path)
        pixels, was_cropped = read_hq(config, job.source.path)
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
            write_image(truth, ImageData(rgb=pixels))
        write_image(job.target, ImageData(rgb=lq))

    def write_params(made: Iterable[Job], *, replaced: list[Job]) -> None:
        if config.params_out:
            lines = lasting_params(earlier, config, replaced)
            lines |= {key_of(job): params for job in made if (params := params_of(job))}
            write_lines(config.params_out, [json.dumps(lines[key]) for key in sorted(lines)])

    todo, skipped = split_done(jobs, is_done)
    earlier: Table = {}
    if config.params_out:
        earlier = earlier_params(config.params_out, skipped, reporter)
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


def draw_for(config: DegradeConfig, job: Job) -> Line:
    """Draw all parameters of one result, as a line of the parameter file holds them."""
    from facesr.degradation.degrader import derive_seed, draw

    name = job.source.relative.as_posix()
    seed = derive_seed(config.seed, name, job.copy)
    return {"file": name, "copy": job.copy, "seed": seed, "steps": draw(config.degradation, seed)}


def read_hq(config: DegradeConfig, path: Path) -> "tuple[Array, bool]":
    """Read an HQ picture as it is to be degraded; also tell whether it had to be cropped.

    Raises:
        ImageError: It cannot be read, is too small, or must not be cropped.
    """
    from facesr.degradation.degrader import crop_to_multiple
    from facesr.images.image import middle_square
    from facesr.images.read import read_image

    pixels = read_image(path).rgb8
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
