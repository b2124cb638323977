"""facesr: 4x blind face super-resolution."""

from importlib import import_module
from typing import TYPE_CHECKING

from facesr.version import __version__

if TYPE_CHECKING:
    from facesr.degradation.degrader import degrade_image as degrade_image
    from facesr.inference.enlarge import upscale_image as upscale_image
    from facesr.metrics.fidelity import psnr as psnr
    from facesr.metrics.fidelity import ssim as ssim
    from facesr.weights.load import load_model as load_model

# Resolved on first use (PEP 562), so that `import facesr` and `facesr --help` stay free of torch.
_PUBLIC = {
    "degrade_image": "facesr.degradation.degrader",
    "psnr": "facesr.metrics",
    "ssim": "facesr.metrics",
    "load_model": "facesr.weights.load",
    "upscale_image": "facesr.inference.enlarge",
}

__all__ = ["__version__", "degrade_image", "load_model", "psnr", "ssim", "upscale_image"]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'facesr' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
