"""Enlarging files: read, enlarge, finish, write."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from facesr.config.model import SCALE
from facesr.config.upscale import UpscaleConfig
from facesr.errors import ImageError
from facesr.events import Failure, Reporter
from facesr.files.jobs import Job
from facesr.processes import cores
from facesr.results import UpscaleResult
from facesr.weights.find import WeightFiles

if TYPE_CHECKING:
    from facesr.images.image import ImageData


def upscale_files(
    config: UpscaleConfig, reporter: Reporter, todo: list[Job], skipped: tuple[Path, ...], files: WeightFiles
) -> UpscaleResult:
    # Imported here, so that the errors above answer without the seconds that torch takes to load.
    from facesr.images.read import read_image
    from facesr.images.write import write_image
    from facesr.inference.stream import batch_size, enlarge_stream, load_for, result_px
    from facesr.parallel import Outcome, StageTimes, map_ahead

    runtime = config.runtime
    model = load_for(files, runtime)
    times = StageTimes()
    batch = batch_size(runtime, model.device)
    notes: dict[str, list[Path]] = {}

    def read(job: Job) -> "ImageData":
        with times.measure("decode"):
            picture = read_image(job.source.path, max_pixels=config.max_pixels)
        check_result(picture, job.target, config)
        for note in (*picture.notes, *result_notes(picture, job.target)):
            notes.setdefault(note, []).append(job.source.path)
        return picture

    def write(enlarged: Outcome[Job, tuple["ImageData", ...]]) -> Path:
        if isinstance(enlarged.value, ImageError):
            raise enlarged.value
        with times.measure("encode"):
            picture = finish(enlarged.value[0], config)
            write_image(enlarged.item.target, picture, quality=config.quality)
        return enlarged.item.target

    written: list[Path] = []
    failed: list[Failure] = []
    start = time.perf_counter()
    reporter.begin(len(todo), "images")
    executor = ThreadPoolExecutor(max_workers=min(8, cores()))
    try:
        decoded = map_ahead(executor, read, todo, depth=2 * batch + 2)
        enlarged = enlarge_stream([model], decoded, runtime=runtime, warn=reporter.warn, times=times)
        for outcome in map_ahead(executor, write, enlarged, depth=2 * batch + 2, pixels=result_px):
            if isinstance(outcome.value, ImageError):
                failed.append(Failure.of(outcome.item.item.source.path, outcome.value))
            else:
                written.append(outcome.value)
            reporter.advance()
    finally:
        executor.shutdown(cancel_futures=True)
        for note, paths in notes.items():
            others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            reporter.warn(f"{note}: {min(paths)}{others}")
    return UpscaleResult(
        tuple(written),
        skipped,
        tuple(failed),
        config.output,
        files.name,
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        sha256=model.sha256,
        seconds=time.perf_counter() - start,
        stages=times.table(),
    )


def check_result(picture: "ImageData", target: Path, config: UpscaleConfig) -> None:
    """Refuse, before the network runs, a result that its format cannot hold.

    Raises:
        ImageError: A side is too long.
    """
    from facesr.images.write import check_writable

    height, width = (max(1, round(side * config.outscale)) for side in picture.size)
    check_writable(target, height=height, width=width)


def result_notes(picture: "ImageData", target: Path) -> list[str]:
    """Say what the format of the result loses."""
    from facesr.images.write import exif_is_too_long, holds_alpha

    suffix = target.suffix or target.name
    notes = []
    if picture.alpha is not None and not holds_alpha(suffix):
        notes.append("transparency is laid on white")
    if exif_is_too_long(picture, suffix):
        notes.append("EXIF is too long for JPEG and left out")
    return notes


def finish(picture: "ImageData", config: UpscaleConfig) -> "ImageData":
    """Bring a 4x result to the enlargement that was asked for."""
    if config.outscale == SCALE:
        return picture
    height, width = (max(1, round(side / SCALE * config.outscale)) for side in picture.size)
    return picture.resized(height, width)
