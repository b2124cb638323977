"""Enlarging files: read, enlarge, bring to the final size, write."""

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from facesr.config.upscale import UpscaleConfig
from facesr.errors import ConfigError, ImageError
from facesr.events import Failure, Reporter
from facesr.files.jobs import Job
from facesr.images.image import ImageData
from facesr.images.read import read_image
from facesr.images.write import (
    check_writable,
    encode_image,
    exif_is_too_long,
    holds_alpha,
    metadata_losses,
    sniff_suffix,
    write_image,
)
from facesr.inference.restore import Enlargement, Photograph, plan_photograph, put_together
from facesr.inference.stream import batch_size, enlarge_stream, load_for, read_ahead, result_px
from facesr.parallel import Outcome, Stages, StageTimes, run_files, succeeded
from facesr.processes import own_cores
from facesr.results import FoundFace, UpscaleResult
from facesr.weights.find import WeightFiles
from facesr.weights.load import Model


def upscale_files(
    config: UpscaleConfig, jobs: Sequence[Job], weights: WeightFiles, reporter: Reporter
) -> UpscaleResult:
    """Enlarge every job's source into its target.

    A file that cannot be read or written is noted in the result, and the others are done.
    """
    model = load_for(weights, config.runtime)
    size = _enlargement(config, model)
    times = StageTimes()
    notes: dict[str, list[Path]] = {}

    def decode(job: Job) -> Photograph:
        with times.measure("decode"):
            image = read_image(job.source.path, max_pixels=config.max_pixels, truncated=config.truncated)
        for note in check_result(image, job.target, size):
            notes.setdefault(note, []).append(job.source.path)
        with times.measure("faces"):
            photo = _plan(image, config, size)
        if config.faces != "off" and not photo.crops and not photo.left_alone:
            notes.setdefault("no face was found", []).append(job.source.path)
        return photo

    def join(photo: Photograph, results: Sequence[tuple[ImageData, ...]]) -> tuple[Photograph, ImageData]:
        with times.measure("encode"):
            return photo, put_together(photo, [result for (result,) in results], size)

    def encode(job: Job, joined: tuple[Photograph, ImageData]) -> tuple[Path, list[FoundFace]]:
        photo, image = joined
        with times.measure("encode"):
            write_image(job.target, image, quality=config.quality, compression=config.compression)
        return job.target, list(_found(job.source.path, photo))

    enlarge = partial(enlarge_stream, [model], runtime=config.runtime, warn=reporter.warn, times=times)
    stages = Stages(
        decode=decode,
        split=lambda photo: photo.parts,
        compute=enlarge,
        join=join,
        encode=encode,
        expected_pixels=_expected_pixels,
        pixels=result_px,
    )
    threads = own_cores()
    depth = read_ahead(batch_size(config.runtime, model.device), threads)
    failed: list[Failure] = []
    start = time.perf_counter()
    reporter.begin(len(jobs), "images")
    try:
        with closing(run_files(jobs, stages, threads=threads, depth=depth)) as outcomes:
            done = list(succeeded(outcomes, reporter, failed, path_of=lambda job: job.source.path))
    finally:
        for note, paths in notes.items():
            others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            reporter.warn(f"{note}: {min(paths)}{others}")
    return UpscaleResult(
        tuple(target for target, _ in done),
        (),
        tuple(failed),
        config.output,
        weights.name,
        device=str(model.device),
        dtype=model.precision,
        sha256=model.sha256,
        seconds=time.perf_counter() - start,
        stages=times.table(),
        faces=tuple(face for _, faces in done for face in faces),
    )


def _enlargement(config: UpscaleConfig, model: Model) -> Enlargement:
    size = Enlargement.of(model, config.outscale)
    if size.face_px and config.faces == "off":
        raise ConfigError(
            f"`{model.config.name}` restores faces alone, {size.face_px}x{size.face_px} px each",
            hint="find the faces with `--faces auto`",
        )
    return size


def _plan(image: ImageData, config: UpscaleConfig, size: Enlargement) -> Photograph:
    return plan_photograph(
        image,
        size,
        mode=config.faces,
        background=config.background,
        min_face=config.min_face,
        threshold=config.face_threshold,
    )


def _found(file: Path, photo: Photograph) -> Iterator[FoundFace]:
    """Yield the faces of a photograph, those first that were restored."""
    for face, why in (*((crop.face, "") for crop in photo.crops), *photo.left_alone):
        points = tuple((float(x), float(y)) for x, y in face.points)
        yield FoundFace(file, face.box, points, face.score, face.width, why)


def _expected_pixels(job: Job) -> int:
    """Guess from a file's size how many pixels it holds: photographs have 2 bits each or more."""
    try:
        return 4 * job.source.path.stat().st_size
    except OSError:
        return 0


def upscale_bytes(config: UpscaleConfig, content: bytes, weights: WeightFiles, reporter: Reporter) -> bytes:
    """Enlarge one encoded image, in the format that the options ask for."""
    image = read_image(io.BytesIO(content), max_pixels=config.max_pixels, truncated=config.truncated)
    suffix = sniff_suffix(content) if config.format == "auto" else f".{config.format}"
    model = load_for(weights, config.runtime)
    size = _enlargement(config, model)
    for note in check_result(image, Path(f"stdin{suffix}"), size):
        reporter.warn(note)
    photo = _plan(image, config, size)
    parts = [Outcome(index, part) for index, part in enumerate(photo.parts)]
    results: dict[int, ImageData] = {}
    for outcome in enlarge_stream([model], parts, runtime=config.runtime, warn=reporter.warn):
        if isinstance(outcome.value, ImageError):
            raise outcome.value
        results[outcome.item] = outcome.value[0]
    enlarged = put_together(photo, [results[index] for index in range(len(parts))], size)
    return encode_image(enlarged, suffix, quality=config.quality, compression=config.compression)


def check_result(image: ImageData, target: Path, size: Enlargement) -> list[str]:
    """Refuse, before the network runs, a result that its format cannot hold, else say what is lost."""
    height, width = size.size(image)
    check_writable(target, height=height, width=width)
    notes = list(image.notes)
    if image.alpha is not None and not holds_alpha(target.suffix):
        notes.append("transparency is laid on white")
    if exif_is_too_long(image, target.suffix):
        notes.append("EXIF is too long for JPEG and left out")
    return notes + metadata_losses(image, target.suffix)
