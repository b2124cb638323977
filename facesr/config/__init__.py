"""Every knob of facesr as a frozen dataclass, free of torch; read, merged and validated in one place."""

from facesr.config.build import build, dump, merge, nest, parse_override, read_toml
from facesr.config.degrade import PRESETS, Degradation, DegradeConfig, degradation_preset
from facesr.config.fields import Config, Leaf, Option, leaves
from facesr.config.model import Arch, ModelConfig, Score
from facesr.config.upscale import DEFAULT_MODEL, RuntimeConfig, UpscaleConfig

__all__ = [
    "DEFAULT_MODEL",
    "PRESETS",
    "Arch",
    "Config",
    "Degradation",
    "DegradeConfig",
    "Leaf",
    "ModelConfig",
    "Option",
    "RuntimeConfig",
    "Score",
    "UpscaleConfig",
    "build",
    "degradation_preset",
    "dump",
    "leaves",
    "merge",
    "nest",
    "parse_override",
    "read_toml",
]
