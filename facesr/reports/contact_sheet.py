"""A contact sheet: some images next to several degraded versions, with their parameters below."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facesr.config.degrade import DegradeConfig
from facesr.degradation.degrade_files import draw_for, read_hq
from facesr.degradation.degrader import degrade_pixels, derive_seed
from facesr.errors import ImageError
from facesr.files.jobs import Job
from facesr.files.listing import Source
from facesr.images.image import ImageData
from facesr.images.write import write_image

_ROWS, _COLUMNS = 4, 5
_TILE_PX = 256
_LINE_PX = 13
_LINES = 11


def write_preview(config: DegradeConfig, paths: list[Path], target: Path) -> None:
    """Write a PNG sheet with up to four images, chosen by the seed, and five degraded versions of each.

    Raises:
        ImageError: None of the images can be read, or the sheet cannot be written.
    """
    order = Random(derive_seed(config.seed, "preview")).sample(paths, len(paths))  # noqa: S311
    rows = []
    for path in order:
        try:
            rows.append((path, read_hq(config, path)[0]))
        except ImageError:
            continue
        if len(rows) == _ROWS:
            break
    if not rows:
        raise ImageError("none of the images could be read")
    height = _TILE_PX + _LINES * _LINE_PX
    sheet = Image.new("RGB", ((_COLUMNS + 1) * (_TILE_PX + 4), len(rows) * height), "white")
    for y, (path, hq) in enumerate(rows):
        _place(sheet, 0, y * height, Image.fromarray(hq), [path.name])
        for x in range(_COLUMNS):
            steps = draw_for(config, Job(Source(path, Path(path.name)), target, x))["steps"]
            lq = Image.fromarray(degrade_pixels(hq, steps, scale=config.scale))
            _place(sheet, (x + 1) * (_TILE_PX + 4), y * height, lq, [describe(step) for step in steps])
    write_image(target, ImageData(rgb=np.asarray(sheet)))


def _place(sheet: Image.Image, left: int, top: int, image: Image.Image, lines: list[str]) -> None:
    # Small images are shown as they are, pixel by pixel; large ones are reduced.
    small = max(image.size) <= _TILE_PX
    scale = _TILE_PX // max(image.size) if small else _TILE_PX / max(image.size)
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    method = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    sheet.paste(image.resize(size, method), (left, top))
    font = ImageFont.load_default(9)
    for index, line in enumerate(lines[:_LINES]):
        position = (left + 2, top + _TILE_PX + 1 + index * _LINE_PX)
        ImageDraw.Draw(sheet).text(position, line, fill="black", font=font)


def describe(params: dict[str, Any]) -> str:
    """Return a short line with a step's parameters, such as `jpeg_1: quality 63.2`."""
    words = []
    for key, value in params.items():
        if key in {"step", "type", "seed", "of"} or value is False:
            continue
        if isinstance(value, str):
            words.append(value)
        elif value is True:
            words.append(key)
        elif key == "size_px":
            words.append(f"{value} px")
        else:
            numbers = value if isinstance(value, list) else [value]
            words.append(f"{key} {' '.join(dict.fromkeys(f'{number:.2f}' for number in numbers))}")
    return f"{params['step']}: {' '.join(words)}"
