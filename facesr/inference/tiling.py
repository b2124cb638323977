"""Enlarging a picture piece by piece, so that memory depends on the piece and not on the picture."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

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


def plan_tiles(height: int, width: int, *, tile: int, margin: int) -> Iterator[Tile]:
    """Cover a picture with cores of at most `tile` px, each in a window with a margin around it.

    A window ends where the picture does, so that the network pads there as it would for the whole picture.
    """
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            y, x = max(0, top - margin), max(0, left - margin)
            yield Tile(
                y,
                x,
                min(height, bottom + margin) - y,
                min(width, right + margin) - x,
                (top, left, bottom - top, right - left),
            )


def enlarge_by_tiles(
    run: Callable[[Tensor], Tensor], pixels: Tensor, *, tile: int, margin: int, scale: int
) -> Iterator[Tensor]:
    """Enlarge by tiles with a margin; with a margin as wide as the network sees, as the whole image.

    Args:
        run: The network: (1, h, w, 3) uint8 to (1, scale h, scale w, 3) of any type, on the same device.
        pixels: (h, w, 3) uint8.
        tile: Side of a tile without its margin, LQ px.
        margin: What a tile sees of its neighbours on every side, LQ px.
        scale: Enlargement.

    Yields:
        Bands of the result from top to bottom, (rows, scale w, 3), of the type that `run` returns.
    """
    for _, row in groupby(
        plan_tiles(*pixels.shape[:2], tile=tile, margin=margin), key=lambda piece: piece.core[0]
    ):
        band = []
        for piece in row:
            window = pixels[None, piece.top : piece.top + piece.height, piece.left : piece.left + piece.width]
            top, left, rows, columns = (scale * value for value in piece.core)
            y, x = top - scale * piece.top, left - scale * piece.left
            band.append(run(window)[0, y : y + rows, x : x + columns])
        yield torch.cat(band, dim=1)


def enlarge_by_windows(
    run: Callable[[Tensor], Tensor], pixels: Tensor, *, window: int, scale: int, peak: int = 255
) -> Iterator[Tensor]:
    """Enlarge by overlapping windows of the size that the network knows, blended where they overlap.

    Args:
        run: The network: (1, h, w, 3) to (1, scale h, scale w, 3) float in the same range, on its device.
        pixels: (h, w, 3) whole numbers.
        window: Side of a window, LQ px.
        scale: Enlargement.
        peak: Largest value.

    Yields:
        Bands of the result from top to bottom, (rows, scale w, 3), of the type of `pixels`.
    """
    height, width = pixels.shape[:2]
    rows, columns = starts(height, window), starts(width, window)
    side_y, side_x = min(window, height), min(window, width)
    weight_y, weight_x = (
        [
            _ramp(start, side, edge, scale=scale, overlap=overlap_of(window)).to(pixels.device)
            for start in table
        ]
        for table, side, edge in ((rows, side_y, height), (columns, side_x, width))
    )
    # Only the rows that a later window still touches are held in floating point.
    band = torch.zeros(side_y * scale, width * scale, 3, device=pixels.device)
    total = torch.zeros(side_y * scale, width * scale, 1, device=pixels.device)
    for index, top in enumerate(rows):
        for left, ramp in zip(columns, weight_x, strict=True):
            result = run(pixels[None, top : top + side_y, left : left + side_x])[0]
            weight = (weight_y[index][:, None] * ramp)[..., None]
            span = slice(left * scale, (left + side_x) * scale)
            band[:, span].addcmul_(result, weight)
            total[:, span].add_(weight)
        following = rows[index + 1] if index + 1 < len(rows) else height
        done = (following - top) * scale
        yield (band[:done] / total[:done]).round_().clamp_(0, peak).to(pixels.dtype)
        for strip in (band, total):
            strip[: strip.shape[0] - done] = strip[done:].clone()
            strip[strip.shape[0] - done :] = 0


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
