"""facesr: 4x blind face super-resolution."""

from importlib import import_module
from typing import TYPE_CHECKING

from facesr.version import __version__

if TYPE_CHECKING:
    from facesr.config.degrade import DegradeConfig as DegradeConfig
    from facesr.config.evaluate import EvalConfig as EvalConfig
    from facesr.config.runtime import RuntimeConfig as RuntimeConfig
    from facesr.config.steps import degradation_preset as degradation_preset
    from facesr.config.train import TrainConfig as TrainConfig
    from facesr.config.train import resumed_config as resumed_config
    from facesr.config.train import train_recipe as train_recipe
    from facesr.config.upscale import UpscaleConfig as UpscaleConfig
    from facesr.degradation.degrader import degrade_image as degrade_image
    from facesr.errors import FacesrError as FacesrError
    from facesr.errors import ImageError as ImageError
    from facesr.faces.find import Face as Face
    from facesr.faces.find import find_faces as find_faces
    from facesr.images.read import read_image as read_image
    from facesr.images.write import encode_image as encode_image
    from facesr.inference.enlarge import upscale_image as upscale_image
    from facesr.inference.restore import restore_faces as restore_faces
    from facesr.metrics import psnr as psnr
    from facesr.metrics import ssim as ssim
    from facesr.weights.load import load_model as load_model
    from facesr.workflows.degrade import degrade as degrade
    from facesr.workflows.evaluate import evaluate as evaluate
    from facesr.workflows.train import train as train
    from facesr.workflows.upscale import upscale as upscale

# Resolved on first use (PEP 562), so that `import facesr` and `facesr --help` stay free of torch.
_PUBLIC = {
    "DegradeConfig": "facesr.config.degrade",
    "EvalConfig": "facesr.config.evaluate",
    "Face": "facesr.faces.find",
    "FacesrError": "facesr.errors",
    "ImageError": "facesr.errors",
    "RuntimeConfig": "facesr.config.runtime",
    "TrainConfig": "facesr.config.train",
    "UpscaleConfig": "facesr.config.upscale",
    "degradation_preset": "facesr.config.steps",
    "degrade": "facesr.workflows.degrade",
    "degrade_image": "facesr.degradation.degrader",
    "encode_image": "facesr.images.write",
    "evaluate": "facesr.workflows.evaluate",
    "find_faces": "facesr.faces.find",
    "load_model": "facesr.weights.load",
    "psnr": "facesr.metrics",
    "read_image": "facesr.images.read",
    "restore_faces": "facesr.inference.restore",
    "resumed_config": "facesr.config.train",
    "ssim": "facesr.metrics",
    "train": "facesr.workflows.train",
    "train_recipe": "facesr.config.train",
    "upscale": "facesr.workflows.upscale",
    "upscale_image": "facesr.inference.enlarge",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'facesr' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
