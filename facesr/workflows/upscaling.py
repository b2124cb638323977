"""`facesr upscale`: pictures in, pictures four times as large out."""

import io
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from facesr.cluster import cores, pick_shard
from facesr.config import UpscaleConfig
from facesr.errors import ImageError
from facesr.files import Job, is_there, list_images, plan_jobs, split_done
from facesr.weights.locate import WeightFiles, locate
from facesr.workflows.events import Failure, Reporter, Silent

if TYPE_CHECKING:
    from facesr.image import Picture

SCALE = 4

# More than any picture within the limit of pixels takes.
_MAX_STREAM_BYTES = 1 << 30


@dataclass(frozen=True)
class UpscaleResult:
    """What `upscale` did.

    Attributes:
        written: Results that are new.
        skipped: Results that were there already.
        failed: Inputs that could not be done, and results that could not be written.
        output: The folder of results.
        model: Name of the model.
        device: Where it ran; empty when there was nothing to run.
        dtype: In which precision.
        sha256: Of the file of the model's weights, hexadecimal; empty as `device`.
        seconds: From the first picture read to the last one written.
        stages: Seconds by stage, over all cores: decode, network, encode, and waiting, when a core that
            could have run the network did not. On CUDA, network and waiting are of the device.
    """

    written: tuple[Path, ...]
    skipped: tuple[Path, ...]
    failed: tuple[Failure, ...]
    output: Path
    model: str
    device: str = ""
    dtype: str = ""
    sha256: str = ""
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)


def upscale(config: UpscaleConfig, reporter: Reporter | None = None) -> UpscaleResult:
    """Enlarge pictures four times, file by file; a broken one is noted and the others go on.

    Raises:
        ConfigError: A path that does not exist, nothing to read, two inputs with one output, no such model.
        WeightsError: Unusable weights.
        DeviceError: The device or precision is not to be had.
    """
    reporter = reporter or Silent()
    suffix = "" if config.format == "auto" else f".{config.format}"
    sources = list_images(
        config.inputs, recursive=config.recursive, exclude=[config.output], warn=reporter.warn
    )
    index, count = pick_shard(config.shard)
    jobs = plan_jobs(sources, config.output, suffix=suffix, name=config.name)[index::count]
    files = locate(config.model)
    todo, done = split_done(jobs, lambda job: not config.overwrite and is_there(job.target))
    skipped = tuple(job.target for job in done)
    if not todo:
        return UpscaleResult((), skipped, (), config.output, files.name)
    return _run(config, reporter, todo, skipped, files)


def _run(
    config: UpscaleConfig, reporter: Reporter, todo: list[Job], skipped: tuple[Path, ...], files: WeightFiles
) -> UpscaleResult:
    # Imported here, so that the errors above answer without the seconds that torch takes to load.
    from facesr.image import read_picture, write_picture
    from facesr.workflows.pipeline import (
        Outcome,
        StageTimes,
        batch_size,
        enlarge_stream,
        load_for,
        map_ahead,
        result_px,
    )

    runtime = config.runtime
    model = load_for(files, runtime)
    times = StageTimes()
    batch = batch_size(runtime, model.device)
    notes: dict[str, list[Path]] = {}

    def read(job: Job) -> "Picture":
        with times.measure("decode"):
            picture = read_picture(job.source.path, max_pixels=config.max_pixels)
        check_result(picture, job.target, config)
        for note in (*picture.notes, *result_notes(picture, job.target)):
            notes.setdefault(note, []).append(job.source.path)
        return picture

    def write(enlarged: Outcome[Job, tuple["Picture", ...]]) -> Path:
        if isinstance(enlarged.value, ImageError):
            raise enlarged.value
        with times.measure("encode"):
            picture = finish(enlarged.value[0], config)
            write_picture(enlarged.item.target, picture, quality=config.quality)
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


def upscale_stream(
    config: UpscaleConfig, source: BinaryIO, target: BinaryIO, reporter: Reporter | None = None
) -> None:
    """Enlarge one picture from a stream to a stream.

    Raises:
        ImageError: No picture, or one that is too large.
        ConfigError: No such model.
        WeightsError: Unusable weights.
        DeviceError: The device or precision is not to be had.
    """
    reporter = reporter or Silent()
    files = locate(config.model)
    from facesr.image import encode_picture, read_picture, sniff_suffix
    from facesr.workflows.pipeline import Outcome, enlarge_stream, load_for

    content = source.read(_MAX_STREAM_BYTES + 1)
    if len(content) > _MAX_STREAM_BYTES:
        raise ImageError(f"more than {_MAX_STREAM_BYTES:,} bytes on stdin", hint="name a file instead")
    picture = read_picture(io.BytesIO(content), max_pixels=config.max_pixels)
    suffix = sniff_suffix(content) if config.format == "auto" else f".{config.format}"
    check_result(picture, Path(f"stdin{suffix}"), config)
    for note in (*picture.notes, *result_notes(picture, Path(suffix))):
        reporter.warn(note)
    model = load_for(files, config.runtime)
    (outcome,) = enlarge_stream([model], [Outcome(None, picture)], runtime=config.runtime, warn=reporter.warn)
    if isinstance(outcome.value, ImageError):
        raise outcome.value
    target.write(encode_picture(finish(outcome.value[0], config), suffix, quality=config.quality))


def check_result(picture: "Picture", target: Path, config: UpscaleConfig) -> None:
    """Refuse, before the network runs, a result that its format cannot hold.

    Raises:
        ImageError: A side is too long.
    """
    from facesr.image import check_writable

    height, width = (max(1, round(side * config.outscale)) for side in picture.size)
    check_writable(target, height=height, width=width)


def result_notes(picture: "Picture", target: Path) -> list[str]:
    """Say what the format of the result loses."""
    from facesr.image import exif_is_too_long, holds_alpha

    suffix = target.suffix or target.name
    notes = []
    if picture.alpha is not None and not holds_alpha(suffix):
        notes.append("transparency is laid on white")
    if exif_is_too_long(picture, suffix):
        notes.append("EXIF is too long for JPEG and left out")
    return notes


def finish(picture: "Picture", config: UpscaleConfig) -> "Picture":
    """Bring a 4x result to the enlargement that was asked for."""
    if config.outscale == SCALE:
        return picture
    height, width = (max(1, round(side / SCALE * config.outscale)) for side in picture.size)
    return picture.resized(height, width)
