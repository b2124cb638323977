"""`facesr upscale`: pictures in, pictures four times as large out."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facesr.config import UpscaleConfig
from facesr.errors import ImageError
from facesr.files import Job, list_images, plan_jobs
from facesr.weights.locate import WeightFiles, locate
from facesr.workflows.events import Failure, Reporter, Silent

if TYPE_CHECKING:
    from facesr.image import Picture


@dataclass(frozen=True)
class UpscaleResult:
    """What `upscale` did.

    Attributes:
        written: Results that are new.
        skipped: Results that were there already.
        failed: Inputs without a result.
        output: The folder of results.
        model: Name of the model.
        device: Where it ran; empty when there was nothing to run.
        dtype: In which precision.
        seconds: From the first picture read to the last one written.
    """

    written: tuple[Path, ...]
    skipped: tuple[Path, ...]
    failed: tuple[Failure, ...]
    output: Path
    model: str
    device: str = ""
    dtype: str = ""
    seconds: float = 0.0


def upscale(config: UpscaleConfig, reporter: Reporter | None = None) -> UpscaleResult:
    """Enlarge pictures four times, file by file; a broken one is noted and the others go on.

    Raises:
        ConfigError: A path that does not exist, nothing to read, two inputs with one output, no such model.
        WeightsError: Unusable weights.
        DeviceError: The device or precision is not to be had.
    """
    reporter = reporter or Silent()
    suffix = "" if config.format == "auto" else f".{config.format}"
    sources = list_images(config.inputs, recursive=config.recursive, exclude=config.output)
    jobs = plan_jobs(sources, config.output, suffix=suffix)
    files = locate(config.model)
    todo = [job for job in jobs if config.overwrite or not job.target.exists()]
    skipped = tuple(job.target for job in jobs if job not in set(todo))
    if not todo:
        return UpscaleResult((), skipped, (), config.output, files.name)
    return _run(config, reporter, todo, skipped, files)


def _run(
    config: UpscaleConfig, reporter: Reporter, todo: list[Job], skipped: tuple[Path, ...], files: WeightFiles
) -> UpscaleResult:
    # Imported here, so that the errors above answer without the seconds that torch takes to load.
    from facesr.image import check_writable, read_picture, write_picture
    from facesr.weights.load import load_model
    from facesr.workflows.pipeline import Outcome, batch_size, enlarge_stream, map_ahead

    runtime = config.runtime
    model = load_model(files, device=runtime.device, dtype=runtime.dtype)
    batch = batch_size(runtime, model.device)
    scale = model.network.scale

    def read(job: Job) -> "Picture":
        picture = read_picture(job.source.path)
        height, width = picture.size
        check_writable(job.target, height=height * scale, width=width * scale)
        return picture

    def write(enlarged: Outcome[Job, tuple["Picture", ...]]) -> Path:
        if isinstance(enlarged.value, ImageError):
            raise enlarged.value
        write_picture(enlarged.item.target, enlarged.value[0], quality=config.quality)
        return enlarged.item.target

    written: list[Path] = []
    failed: list[Failure] = []
    start = time.perf_counter()
    reporter.begin(len(todo), "images")
    executor = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        decoded = map_ahead(executor, read, todo, depth=2 * batch + 2)
        enlarged = enlarge_stream([model], decoded, runtime=runtime)
        for outcome in map_ahead(executor, write, enlarged, depth=2 * batch + 2):
            if isinstance(outcome.value, ImageError):
                failed.append(Failure(outcome.item.item.source.path, outcome.value.reason))
            else:
                written.append(outcome.value)
            reporter.advance()
    finally:
        executor.shutdown(cancel_futures=True)
    return UpscaleResult(
        tuple(written),
        skipped,
        tuple(failed),
        config.output,
        files.name,
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        seconds=time.perf_counter() - start,
    )
