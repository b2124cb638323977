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
    "facesr upscale group.jpg large.png --faces auto",
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
    console.data({**asdict(result), "images_per_second": _rate(result)}, result.written)
    console.end(_summary(result), failed=result.failed, done=len(result.written) + len(result.skipped))


def _stream(config: UpscaleConfig, console: Console) -> None:
    if console.json:
        raise ConfigError("`-` cannot be combined with `--json`", hint="leave out `--json`")
    stdin = None if sys.stdin is None else sys.stdin.buffer
    buffer = io.BytesIO()
    with console.progress() as reporter:
        result = workflow.upscale_stream(config, stdin, buffer, reporter)
    if config.output == workflow.STREAM:
        with standard_output() as stream:
            stream.write(buffer.getbuffer())
        return
    console.data({}, result.written)
    console.end(f"{counts(result)} to {result.output}")


def _rate(result: UpscaleResult) -> float:
    return len(result.written) / result.seconds if result.seconds else 0.0


def _summary(result: UpscaleResult) -> str:
    done = counts(result)
    if not result.device:
        why = f"all results are already in {result.output}" if result.skipped else "no pictures in this shard"
        return f"{done}; {why}"
    speed = f"{_rate(result):.1f} images/s with {result.model} on {result.device} ({result.dtype})"
    return f"{done} to {result.output} at {speed}"
