"""`facesr export`."""

from dataclasses import asdict

from facesr.cli.console import Console
from facesr.cli.options import config_options
from facesr.config.export import ExportConfig
from facesr.workflows import export as workflow

EXAMPLES = (
    "facesr export faceunet faceunet.onnx",
    "facesr export runs/mine/best mine.onnx --overwrite",
    "facesr export user/repo face.onnx --json",
)


@config_options(ExportConfig)
def export(config: ExportConfig, console: Console) -> None:
    """Write a model as an ONNX file, for any image size (extra `onnx`)."""
    with console.progress() as reporter:
        result = workflow.export(config, reporter)
    console.data(asdict(result), [result.written])
    console.end(f"{result.model} written to {result.written} ({result.bytes / 1e6:.1f} MB)")
