"""`facesr degrade`."""

from dataclasses import asdict, replace

from facesr.cli.console import Console, counts
from facesr.cli.options import config_options
from facesr.config.build import dump
from facesr.config.degrade import DegradeConfig
from facesr.results import DegradeResult
from facesr.workflows import degrade as workflow

EPILOG = """Examples:

facesr degrade hq/ lq/

facesr degrade photos/ val/lq --hq-out val/hq --size 512 --params-out val/params.jsonl

facesr degrade hq/ --preview sheet.png --preset real-esrgan

facesr degrade --preset gfpgan --print-config > mine.toml"""


@config_options(DegradeConfig)
def degrade(config: DegradeConfig, console: Console) -> None:
    """Make low-quality images from high-quality ones, for training and validation."""
    if config.print_config:
        # The steps say it all; naming the preset beside them would contradict them when the file is read.
        console.lines([dump(replace(config, preset=None, print_config=False)).rstrip()])
        return
    with console.progress() as reporter:
        result = workflow.degrade(config, reporter)
    if console.json:
        console.document(asdict(result))
    elif console.quiet:
        console.lines(result.written)
    console.failures(result.failed)
    console.summary(_summary(result))
    console.exit_code(failed=len(result.failed), done=len(result.written) + len(result.skipped))


def _summary(result: DegradeResult) -> str:
    sheet = f", preview in {result.preview}" if result.preview else ""
    if result.output is None:
        return sheet.removeprefix(", ")
    done = counts(written=len(result.written), skipped=len(result.skipped), failed=len(result.failed))
    return f"{done} to {result.output}{sheet}"
