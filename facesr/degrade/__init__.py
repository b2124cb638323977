"""The degradation model: what turns a clean picture into one to be restored."""

from facesr.degrade.kernels import usm_sharpen
from facesr.degrade.pipeline import (
    apply,
    crop_to_multiple,
    degrade_batch,
    degrade_image,
    degrade_pixels,
    derive_seed,
    draw,
)
from facesr.degrade.steps import STEPS, Params

__all__ = [
    "STEPS",
    "Params",
    "apply",
    "crop_to_multiple",
    "degrade_batch",
    "degrade_image",
    "degrade_pixels",
    "derive_seed",
    "draw",
    "usm_sharpen",
]
