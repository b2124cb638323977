"""What a weight folder says about itself (`config.json`)."""

from dataclasses import dataclass, field
from typing import Any, Literal

from facesr.config.fields import Config

Arch = Literal["msrresnet", "edsr", "faceunet"]


@dataclass(frozen=True, kw_only=True)
class Score(Config):
    """Mean fidelity on one set of pairs, RGB, no crop, 8-bit, beside bicubic on the same files.

    Attributes:
        dataset: Which pairs, and how their LQ side was made.
        images: How many pairs.
        psnr: dB.
        bicubic_psnr: dB, Pillow's bicubic.
        gain_low: Lower end of the 95 % interval of the mean gain over bicubic, dB; None when unknown.
        gain_high: Its upper end.
    """

    dataset: str
    images: int
    psnr: float
    bicubic_psnr: float
    gain_low: float | None = None
    gain_high: float | None = None

    @property
    def gain(self) -> float:
        return self.psnr - self.bicubic_psnr


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """Everything needed to rebuild a network and to judge its weights.

    Attributes:
        name: Short, lower case, with dashes.
        arch: A key of `facesr.models.ARCHITECTURES`.
        args: Every constructor argument of the network, resolved.
        scale: Enlargement; 0 when unknown.
        parameters: Number of trained values.
        multiply_adds: For one 128x128 input.
        license: SPDX identifier of the weights' licence; empty when unknown.
        summary: One sentence for tables.
        data: What it was trained on, and the terms of that data.
        degradation: How its LQ inputs were made.
        training: Recipe in words.
        iterations: Optimiser steps, 0 when unknown.
        batch: Pictures a step, 0 when unknown.
        patch_px: Side of a training input in LQ pixels, 0 when unknown.
        limits: What it does badly.
        scores: Measured results.
        sha256: Of `model.safetensors`, hexadecimal; empty when the file is not to be checked.
    """

    name: str
    arch: Arch
    args: dict[str, Any]
    scale: int = 0
    parameters: int = 0
    multiply_adds: int = 0
    license: str = ""
    summary: str = ""
    data: str = ""
    degradation: str = ""
    training: str = ""
    iterations: int = 0
    batch: int = 0
    patch_px: int = 0
    limits: str = ""
    scores: tuple[Score, ...] = field(default=())
    sha256: str = ""


DEFAULT_MODEL = "faceunet"
