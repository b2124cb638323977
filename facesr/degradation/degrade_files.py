"""Degrading files: read, degrade, write."""

from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

import torch

from facesr.config.degrade import DegradeConfig
from facesr.degradation.degrader import crop_to_multiple, degrade_pixels, derive_seed, draw
from facesr.degradation.record import KEY, Record, Replay, encode_record, find_record, write_params
from facesr.errors import ImageError
from facesr.events import Reporter
from facesr.files.jobs import Job, foreign, split_done
from facesr.files.paths import is_there
from facesr.images.image import Array, ImageData, middle_square
from facesr.images.read import read_image
from facesr.images.write import write_image
from facesr.parallel import Stages, run_files, succeeded
from facesr.processes import cores
from facesr.results import DegradeResult


def degrade_files(
    config: DegradeConfig,
    reporter: Reporter,
    jobs: list[Job],
    *,
    output: Path,
    hq_targets: Mapping[Job, Path],
) -> DegradeResult:
    """Make the LQ images below `output` that do not exist yet, and the HQ images in `hq_targets`.

    Raises:
        ConfigError: The file of `--replay` cannot be read, or the file of `--params-out` cannot be written.
    """
    replay = Replay(config.replay) if config.replay else None
    cropped: list[Path] = []
    other: list[Path] = []  # results whose record is not the one that they would get now

    def is_done(job: Job) -> bool:
        if config.overwrite or not is_there(job.target):
            return False
        text = find_record(job.target)
        if text is None:
            raise foreign(job.target)
        if not is_there(hq_targets.get(job, job.target)):
            return False
        with suppress(ImageError):  # a replay that lacks it matters only to what is made
            if text != encode_record(record_for(job)):
                other.append(job.target)
        return True

    def record_for(job: Job) -> Record:
        record = replay.record_for(job, output=output) if replay else draw_for(config, job)
        return {**record, "file": job.source.path.name, "copy": job.copy}

    def decode(job: Job) -> tuple[Record, Array]:
        record = record_for(job)
        if record["scale"] != config.scale:
            raise ImageError(
                f"its degradation was drawn for `--scale {record['scale']}`, not {config.scale}",
                file=job.source.path,
                hint="give the `--scale` that the records were made with",
            )
        pixels, was_cropped = read_hq(config, job.source.path)
        if was_cropped:
            cropped.append(job.source.path)
        return record, pixels

    def encode(job: Job, decoded: tuple[Record, Array]) -> Path:
        record, pixels = decoded
        try:
            lq = degrade_pixels(pixels, record["steps"], scale=config.scale)
        except Exception as error:
            if replay is None:
                raise
            # The record was written by anybody.
            reason = f"its record in `--replay {replay.path}` cannot be used ({type(error).__name__})"
            raise ImageError(reason, file=job.source.path) from error
        if hq_target := hq_targets.get(job):
            write_image(hq_target, ImageData(rgb=pixels))
        write_image(job.target, ImageData(rgb=lq), text={KEY: encode_record(record)})
        return job.target

    todo, skipped, failed = split_done(jobs, is_done)
    if other:
        reporter.warn(
            f"{len(other)} existing results were made with other options, such as {min(other)}."
            " `--overwrite` makes them again"
        )
    workers = config.workers if config.workers != "auto" else cores()
    reporter.begin(len(todo), "images")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # each worker is a thread of its own
    stages = Stages(decode=decode, encode=encode)
    try:
        with closing(run_files(todo, stages, threads=workers, depth=2 * workers)) as outcomes:
            written = tuple(succeeded(outcomes, reporter, failed, path_of=lambda job: job.source.path))
    finally:
        torch.set_num_threads(threads)
    if cropped:
        reporter.warn(
            f"{len(set(cropped))} images were cropped to multiples of {config.scale} px,"
            f" such as {min(cropped)}. `--strict` refuses them. `--hq-out` writes the cropped HQ images"
        )
    if config.params_out:
        write_params(config.params_out, jobs, reporter)
    return DegradeResult(written, tuple(job.target for job in skipped), tuple(failed), output)


def draw_for(config: DegradeConfig, job: Job) -> Record:
    name = job.source.relative.as_posix()
    seed = derive_seed(config.seed, name, job.copy)
    steps = draw(config.degradation, seed)
    return {"file": name, "copy": job.copy, "seed": seed, "scale": config.scale, "steps": steps}


def read_hq(config: DegradeConfig, path: Path) -> tuple[Array, bool]:
    """Read an HQ image, cropped as needed for degrading. Also return whether it was cropped."""
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
