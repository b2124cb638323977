"""Options of `facesr export`."""

from dataclasses import dataclass
from pathlib import Path

from facesr.config.fields import Config, arg, opt
from facesr.config.model import BLEND, SHARPNESS
from facesr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Config):
    """Write a model as an ONNX file."""

    model: str = arg("Model to export, as in `upscale --model`.", metavar="MODEL")
    output: Path = arg("ONNX file to write, ending in .onnx.", metavar="OUTPUT")
    sharpness: float | None = SHARPNESS
    blend: str = BLEND
    overwrite: bool = opt(False, "Replace a file that exists.", panel="Output")

    def __post_init__(self) -> None:
        if self.output.suffix.lower() != ".onnx":
            raise ConfigError(f"cannot write {self.output}", hint="give the output a name ending in .onnx")
