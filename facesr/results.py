"""What each workflow returns. Free of torch."""

from dataclasses import dataclass, field
from pathlib import Path

from facesr.events import Failure


@dataclass(frozen=True)
class FoundFace:
    """A face that `upscale` found in a photograph."""

    file: Path  # the photograph
    box: tuple[float, float, float, float]  # left, top, right and bottom, pixels of the upright photograph
    points: tuple[tuple[float, float], ...]  # the eyes, the tip of the nose and the corners of the mouth
    score: float  # how much it looks like a face, 0 to 1
    width: float  # pixels, as if it were upright
    left_alone: str = ""  # why it was not restored by itself; empty if it was


@dataclass(frozen=True)
class UpscaleResult:
    """The result of `upscale`."""

    written: tuple[Path, ...]  # results that are new
    skipped: tuple[Path, ...]  # results that were there already
    failed: tuple[Failure, ...]  # inputs that could not be done, and results that could not be written
    output: Path  # the folder of results, or the file of one
    model: str
    device: str = ""  # empty when there was nothing to run
    dtype: str = ""
    sha256: str = ""  # of the file of the model's weights, hexadecimal; empty as `device`
    seconds: float = 0.0  # from the first image read to the last one written
    # Seconds by stage, over all cores: decode, network, encode, and waiting, when a core that could have run
    # the network did not. On CUDA, network and waiting are of the device.
    stages: dict[str, float] = field(default_factory=dict)
    faces: tuple[FoundFace, ...] = ()  # in the photographs written, largest first in each

    @property
    def faces_restored(self) -> int:
        return sum(not face.left_alone for face in self.faces)


@dataclass(frozen=True)
class DegradeResult:
    """The result of `degrade`."""

    written: tuple[Path, ...]  # LQ images that are new
    skipped: tuple[Path, ...]  # LQ images that were there already
    failed: tuple[Failure, ...]  # HQ images that could not be done, and results that could not be written
    output: Path | None  # the folder of LQ images, or the file of one
    preview: Path | None = None  # the contact sheet


@dataclass(frozen=True)
class TrainResult:
    """The result of `train`: how the run ended."""

    run: Path  # its folder
    step: int  # steps done
    iterations: int  # steps asked for
    best_psnr: float | None  # mean validation PSNR of `best/`, dB; None before the first validation
    bicubic_psnr: float | None
    stopped_by: str = ""  # name of the signal that ended it early; empty if it is finished


@dataclass(frozen=True)
class ModelFacts:
    """Facts about a model, read from its weights."""

    name: str
    file: Path  # of its tensors
    arch: str
    scale: int
    parameters: int
    multiply_adds: int  # for one 128x128 input, or the smallest that it takes; 0 if unknown
    tiling: str  # how large images are computed in pieces
    precisions: tuple[str, ...]  # in which it runs, fp32 first
    license: str  # of the weights, empty if unknown
    code_license: str  # of a network of other authors, else empty


@dataclass(frozen=True)
class ModelsResult:
    """The result of `models`."""

    models: tuple[ModelFacts, ...]
    failed: tuple[Failure, ...]  # files that cannot be read, and folders that lack something


@dataclass(frozen=True)
class ExportResult:
    """The result of `export`."""

    written: Path
    model: str
    bytes: int
