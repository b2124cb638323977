"""`facesr upscale`: images in, larger images out."""

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from facesr.config.upscale import BACKGROUNDS, FORMATS, UpscaleConfig
from facesr.errors import ConfigError, ImageError, reason_of
from facesr.events import Reporter
from facesr.files.atomic import write_atomic
from facesr.files.jobs import Job, Place, foreign, names_file, plan_jobs, split_done
from facesr.files.listing import Source, list_images
from facesr.files.paths import check_regular, exists, identity, is_there
from facesr.processes import pick_shard, step_tasks
from facesr.results import UpscaleResult
from facesr.weights.find import WeightFiles, find_model

STREAM = Path("-")  # as an input it is stdin, as the output it is stdout

# More than any image within the limit of pixels takes.
_MAX_STREAM_BYTES = 1 << 30
_STREAM_HINT = "send an image to stdin, as in `facesr upscale - - < small.jpg > large.jpg`"


def upscale(config: UpscaleConfig, reporter: Reporter | None = None) -> UpscaleResult:
    """Enlarge images, file by file. A broken file is listed in the result, and the others are processed.

    Raises:
        ConfigError: A path that does not exist, nothing to read, two inputs with one output, an output file
            for several inputs or of another format, or no such model.
        WeightsError: Unusable weights.
        DeviceError: The device or precision is not available.
    """
    config, reporter = config.resolved(), reporter or Reporter()
    sources = list_images(
        config.inputs, recursive=config.recursive, exclude=_written_folders(config), warn=reporter.warn
    )
    config, weights, rest = _find_models(config)
    place = _place(config, weights)
    face_places = [Place(config.save_faces, place.name, ".png")] if config.save_faces else []
    jobs, *face_jobs = plan_jobs(
        sources,
        place,
        *face_places,
        overwrite=config.overwrite,
        is_readable=lambda path: _is_readable(path, max_pixels=config.max_pixels),
        warn=reporter.warn,
    )
    index, count = pick_shard(config.shard)
    if not config.shard and step_tasks() > 1 and index == 0:
        reporter.warn(
            f"each of the {count} SLURM tasks processes its share of the images, `--shard 0/1` processes all"
        )
    for faces in face_jobs:
        jobs = [replace(job, faces=face.target) for job, face in zip(jobs, faces, strict=True)]
    todo, done, failed = split_done(jobs[index::count], lambda job: _is_done(job, config))
    skipped = tuple(job.target for job in done)
    if not todo:
        return UpscaleResult((), skipped, tuple(failed), config.output, weights.name)
    from facesr.inference.upscale_files import upscale_files

    result = upscale_files(config, todo, weights, reporter, rest=rest)
    return replace(result, skipped=(*skipped, *result.skipped), failed=(*failed, *result.failed))


def _written_folders(config: UpscaleConfig) -> list[Path]:
    """Return the folders of results, which are not searched for inputs."""
    folder = config.save_faces
    if folder is None:
        return [config.output]
    for taken, what in ((config.output, "the output"), *((path, "an input") for path in config.inputs)):
        if identity(folder) == identity(taken):
            raise ConfigError(f"`--save-faces {folder}` is also {what}", hint="name another folder")
    return [config.output, folder]


def _find_models(config: UpscaleConfig) -> tuple[UpscaleConfig, WeightFiles, WeightFiles | None]:
    """Find the model for faces and, if it is another one, the model for the rest of photographs.

    The returned configuration has the sharpness of the model for faces.
    """
    weights = find_model(config.model, blend=config.blend, sharpness=config.sharpness)
    config = replace(config, sharpness=weights.sharpness)
    if config.background in BACKGROUNDS or config.faces == "off":
        return config, weights, None
    try:
        rest = find_model(config.background)
    except ConfigError as error:
        raise ConfigError(
            f"`--background {config.background}`: {error.message}",
            hint=f"{error.hint}, or use `model` or `bicubic`",
        ) from error
    scales = _scale_of(weights), _scale_of(rest)
    if scales[0] != scales[1]:
        raise ConfigError(
            f"`--background {config.background}` enlarges {scales[1]} times, "
            f"but `--model {config.model}` {scales[0]} times",
            hint="choose two models of the same scale",
        )
    return config, weights, rest


def _is_done(job: Job, config: UpscaleConfig) -> bool:
    """Return whether a result with the same face options exists, as far as can be seen without the image.

    Raises:
        ImageError: The existing file is not from facesr.
    """
    if config.overwrite or not is_there(job.target):
        return False
    from facesr.images.note import read_note  # loads Pillow

    note = read_note(job.target)
    if not note:
        raise foreign(job.target)
    if note == config.whole_note or config.faces == "off":
        return config.is_whole_note(note)
    options, _, restored = note.rpartition(" restored=")
    if options != config.face_options or not restored.isdecimal():
        return False
    numbers = range(1, int(restored) + 1) if job.faces else ()
    return all(is_there(file) for number in numbers for file in job.face_files(number))


def _place(config: UpscaleConfig, weights: WeightFiles) -> Place:
    """Return the folder of the results and their names, also if the output is a single file."""
    name = config.name
    if names_file(config.output, config.inputs):
        _check_file_options(config)
        return Place(config.output.parent, config.output.stem, config.output.suffix)
    if "{scale}" in name:
        name = name.replace("{scale}", f"{config.outscale or _scale_of(weights):g}")
    return Place(config.output, name, "" if config.format == "auto" else f".{config.format}")


def _check_file_options(config: UpscaleConfig) -> None:
    """Reject options that contradict the name of the output file."""
    output = config.output
    if config.name != "{stem}":
        raise ConfigError(
            f"`--name {config.name}` cannot be combined with the output file {output}",
            hint="leave out `--name`, or name a folder for the output",
        )
    if config.format not in {"auto", FORMATS[output.suffix[1:].lower()]}:
        raise ConfigError(
            f"`--format {config.format}` contradicts the output file {output}",
            hint="leave out `--format`",
        )


def _scale_of(weights: WeightFiles) -> int:
    if weights.config and weights.config.scale:
        return weights.config.scale
    from facesr.weights.load import read_network  # loads torch; only the tensors tell

    return read_network(weights)[1].scale


def _is_readable(path: Path, *, max_pixels: int) -> bool:
    from facesr.images.read import read_image  # loads numpy

    try:
        read_image(path, max_pixels=max_pixels)
    except ImageError:
        return False
    return True


def upscale_stream(
    config: UpscaleConfig, stdin: BinaryIO | None, stdout: BinaryIO, reporter: Reporter | None = None
) -> UpscaleResult:
    """Enlarge one image if the input or the output is `-`. It raises the errors of `upscale` too.

    An existing output file is skipped, as in `upscale`.

    Raises:
        ImageError: Not an image, an image that is too large, or an output file that cannot be written.
    """
    config, reporter = _checked_stream(config.resolved()), reporter or Reporter()
    source, output = config.inputs[0], config.output
    config, weights, rest = _find_models(config)
    if output != STREAM and _is_done(Job(Source(source, Path(source.name)), output), config):
        return UpscaleResult((), (output,), (), output, weights.name)
    content = _read_stream(stdin) if source == STREAM else _read_file(source)
    from facesr.inference.upscale_files import load_models, upscale_bytes

    try:
        made = upscale_bytes(config, content, load_models(config, weights, rest), reporter)
    except ImageError as error:
        file = error.file if source == STREAM else source
        raise ImageError(error.reason, file=file, hint=error.hint) from error
    if output == STREAM:
        stdout.write(made.content)
        return made.result
    try:
        write_atomic(output, lambda stream: stream.write(made.content))
    except OSError as error:
        raise ImageError(f"cannot be written, {reason_of(error)}", file=output) from error
    return replace(made.result, written=(output,))


def _checked_stream(config: UpscaleConfig) -> UpscaleConfig:
    """Reject options that do not work with `-`, and take the format from an output file's name."""
    source, output = config.inputs[0], config.output
    if source != STREAM and not exists(source):
        raise ConfigError(f"no such file: {source}", hint="name an existing file, or `-` for stdin")
    if len(config.inputs) > 1 or (source != STREAM and source.is_dir()):
        raise ConfigError("`-` takes a single image", hint="name one file and `-`")
    if config.name != "{stem}":
        raise ConfigError(f"`--name {config.name}` cannot be combined with `-`", hint="leave out `--name`")
    if config.save_faces:
        hint = "name a file instead of `-`, or leave out `--save-faces`"
        raise ConfigError("`--save-faces` cannot be combined with `-`", hint=hint)
    if output == STREAM:
        return config
    if not names_file(output, [source]):
        raise ConfigError(
            f"{output} is not the name of an image file, which an image from stdin needs",
            hint=f"write `facesr upscale - {output / 'out.png'}`",
        )
    _check_file_options(config)
    return replace(config, format=FORMATS[output.suffix[1:].lower()])


def _read_stream(stdin: BinaryIO | None) -> bytes:
    if stdin is None:
        raise ConfigError("stdin is closed", hint=_STREAM_HINT)
    content = stdin.read(_MAX_STREAM_BYTES + 1)
    if not content:
        raise ImageError("stdin is empty", hint=_STREAM_HINT)
    if len(content) > _MAX_STREAM_BYTES:
        raise ImageError(f"more than {_MAX_STREAM_BYTES:,} bytes on stdin", hint="name a file instead")
    return content


def _read_file(path: Path) -> bytes:
    try:
        check_regular(path)
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read, {reason_of(error)}", file=path) from error
