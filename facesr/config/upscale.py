"""Options of `facesr upscale`."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from annotated_types import Ge, Gt, Le

from facesr.config.fields import Config, Count, WholeNumber, arg, opt
from facesr.config.model import BLEND, MODEL, SHARPNESS
from facesr.config.runtime import RuntimeConfig
from facesr.errors import ConfigError

Format = Literal["auto", "png", "jpg", "webp", "tiff", "avif"]

# Every name of a format, in lower case. All but auto are also what files end in.
FORMATS: dict[str, Format] = {name: name for name in get_args(Format)} | {"jpeg": "jpg", "tif": "tiff"}

FacesMode = Literal["off", "auto", "always"]
BACKGROUNDS = ("model", "bicubic")  # and the names of models
FACE_THRESHOLD = 0.75

_PLACEHOLDERS = ("{stem}", "{ext}", "{scale}")


@dataclass(frozen=True, kw_only=True)
class UpscaleConfig(Config):
    """Enlarge images of faces."""

    inputs: tuple[Path, ...] = arg(
        "Images, or folders of images. `-` reads one image from stdin.", metavar="INPUT"
    )
    output: Path = arg(
        "Folder for the results, created if missing, or a file for a single image. `-` writes to stdout.",
        metavar="OUTPUT",
    )
    model: str = MODEL
    sharpness: float | None = SHARPNESS
    blend: str = BLEND
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    faces: FacesMode = opt(
        "auto",
        "Restore each face of a photograph separately. auto does not do this if one face fills the image.",
        panel="Faces",
    )
    background: str = opt(
        "model",
        "Model for the rest of a photograph. model uses that of --model, bicubic resamples, and a name or "
        "path is another model of the same scale. At --outscale 1 the rest is unchanged.",
        panel="Faces",
        metavar="model|bicubic|NAME|PATH",
    )
    min_face: WholeNumber = opt(
        20, "Width of the smallest face to restore, in input pixels.", panel="Faces", metavar="PX"
    )
    face_threshold: Annotated[float, Ge(0), Le(1)] = opt(
        FACE_THRESHOLD, "Lowest score that counts as a face, 0 to 1.", panel="Faces", metavar="SCORE"
    )
    save_faces: Path | None = opt(
        None,
        "Folder for the faces cut out of photographs, before (-lq.png) and after restoring them.",
        panel="Faces",
        metavar="DIR",
    )
    recursive: bool = opt(
        False, "Include sub-folders, and mirror them in the output.", panel="Input", short="-r"
    )
    max_pixels: Count = opt(
        89_000_000,
        "Reject images with more pixels than this, before decoding them. At most 178,956,970.",
        panel="Input",
    )
    truncated: bool = opt(
        False, "Accept files that are cut off. What is missing is grey or black.", panel="Input"
    )
    shard: str = opt(
        "",
        "Process every N-th image, starting at I. auto reads torchrun or SLURM.",
        panel="Input",
        metavar="auto|I/N",
        shown_default="everything, or a share under torchrun and srun",
    )
    name: str = opt(
        "{stem}",
        "Name of the results without extension, with {stem}, {ext} and {scale}.",
        panel="Output",
        metavar="TEMPLATE",
    )
    outscale: Annotated[float, Gt(0), Le(16)] | None = opt(
        None,
        "Final enlargement. The result is resampled if it differs from the network's scale.",
        panel="Output",
        metavar="F",
        shown_default="the network's scale",
    )
    format: Format = opt(
        "auto",
        "File format of the results. auto keeps the input's, and turns BMP and HEIC into PNG.",
        panel="Output",
    )
    quality: Annotated[int, Ge(1), Le(100)] = opt(
        95, "Quality of JPEG and lossy WebP, 1 to 100.", panel="Output"
    )
    compression: Annotated[int, Ge(0), Le(9)] = opt(
        1, "Compression of PNG, 0 to 9. Higher is slower and gives smaller files.", panel="Output"
    )
    overwrite: bool = opt(False, "Replace existing results instead of skipping them.", panel="Output")

    def __post_init__(self) -> None:
        unknown = [found for found in re.findall("{[^{}]*}", self.name) if found not in _PLACEHOLDERS]
        if unknown:
            known = ", ".join(_PLACEHOLDERS)
            hint = f"known are {known}, such as in `--name {{stem}}_{{scale}}x`"
            raise ConfigError(f"`--name {self.name}` has the unknown placeholder {unknown[0]}", hint=hint)
        if self.save_faces and self.faces == "off":
            raise ConfigError(
                "`--save-faces` cannot be combined with `--faces off`", hint="use `--faces auto` or `always`"
            )
        if "{stem}" not in self.name or {"/", os.sep} & set(self.name):
            raise ConfigError(
                f"`--name {self.name}` needs {{stem}} in it and no slash",
                hint="write for example `--name {stem}_4x`",
            )

    @property
    def whole_note(self) -> str:
        """Note in results that were enlarged as a whole, without a search for faces."""
        return f"whole{self._sharpness_note}" if self.faces == "off" else f"whole {self.face_options}"

    def is_whole_note(self, note: str) -> bool:
        """Return whether a result with this note was enlarged as a whole, at the sharpness asked for now."""
        kind, *options = note.split(" ")
        sharpness = [option for option in options if option.startswith("sharpness=")]
        return kind == "whole" and sharpness == self._sharpness_note.split()

    @property
    def face_options(self) -> str:
        """Options that decide how faces are restored, for the note in results. Paths are hashed."""
        background = self.background
        if background not in BACKGROUNDS:
            background = hashlib.sha256(background.encode(errors="surrogateescape")).hexdigest()[:16]
        limits = f"min-face={self.min_face} threshold={self.face_threshold}"
        return f"faces={self.faces} background={background} {limits}{self._sharpness_note}"

    @property
    def _sharpness_note(self) -> str:
        return f" sharpness={self.sharpness:g}" if self.sharpness else ""

    @classmethod
    def translated(cls, tree: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an alias of a format, such as JPEG, by its name."""
        known = FORMATS.get(str(tree.get("format")).lower())
        return {**tree, "format": known} if known else dict(tree)

    def resolved(self) -> Self:
        """Replace an alias of a format, such as JPEG, by its name."""
        known = FORMATS.get(self.format.lower())
        if known is None:
            choices = ", ".join(get_args(Format))
            raise ConfigError(f"`format`: expected one of {choices}, found {self.format}")
        return replace(super().resolved(), format=known)
