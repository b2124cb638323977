"""Enlarging a picture piece by piece, so that memory depends on the piece and not on the picture."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# The part of a window's side that it shares with its neighbour, where windows are blended.
_OVERLAP = 0.25


def plan_pieces(length: int, *, tile: int, margin: int) -> Iterator[tuple[slice, slice]]:
    """Cover an axis with pieces of at most `tile` px, each in a window with a margin around it.

    A window ends where the picture does, so that the network pads there as it would for the whole picture.

    Yields:
        The window, and what is kept of it, both from the start of the picture.
    """
    for start in range(0, length, tile):
        stop = min(start + tile, length)
        yield slice(max(0, start - margin), min(length, stop + margin)), slice(start, stop)


def enlarge_by_tiles(
    run: Callable[[Tensor], Tensor], pixels: Tensor, *, tile: int, margin: int, scale: int
) -> Iterator[Tensor]:
    """Enlarge (h, w, 3) by tiles of a side and a margin around it, both in LQ px.

    With a margin as wide as the network sees, the result is that of the whole image. The network `run` takes
    (1, h, w, 3) to (1, scale h, scale w, 3) of any type, on the same device.

    Yields:
        Bands of the result from top to bottom, (rows, scale w, 3), of the type that `run` returns.
    """

    def inside(window: slice, core: slice) -> slice:
        """Return where the core lies in the enlarged window."""
        return slice(scale * (core.start - window.start), scale * (core.stop - window.start))

    height, width = pixels.shape[:2]
    columns = list(plan_pieces(width, tile=tile, margin=margin))
    for rows, core_rows in plan_pieces(height, tile=tile, margin=margin):
        band = []
        for window, core in columns:
            result = run(pixels[None, rows, window])[0]
            band.append(result[inside(rows, core_rows), inside(window, core)])
        yield torch.cat(band, dim=1)


def enlarge_by_windows(
    run: Callable[[Tensor], Tensor], pixels: Tensor, *, window: int, scale: int, peak: int = 255
) -> Iterator[Tensor]:
    """Enlarge (h, w, 3) whole numbers up to `peak` by windows of a side in LQ px, blended where they overlap.

    The network `run` takes (1, h, w, 3) to (1, scale h, scale w, 3) float in the same range, on the same
    device. The side is the one that it knows.

    Yields:
        Bands of the result from top to bottom, (rows, scale w, 3), of the type of `pixels`.
    """
    height, width = pixels.shape[:2]
    rows, columns = starts(height, window), starts(width, window)
    side_y, side_x = min(window, height), min(window, width)
    weight_y = [_ramp(top, height, window, scale=scale).to(pixels.device) for top in rows]
    weight_x = [_ramp(left, width, window, scale=scale).to(pixels.device) for left in columns]
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


def _ramp(start: int, length: int, window: int, *, scale: int) -> Tensor:
    """Return a window's weights along an axis: rising from either end, but for the ends of the picture."""
    side, overlap = min(window, length), overlap_of(window) * scale
    position = torch.arange(side * scale) + 0.5
    weight = torch.ones(side * scale)
    if start > 0:
        weight = torch.minimum(weight, position / overlap)
    if start + side < length:
        weight = torch.minimum(weight, (side * scale - position) / overlap)
    return weight
