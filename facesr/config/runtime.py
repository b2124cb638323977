"""Where and how a network runs: device, precision, batch and tiles."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Predicate

from facesr.config.fields import Auto, Config, Count, WholeNumber, key, opt


def cuda_with_a_number(name: str) -> bool:
    return re.fullmatch(r"cuda:\d+", name) is not None


Device = Literal["auto", "cpu", "cuda", "mps"] | Annotated[str, Predicate(cuda_with_a_number)]
Dtype = Literal["auto", "fp32", "tf32", "fp16", "bf16"]


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig(Config):
    """Where and how a network runs: device, precision, batch and tiles."""

    device: Device = opt(
        "auto",
        "Device that runs the network. auto uses CUDA if available, then MPS, then the CPU.",
        panel="Model",
        short="-d",
        envvar="FACESR_DEVICE",
        metavar="auto|cpu|cuda|cuda:N|mps",
    )
    dtype: Dtype = opt(
        "auto", "Precision. auto is half precision on CUDA, else fp32. tf32 needs CUDA.", panel="Model"
    )
    batch: Count | Auto = opt(
        "auto",
        "Equal-sized images in one pass. auto is 1 on the CPU, 32 on CUDA and 8 on MPS.",
        panel="Model",
        metavar="auto|N",
    )
    tile: WholeNumber | Auto = opt(
        "auto",
        "Largest side, in input pixels, to process in one piece. Larger images are tiled. 0 disables tiling.",
        panel="Model",
        metavar="auto|0|N",
    )
    self_ensemble: bool = key(
        "Average with the result of the mirror image. Gains about 0.05 dB for twice the time.", default=False
    )
