"""What each workflow returns; free of torch."""

from dataclasses import dataclass, field
from pathlib import Path

from facesr.events import Failure


@dataclass(frozen=True)
class UpscaleResult:
    """What `upscale` did.

    Attributes:
        written: Results that are new.
        skipped: Results that were there already.
        failed: Inputs that could not be done, and results that could not be written.
        output: The folder of results.
        model: Name of the model.
        device: Where it ran; empty when there was nothing to run.
        dtype: In which precision.
        sha256: Of the file of the model's weights, hexadecimal; empty as `device`.
        seconds: From the first picture read to the last one written.
        stages: Seconds by stage, over all cores: decode, network, encode, and waiting, when a core that
            could have run the network did not. On CUDA, network and waiting are of the device.
    """

    written: tuple[Path, ...]
    skipped: tuple[Path, ...]
    failed: tuple[Failure, ...]
    output: Path
    model: str
    device: str = ""
    dtype: str = ""
    sha256: str = ""
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DegradeResult:
    """What `degrade` did.

    Attributes:
        written: LQ pictures that are new.
        skipped: LQ pictures that were there already.
        failed: HQ pictures that could not be done, and results that could not be written.
        output: The folder of LQ pictures.
        preview: The contact sheet, if one was asked for.
    """

    written: tuple[Path, ...]
    skipped: tuple[Path, ...]
    failed: tuple[Failure, ...]
    output: Path | None
    preview: Path | None = None


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        run: Its folder.
        step: Steps done.
        iterations: Steps asked for.
        best_psnr: Mean validation PSNR of `best/`, dB; None before the first validation.
        bicubic_psnr: The same of bicubic.
        stopped_by: Name of the signal that ended it early; empty if it is finished.
    """

    run: Path
    step: int
    iterations: int
    best_psnr: float | None
    bicubic_psnr: float | None
    stopped_by: str = ""


@dataclass(frozen=True)
class ExportResult:
    """What `export` wrote.

    Attributes:
        written: The file.
        model: Name of the model.
        bytes: Size of the file.
    """

    written: Path
    model: str
    bytes: int
