"""A face in the pixel grid of a photograph: smaller than its HQ image, rotated, and off the grid.

Both directions use positions relative to the centre of the face, in pixels of the photograph. Pixels are
areas: when an image is resized, its outer edges stay in place, not the centres of its outer pixels.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from facesr.transfer import send_to_device

# Around the turned face, for blur and JPEG: one block of chroma at 4:2:0.
_MARGIN_PX = 16


def canvas_size(hq: tuple[int, int], *, scale: float, angle: float) -> tuple[int, int]:
    """Return (height, width) of the part of the photograph that holds a face and a margin around it.

    The face is `scale` times as large as in the HQ image, and rotated clockwise by `angle` degrees.
    """
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    height, width = (scale * side for side in hq)
    # One pixel more, by which the face may be shifted.
    room = 2 * _MARGIN_PX + 1
    return math.ceil(height * cos + width * sin) + room, math.ceil(width * cos + height * sin) + room


def place(face: Tensor, hq: tuple[int, int], *, scale: float, angle: float, shift: Sequence[float]) -> Tensor:
    """Rotate a face into the pixel grid of a photograph. Mirror images surround it.

    The face is (B, C, h, w), about as large as it will be there. Its centre ends up `shift` px, (x, y), off
    the centre of the canvas. Interpolation is bicubic, so values may overshoot.
    """
    size = canvas_size(hq, scale=scale, angle=angle)
    x, y = _centres(size)
    x, y = _turn(x - _middle(size[1], shift[0]), y - _middle(size[0], shift[1]), -angle)
    return _sample(face, 2 * x / (scale * hq[1]), 2 * y / (scale * hq[0]), "bicubic")


def align(
    canvas: Tensor,
    hq: tuple[int, int],
    lq: tuple[int, int],
    *,
    scale: float,
    angle: float,
    shift: Sequence[float],
    mode: str,
) -> Tensor:
    """Cut a placed face out of the photograph, upright and at the LQ size, without antialiasing.

    The canvas may have been resized in between. The mode is `bilinear` or `bicubic`.
    """
    size = canvas_size(hq, scale=scale, angle=angle)
    x, y = _centres(lq)
    x, y = _turn((x / lq[1] - 0.5) * scale * hq[1], (y / lq[0] - 0.5) * scale * hq[0], angle)
    x, y = x + _middle(size[1], shift[0]), y + _middle(size[0], shift[1])
    return _sample(canvas, 2 * x / size[1] - 1, 2 * y / size[0] - 1, mode)


def _middle(side: int, shift: float) -> float:
    return (side - 1) / 2 + shift


def _centres(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return x and y of all pixel centres, (height, width) each."""
    rows, columns = (torch.arange(side, dtype=torch.float64) + 0.5 for side in size)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return x, y


def _turn(x: Tensor, y: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return cos * x - sin * y, sin * x + cos * y


def _sample(images: Tensor, x: Tensor, y: Tensor, mode: str) -> Tensor:
    """Interpolate at positions from -1 to 1, the outer edges of the image."""
    grid = send_to_device(torch.stack([x, y], -1).to(images.dtype), images.device)
    return F.grid_sample(
        images,
        grid.expand(len(images), -1, -1, -1),
        mode=mode,
        padding_mode="reflection",
        align_corners=False,
    )
