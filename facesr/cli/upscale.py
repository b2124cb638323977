"""`facesr upscale`."""

import io
import sys
from dataclasses import asdict

from facesr.cli.console import Console, counts, standard_output
from facesr.cli.options import config_options
from facesr.config.upscale import UpscaleConfig
from facesr.errors import ConfigError
from facesr.results import UpscaleResult
from facesr.workflows import upscale as workflow

EXAMPLES = (
    "facesr upscale small.jpg large.png",
    "facesr upscale faces/ out/",
    "facesr upscale one.jpg two.png out/ --format png",
    "facesr upscale faces/ out/ --model runs/mine/best --device cuda --batch 16",
    "facesr upscale photos/ out/ --recursive --format png --name {stem}_{scale}x",
    "facesr upscale group.jpg restored.png --outscale 1 --save-faces faces/",
    "facesr upscale - - < small.jpg > large.jpg",
)


@config_options(UpscaleConfig)
def upscale(config: UpscaleConfig, console: Console) -> None:
    """Enlarge images of faces and restore their detail."""
    if workflow.STREAM in {*config.inputs, config.output}:
        _stream(config, console)
        return
    with console.progress() as reporter:
        result = workflow.upscale(config, reporter)
    console.data(_document(result), result.written)
    console.end(_summary(result), failed=result.failed, done=len(result.written) + len(result.skipped))


def _stream(config: UpscaleConfig, console: Console) -> None:
    if console.json and config.output == workflow.STREAM:
        raise ConfigError(
            "`--json` cannot be combined with the output `-`",
            hint="leave out `--json`, or name a file for the output",
        )
    stdin = None if sys.stdin is None else sys.stdin.buffer
    buffer = io.BytesIO()
    with console.progress() as reporter:
        result = workflow.upscale_stream(config, stdin, buffer, reporter)
    if config.output == workflow.STREAM:
        with standard_output() as stream:
            stream.write(buffer.getbuffer())
        return
    console.data(_document(result), result.written)
    console.end(f"{_counts(result)} to {result.output}")


def _document(result: UpscaleResult) -> dict[str, object]:
    """Return the document that `--json` prints."""
    return {
        **asdict(result),
        "faces_restored": result.faces_restored,
        "images_per_second": _rate(result),
    }


def _counts(result: UpscaleResult) -> str:
    faces = result.faces_restored
    restored = f", {faces} face{'s' * (faces != 1)} restored separately" if faces else ""
    return f"{counts(result)}{restored}"


def _rate(result: UpscaleResult) -> float:
    return len(result.written) / result.seconds if result.seconds else 0.0


def _summary(result: UpscaleResult) -> str:
    done = _counts(result)
    if not result.written:
        why = f"all results are already in {result.output}" if result.skipped else "no images in this shard"
        return done if result.failed else f"{done}, {why}"
    rate = _rate(result)
    speed = f"{1 / rate:.1f} s an image" if 0 < rate < 1 else f"{rate:.1f} images/s"
    return f"{done} to {result.output} at {speed} with {result.model} on {result.device} ({result.dtype})"
