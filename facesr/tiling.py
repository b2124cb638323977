"""Enlarging a picture piece by piece, so that memory depends on the piece and not on the picture."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# The part of a window's side that it shares with its neighbour, where windows are blended.
_OVERLAP = 0.25


@dataclass(frozen=True)
class Tile:
    """A piece of a picture, in LQ pixels.

    Attributes:
        top: First row of the window that is computed.
        left: First column.
        height: Rows of the window.
        width: Columns.
        core: (top, left, height, width) of the part that is kept, within the picture.
    """

    top: int
    left: int
    height: int
    width: int
    core: tuple[int, int, int, int]


def plan_tiles(height: int, width: int, *, tile: int, halo: int) -> Iterator[Tile]:
    """Cover a picture with cores of at most `tile` px, each in a window with a halo around it.

    A window ends where the picture does, so that the network pads there as it would for the whole picture.
    """
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            y, x = max(0, top - halo), max(0, left - halo)
            yield Tile(
                y,
                x,
                min(height, bottom + halo) - y,
                min(width, right + halo) - x,
                (top, left, bottom - top, right - left),
            )


def enlarge_exactly(
    run: Callable[[Tensor], Tensor], pixels: Tensor, *, tile: int, halo: int, scale: int
) -> Tensor:
    """Enlarge by tiles with a halo; the result is that of the whole picture.

    Args:
        run: The network: (1, h, w, 3) uint8 to (1, scale h, scale w, 3) of any type, on any device.
        pixels: (h, w, 3) uint8 on the CPU.
        tile: Side of a tile without its halo, LQ px.
        halo: Radius outside which an output pixel depends on nothing, LQ px.
        scale: Enlargement.

    Returns:
        (scale h, scale w, 3) on the CPU, of the type that `run` returns.
    """
    height, width = pixels.shape[:2]
    out = torch.empty(0)
    for piece in plan_tiles(height, width, tile=tile, halo=halo):
        window = pixels[None, piece.top : piece.top + piece.height, piece.left : piece.left + piece.width]
        top, left, rows, columns = (scale * value for value in piece.core)
        y, x = top - scale * piece.top, left - scale * piece.left
        result = run(window)[0, y : y + rows, x : x + columns]
        if not out.numel():
            out = torch.empty(height * scale, width * scale, 3, dtype=result.dtype)
        out[top : top + rows, left : left + columns] = result
    return out


def enlarge_blended(
    run: Callable[[Tensor], Tensor], pixels: Tensor, *, window: int, scale: int, peak: int = 255
) -> Tensor:
    """Enlarge by overlapping windows of the size that the network knows, blended where they overlap.

    Args:
        run: The network: (1, h, w, 3) to (1, scale h, scale w, 3) float in the same range, on any device.
        pixels: (h, w, 3) whole numbers on the CPU.
        window: Side of a window, LQ px.
        scale: Enlargement.
        peak: Largest value.

    Returns:
        (scale h, scale w, 3) of the type of `pixels`, on the CPU.
    """
    height, width = pixels.shape[:2]
    rows, columns = starts(height, window), starts(width, window)
    side_y, side_x = min(window, height), min(window, width)
    weight_y, weight_x = (
        [_ramp(start, side, edge, scale=scale, overlap=overlap_of(window)) for start in table]
        for table, side, edge in ((rows, side_y, height), (columns, side_x, width))
    )
    out = torch.empty(height * scale, width * scale, 3, dtype=pixels.dtype)
    # Only the rows that a later window still touches are held in floating point.
    band = torch.zeros(side_y * scale, width * scale, 3)
    total = torch.zeros(side_y * scale, width * scale, 1)
    for index, top in enumerate(rows):
        for left, ramp in zip(columns, weight_x, strict=True):
            result = run(pixels[None, top : top + side_y, left : left + side_x])[0].cpu()
            weight = (weight_y[index][:, None] * ramp)[..., None]
            span = slice(left * scale, (left + side_x) * scale)
            band[:, span].addcmul_(result, weight)
            total[:, span].add_(weight)
        following = rows[index + 1] if index + 1 < len(rows) else height
        done = (following - top) * scale
        finished = band[:done] / total[:done]
        out[top * scale : following * scale] = finished.round_().clamp_(0, peak).to(pixels.dtype)
        for strip in (band, total):
            strip[: strip.shape[0] - done] = strip[done:].clone()
            strip[strip.shape[0] - done :] = 0
    return out


def overlap_of(window: int) -> int:
    """Return the pixels that neighbouring windows share at least."""
    return max(1, int(window * _OVERLAP))


def starts(length: int, window: int) -> list[int]:
    """Spread windows evenly so that they cover a length and overlap by `overlap_of` at least."""
    if length <= window:
        return [0]
    count = -(-(length - window) // (window - overlap_of(window))) + 1
    return [round(index * (length - window) / (count - 1)) for index in range(count)]


def _ramp(start: int, side: int, edge: int, *, scale: int, overlap: int) -> Tensor:
    """Return a window's weights along an axis: rising from either end, but for the ends of the picture."""
    position = torch.arange(side * scale) + 0.5
    length = overlap * scale
    weight = torch.ones(side * scale)
    if start > 0:
        weight = torch.minimum(weight, position / length)
    if start + side < edge:
        weight = torch.minimum(weight, (side * scale - position) / length)
    return weight
