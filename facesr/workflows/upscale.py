"""`facesr upscale`: images in, larger images out."""

from dataclasses import replace
from typing import BinaryIO

from facesr.config.upscale import UpscaleConfig
from facesr.errors import ImageError
from facesr.events import Reporter
from facesr.files.jobs import plan_jobs, split_done
from facesr.files.listing import list_images
from facesr.files.paths import is_there
from facesr.processes import pick_shard, step_tasks
from facesr.results import UpscaleResult
from facesr.weights.find import find_weights

# More than any image within the limit of pixels takes.
_MAX_STREAM_BYTES = 1 << 30


def upscale(config: UpscaleConfig, reporter: Reporter | None = None) -> UpscaleResult:
    """Enlarge images, file by file; a broken one is noted and the others go on.

    Raises:
        ConfigError: A path that does not exist, nothing to read, two inputs with one output, no such model.
        WeightsError: Unusable weights.
        DeviceError: The device or precision is not available.
    """
    config, reporter = config.resolved(), reporter or Reporter()
    suffix = "" if config.format == "auto" else f".{config.format}"
    sources = list_images(
        config.inputs, recursive=config.recursive, exclude=[config.output], warn=reporter.warn
    )
    index, count = pick_shard(config.shard)
    if not config.shard and step_tasks() > 1 and index == 0:
        reporter.warn(f"each of the {count} SLURM tasks upscales its share, `--shard 0/1` upscales all")
    jobs = plan_jobs(sources, config.output, suffix=suffix, name=config.name)[index::count]
    weights = find_weights(config.model)
    todo, done = split_done(jobs, lambda job: not config.overwrite and is_there(job.target))
    skipped = tuple(job.target for job in done)
    if not todo:
        return UpscaleResult((), skipped, (), config.output, weights.name)
    from facesr.inference.upscale_files import upscale_files

    return replace(upscale_files(config, todo, weights, reporter), skipped=skipped)


def upscale_stream(
    config: UpscaleConfig, source: BinaryIO, target: BinaryIO, reporter: Reporter | None = None
) -> None:
    """Enlarge one image from a stream to a stream, with the errors of `upscale` too.

    Raises:
        ImageError: Not an image, or one that is too large.
    """
    config = config.resolved()
    weights = find_weights(config.model)
    content = source.read(_MAX_STREAM_BYTES + 1)
    if len(content) > _MAX_STREAM_BYTES:
        raise ImageError(f"more than {_MAX_STREAM_BYTES:,} bytes on stdin", hint="name a file instead")
    from facesr.inference.upscale_files import upscale_bytes

    target.write(upscale_bytes(config, content, weights, reporter or Reporter()))
