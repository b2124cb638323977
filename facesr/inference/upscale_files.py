"""Enlarging files: read, enlarge, resize to the final size, write."""

import io
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from facesr.config.upscale import UpscaleConfig
from facesr.errors import ConfigError, ImageError
from facesr.events import Failure, Reporter
from facesr.faces.find import Face, find_faces
from facesr.files.jobs import Job
from facesr.images.image import MAX_PIXELS, ImageData
from facesr.images.note import add_note, check_replaceable, read_note
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

# A result may have this many times the pixels that an input may have, and takes about so much memory a pixel.
_MOST_GROWTH, _BYTES = 8, 9


def upscale_files(
    config: UpscaleConfig,
    jobs: Sequence[Job],
    weights: WeightFiles,
    reporter: Reporter,
    *,
    rest: WeightFiles | None = None,
) -> UpscaleResult:
    """Enlarge every job's source into its target.

    A file that cannot be read or written is listed in the result, and the others are processed. If a target's
    note says that it was enlarged as a whole, and it would be again, it is kept.

    Args:
        config: The options.
        jobs: Sources and targets.
        weights: Weights of the model for faces. Without `rest`, it also enlarges the rest of photographs.
        reporter: Receives the progress.
        rest: Weights of another model for the rest of photographs, of the same scale.
    """
    models = load_models(config, weights, rest)
    size = _enlargement(config, models[0])
    times = StageTimes()
    notes: dict[str, list[Path]] = {}

    def decode(job: Job) -> tuple[Photograph, bool]:
        with times.measure("decode"):
            image = read_image(job.source.path, max_pixels=config.max_pixels, truncated=config.truncated)
        for note in check_result(image, job.target, size, max_pixels=config.max_pixels):
            notes.setdefault(note, []).append(job.source.path)
        with times.measure("faces"):
            photo = _plan(image, config, size)
        if config.faces == "always" and not photo.crops and not photo.left_alone:
            notes.setdefault("no face was found", []).append(job.source.path)
        is_done = photo.is_whole and not config.overwrite and config.is_whole_note(read_note(job.target))
        return photo, is_done

    def join(decoded: tuple[Photograph, bool], results: Sequence[tuple[ImageData, ...]]) -> _Made | None:
        photo, is_done = decoded
        if is_done:
            return None
        enlarged = [result for (result,) in results]
        with times.measure("encode"):
            return _Made(photo, put_together(photo, enlarged, size), photo.faces_of(enlarged))

    def encode(job: Job, made: _Made | None) -> tuple[Job, _Made | None]:
        if made:
            with times.measure("encode"):
                _write(job, made, config)
        return job, replace(made, image=None, faces=()) if made else None

    stages = Stages(
        decode=decode,
        split=lambda decoded: () if decoded[1] else decoded[0].parts,
        compute=partial(
            enlarge_stream,
            models,
            runtime=config.runtime,
            warn=reporter.warn,
            times=times,
            choose=lambda part: _models_for(part.file.whole[0], part.index, models),
        ),
        join=join,
        encode=encode,
        expected_pixels=_expected_pixels,
        pixels=result_px,
    )
    threads = own_cores()
    depth = read_ahead(batch_size(config.runtime, models[0].device), threads)
    failed: list[Failure] = []
    written: list[Path] = []
    skipped: list[Path] = []
    faces: list[FoundFace] = []
    start = time.perf_counter()
    reporter.begin(len(jobs), "images")
    try:
        with closing(run_files(jobs, stages, threads=threads, depth=depth)) as outcomes:
            for job, made in succeeded(outcomes, reporter, failed, path_of=lambda job: job.source.path):
                if made is None:
                    skipped.append(job.target)
                    continue
                written.append(job.target)
                faces += _found(job.source.path, made.photo)
                if made.photo.crops:
                    reporter.show({"faces": str(sum(not face.left_alone for face in faces))})
    finally:
        for note, paths in notes.items():
            others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            reporter.warn(f"{note}: {min(paths)}{others}")
    return UpscaleResult(
        tuple(written),
        tuple(skipped),
        tuple(failed),
        config.output,
        weights.name,
        device=str(models[0].device),
        dtype=models[0].precision,
        sha256=models[0].sha256,
        seconds=time.perf_counter() - start,
        stages=times.table(),
        faces=tuple(faces),
    )


@dataclass(frozen=True)
class _Made:
    """A photograph with its result."""

    photo: Photograph
    image: ImageData | None  # None once it is written
    faces: Sequence[ImageData]  # restored, in the order of the crops


def load_models(config: UpscaleConfig, weights: WeightFiles, rest: WeightFiles | None) -> list[Model]:
    """Return the model for faces and, if it is another one, the model for the rest of photographs."""
    return [load_for(files, config.runtime) for files in (weights, rest) if files]


def _models_for(photo: Photograph, part: int, models: Sequence[Model]) -> Sequence[Model]:
    return models[-1:] if photo.is_rest(part) else models[:1]


def _write(job: Job, made: _Made, config: UpscaleConfig) -> None:
    """Write the faces before the result. If the result exists, so do its faces."""
    assert made.image is not None
    if job.faces:
        for number, (crop, face) in enumerate(zip(made.photo.crops, made.faces, strict=True), start=1):
            for path, image in zip(job.face_files(number), (crop.image, face), strict=True):
                if not config.overwrite:
                    check_replaceable(path)
                image = replace(image, exif=add_note(image.exif, f"face {number}"))
                write_image(path, image, compression=config.compression)
    image = _with_note(made.photo, made.image, config, job.target.suffix)
    write_image(job.target, image, quality=config.quality, compression=config.compression)


def _with_note(photo: Photograph, image: ImageData, config: UpscaleConfig, suffix: str) -> ImageData:
    # With faces left out it is not what the options alone would give, so `upscale` makes it again.
    options = config.face_options + " chosen" * photo.is_restricted
    note = config.whole_note if photo.is_whole else f"{options} restored={len(photo.crops)}"
    exif = None if exif_is_too_long(image, suffix) else image.exif
    return replace(image, exif=add_note(exif, note))


def _enlargement(config: UpscaleConfig, model: Model) -> Enlargement:
    size = Enlargement.of(model, config.outscale)
    if size.face_px and config.faces == "off":
        raise ConfigError(
            f"`{model.config.name}` restores faces alone, {size.face_px}x{size.face_px} px each",
            hint="find the faces with `--faces auto`",
        )
    return size


def _plan(
    image: ImageData,
    config: UpscaleConfig,
    size: Enlargement,
    find: Callable[..., list[Face]] = find_faces,
) -> Photograph:
    return plan_photograph(
        image,
        size,
        mode=config.faces,
        background=config.background,
        min_face=config.min_face,
        threshold=config.face_threshold,
        find=find,
    )


def _found(file: Path, photo: Photograph) -> Iterator[FoundFace]:
    """Yield the faces of a photograph, the restored ones first."""
    for face, why in (*((crop.face, "") for crop in photo.crops), *photo.left_alone):
        points = tuple((float(x), float(y)) for x, y in face.points)
        yield FoundFace(file, face.box, points, face.score, face.width, why)


def _expected_pixels(job: Job) -> int:
    """Estimate the number of pixels from a file's size. Photographs have at least 2 bits a pixel."""
    try:
        return 4 * job.source.path.stat().st_size
    except OSError:
        return 0


@dataclass(frozen=True)
class Enlarged:
    """One encoded image, enlarged.

    Attributes:
        content: The encoded result.
        suffix: Suffix of its format, such as `.png`.
        before: The decoded input.
        after: The result's pixels.
        result: How it was made.
    """

    content: bytes
    suffix: str
    before: ImageData
    after: ImageData
    result: UpscaleResult


def upscale_bytes(
    config: UpscaleConfig,
    content: bytes,
    models: Sequence[Model],
    reporter: Reporter,
    *,
    chosen: Collection[int] | None = None,
    find: Callable[..., list[Face]] = find_faces,
) -> Enlarged:
    """Enlarge one encoded image, in the format that the options ask for.

    Args:
        config: The options.
        content: The encoded image.
        models: Models from `load_models`.
        reporter: Receives notes about what is lost.
        chosen: Numbers of the faces to restore, from 1, largest first. None restores all.
        find: As for `plan_photograph`.

    Raises:
        ImageError: Not an image, an image that is too large, or a result that its format cannot store.
    """
    start = time.perf_counter()
    image = read_image(io.BytesIO(content), max_pixels=config.max_pixels, truncated=config.truncated)
    suffix = sniff_suffix(content) if config.format == "auto" else f".{config.format}"
    size = _enlargement(config, models[0])
    for note in check_result(image, Path(f"stdin{suffix}"), size, max_pixels=config.max_pixels):
        reporter.warn(note)
    photo = _plan(image, config, size, find)
    if chosen is not None:
        photo = photo.restricted(chosen)
    parts = [Outcome(index, part) for index, part in enumerate(photo.parts)]
    results: dict[int, ImageData] = {}
    for outcome in enlarge_stream(
        models,
        parts,
        runtime=config.runtime,
        warn=reporter.warn,
        choose=lambda index: _models_for(photo, index, models),
    ):
        if isinstance(outcome.value, ImageError):
            raise outcome.value
        results[outcome.item] = outcome.value[0]
    enlarged = put_together(photo, [results[index] for index in range(len(parts))], size)
    enlarged = _with_note(photo, enlarged, config, suffix)
    encoded = encode_image(enlarged, suffix, quality=config.quality, compression=config.compression)
    result = UpscaleResult(
        (),
        (),
        (),
        config.output,
        models[0].config.name,
        device=str(models[0].device),
        dtype=models[0].precision,
        sha256=models[0].sha256,
        seconds=time.perf_counter() - start,
        faces=tuple(_found(config.inputs[0], photo)),
    )
    return Enlarged(encoded, suffix, image, enlarged, result)


def check_result(image: ImageData, target: Path, size: Enlargement, *, max_pixels: int) -> list[str]:
    """Reject, before the network runs, a result that is too large or that its format cannot store.

    Otherwise return what the format loses. `max_pixels` is the limit for inputs.
    """
    height, width = size.size(image)
    check_writable(target, height=height, width=width)
    wanted = -(-height * width // _MOST_GROWTH)
    if wanted > max(max_pixels, MAX_PIXELS):
        raise ImageError(
            f"the result would be {width}x{height} and need {height * width * _BYTES / 2**30:.0f} GiB",
            hint=f"choose a smaller `--outscale`, such as 1, or allow it with `--max-pixels {wanted}`",
        )
    notes = list(image.notes)
    if image.alpha is not None and not holds_alpha(target.suffix):
        notes.append("transparency is replaced by white")
    if exif_is_too_long(image, target.suffix):
        notes.append("EXIF is too long for JPEG and left out")
    return notes + metadata_losses(image, target.suffix)
