"""`facesr degrade`."""

from dataclasses import asdict, replace

from facesr.cli.console import Console, counts
from facesr.cli.options import config_options
from facesr.config.build import dump
from facesr.config.degrade import DegradeConfig
from facesr.results import DegradeResult
from facesr.workflows import degrade as workflow

EXAMPLES = (
    "facesr degrade hq/ lq/",
    "facesr degrade photos/ val/lq --hq-out val/hq --size 512 --params-out val/params.jsonl",
    "facesr degrade hq/ --preview sheet.png --preset real-esrgan",
    "facesr degrade --preset gfpgan --print-config > mine.toml",
)


@config_options(DegradeConfig)
def degrade(config: DegradeConfig, console: Console) -> None:
    """Make low-quality images from high-quality ones, for training and validation."""
    if config.print_config:
        # The steps say it all; naming the preset beside them would contradict them when the file is read.
        console.lines([dump(replace(config, preset=None, print_config=False)).rstrip()])
        return
    with console.progress() as reporter:
        result = workflow.degrade(config, reporter)
    console.data(asdict(result), result.written)
    console.end(_summary(result), failed=result.failed, done=len(result.written) + len(result.skipped))


def _summary(result: DegradeResult) -> str:
    sheet = f", preview in {result.preview}" if result.preview else ""
    if result.output is None:
        return sheet.removeprefix(", ")
    return f"{counts(result)} to {result.output}{sheet}"
