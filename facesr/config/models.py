"""Options of `facesr models`."""

from dataclasses import dataclass

from facesr.config.fields import Config, arg, opt


@dataclass(frozen=True, kw_only=True)
class ModelsConfig(Config):
    """Which models to describe. Without any, `facesr models` lists those on this machine."""

    models: tuple[str, ...] = arg(
        "Models, as in `upscale --model`, or folders of several models.", metavar="MODEL", default=()
    )
    file: tuple[str, ...] = opt(
        (), "Weight file to describe, as MODEL. May be repeated.", panel="Input", metavar="PATH"
    )
