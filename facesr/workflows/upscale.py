"""`facesr upscale`: pictures in, pictures four times as large out."""

import io
from pathlib import Path
from typing import BinaryIO

from facesr.config.upscale import UpscaleConfig
from facesr.errors import ImageError
from facesr.events import Reporter
from facesr.files.jobs import plan_jobs, split_done
from facesr.files.listing import list_images
from facesr.files.paths import is_there
from facesr.inference.upscale_files import check_result, finish, result_notes, upscale_files
from facesr.processes import pick_shard
from facesr.results import UpscaleResult
from facesr.weights.find import find_weights

# More than any picture within the limit of pixels takes.
_MAX_STREAM_BYTES = 1 << 30


def upscale(config: UpscaleConfig, reporter: Reporter | None = None) -> UpscaleResult:
    """Enlarge pictures four times, file by file; a broken one is noted and the others go on.

    Raises:
        ConfigError: A path that does not exist, nothing to read, two inputs with one output, no such model.
        WeightsError: Unusable weights.
        DeviceError: The device or precision is not to be had.
    """
    config, reporter = config.resolved(), reporter or Reporter()
    suffix = "" if config.format == "auto" else f".{config.format}"
    sources = list_images(
        config.inputs, recursive=config.recursive, exclude=[config.output], warn=reporter.warn
    )
    index, count = pick_shard(config.shard)
    jobs = plan_jobs(sources, config.output, suffix=suffix, name=config.name)[index::count]
    files = find_weights(config.model)
    todo, done = split_done(jobs, lambda job: not config.overwrite and is_there(job.target))
    skipped = tuple(job.target for job in done)
    if not todo:
        return UpscaleResult((), skipped, (), config.output, files.name)
    return upscale_files(config, reporter, todo, skipped, files)


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
    config, reporter = config.resolved(), reporter or Reporter()
    files = find_weights(config.model)
    from facesr.images.read import read_image
    from facesr.images.write import encode_image, sniff_suffix
    from facesr.inference.stream import enlarge_stream, load_for
    from facesr.parallel import Outcome

    content = source.read(_MAX_STREAM_BYTES + 1)
    if len(content) > _MAX_STREAM_BYTES:
        raise ImageError(f"more than {_MAX_STREAM_BYTES:,} bytes on stdin", hint="name a file instead")
    picture = read_image(io.BytesIO(content), max_pixels=config.max_pixels)
    suffix = sniff_suffix(content) if config.format == "auto" else f".{config.format}"
    check_result(picture, Path(f"stdin{suffix}"), config)
    for note in (*picture.notes, *result_notes(picture, Path(suffix))):
        reporter.warn(note)
    model = load_for(files, config.runtime)
    (outcome,) = enlarge_stream([model], [Outcome(None, picture)], runtime=config.runtime, warn=reporter.warn)
    if isinstance(outcome.value, ImageError):
        raise outcome.value
    target.write(encode_image(finish(outcome.value[0], config), suffix, quality=config.quality))
