"""Options of `facesr upscale`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from facesr.config.fields import Config, arg, key, opt
from facesr.errors import ConfigError

DEFAULT_MODEL = "faceunet"

Auto = Literal["auto"]
Dtype = Literal["auto", "fp32", "fp16", "bf16"]
Backend = Literal["torch", "onnx"]
Format = Literal["auto", "png", "jpg", "webp", "tiff"]


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig(Config):
    """Where a network runs, and how."""

    device: str = opt(
        "auto",
        "Where the network runs; auto takes CUDA, then MPS, then the CPU.",
        panel="Model",
        short="-d",
        envvar="FACESR_DEVICE",
        metavar="auto|cpu|cuda|cuda:N|mps",
    )
    dtype: Dtype = opt("auto", "Precision; auto is fp32 except on CUDA.", panel="Model")
    batch: Annotated[int, Ge(1)] | Auto = opt(
        "auto",
        "Equal-sized pictures that share one pass; auto is 1 on the CPU and 8 elsewhere.",
        panel="Model",
        metavar="auto|N",
    )
    tile: Annotated[int, Ge(0)] | Auto = opt(
        "auto",
        "Pictures up to this side, input pixels, are taken whole, larger ones in pieces; 0 takes all whole.",
        panel="Model",
        metavar="auto|0|N",
    )
    backend: Backend = opt(
        "torch",
        "What computes the network; onnx (extra `onnx`) is ONNX Runtime on the CPU.",
        panel="Model",
    )
    self_ensemble: bool = key(
        "Take the mean with the result for the mirror image: about 0.05 dB for twice the time.", default=False
    )


@dataclass(frozen=True, kw_only=True)
class UpscaleConfig(Config):
    """Enlarge pictures four times."""

    inputs: tuple[Path, ...] = arg("Pictures, or folders of pictures; - reads from stdin.", metavar="INPUT")
    output: Path = arg("Folder for the results, made if missing; - writes to stdout.", metavar="OUTPUT")
    model: str = opt(
        DEFAULT_MODEL,
        "A bundled name (see `facesr models`), a weight folder, a .safetensors or .pth file, or user/repo.",
        panel="Model",
        short="-m",
        envvar="FACESR_MODEL",
        metavar="NAME|PATH",
    )
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    recursive: bool = opt(
        False, "Look into sub-folders too, and mirror them in the output.", panel="Input", short="-r"
    )
    max_pixels: Annotated[int, Ge(1)] = opt(
        89_000_000,
        "Pictures that promise more are refused before they are decoded; at most 178,956,970.",
        panel="Input",
    )
    shard: str = opt(
        "",
        "Take every N-th picture, from the I-th; auto asks torchrun or SLURM.",
        panel="Input",
        metavar="auto|I/N",
        shown_default="everything, or auto under torchrun",
    )
    name: str = opt("{stem}", "Name of the results, without extension.", panel="Output", metavar="TEMPLATE")
    outscale: Annotated[float, Gt(0), Le(16)] = opt(
        4.0, "Final enlargement; other than 4, the result is resampled.", panel="Output", metavar="F"
    )
    format: Format = opt(
        "auto", "File format of the results; auto keeps the input's, and makes BMP to PNG.", panel="Output"
    )
    quality: Annotated[int, Ge(1), Le(100)] = opt(
        95, "Quality of JPEG and lossy WebP, 1 to 100.", panel="Output"
    )
    overwrite: bool = opt(False, "Redo results that exist instead of skipping them.", panel="Output")

    def __post_init__(self) -> None:
        if "{stem}" not in self.name or "/" in self.name:
            raise ConfigError(f"`--name {self.name}` needs {{stem}} in it and no slash")
