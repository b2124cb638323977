"""Enlarging an image in pieces, so that memory depends on the piece, not on the image."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from facesr.transfer import send_to_device

# The part of a window's side that it shares with its neighbour, where windows are blended.
_OVERLAP = 0.25


def plan_pieces(length: int, *, tile: int, margin: int) -> Iterator[tuple[slice, slice]]:
    """Cover an axis with pieces of at most `tile` px, each in a window with a margin around it.

    A window ends where the image ends, so that the network pads there as it does for the whole image.

    Yields:
        The window, and the part of it to keep, both relative to the start of the image.
    """
    for start in range(0, length, tile):
        stop = min(start + tile, length)
        yield slice(max(0, start - margin), min(length, stop + margin)), slice(start, stop)


def enlarge_by_tiles(
    run: Callable[[Tensor], Tensor], pixels: Tensor, *, tile: int, margin: int, scale: int
) -> Iterator[Tensor]:
    """Enlarge (h, w, 3) in tiles of side `tile` with a margin around each, both in LQ px.

    If the margin covers the network's receptive field, the result equals that of the whole image. `run` is
    the network, from (1, h, w, 3) to (1, scale h, scale w, 3) of any dtype, on the same device.

    Yields:
        Bands of the result from top to bottom, (rows, scale w, 3), of the dtype that `run` returns.
    """

    def inside(window: slice, core: slice) -> slice:
        """Return the position of the core in the enlarged window."""
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
    run: Callable[[Tensor], Tensor],
    pixels: Tensor,
    *,
    window: int,
    scale: int,
    peak: int = 255,
    at_once: int = 1,
) -> Iterator[Tensor]:
    """Enlarge (h, w, 3) integers up to `peak` in windows, blended where they overlap.

    `window` is the side of the windows in LQ px, the one that the network was trained on. `run` is the
    network, from (B, h, w, 3) to (B, scale h, scale w, 3) float in the same range, on the same device. It
    gets up to `at_once` windows of one row.

    Yields:
        Bands of the result from top to bottom, (rows, scale w, 3), of the dtype of `pixels`.
    """
    height, width = pixels.shape[:2]
    rows, columns = starts(height, window), starts(width, window)
    side_y, side_x = min(window, height), min(window, width)
    shares_y = send_to_device(_shares(rows, height, window, scale), pixels.device)[:, :, None, None]
    shares_x = send_to_device(_shares(columns, width, window, scale), pixels.device)[:, :, None]
    # Only the rows that a later window still touches are held in floating point.
    band = torch.zeros(side_y * scale, width * scale, 3, device=pixels.device)
    for index, top in enumerate(rows):
        for first in range(0, len(columns), at_once):
            lefts = columns[first : first + at_once]
            results = run(torch.stack([pixels[top : top + side_y, left : left + side_x] for left in lefts]))
            for left, share_x, result in zip(lefts, shares_x[first:], results, strict=False):
                span = slice(left * scale, (left + side_x) * scale)
                band[:, span].addcmul_(result, shares_y[index] * share_x)
        following = rows[index + 1] if index + 1 < len(rows) else height
        done = (following - top) * scale
        yield band[:done].round().clamp_(0, peak).to(pixels.dtype)
        band[: band.shape[0] - done] = band[done:].clone()
        band[band.shape[0] - done :] = 0


def overlap_of(window: int) -> int:
    """Return the smallest overlap of neighbouring windows in pixels."""
    return max(1, int(window * _OVERLAP))


def starts(length: int, window: int) -> list[int]:
    """Return the starts of windows that cover a length evenly and overlap by at least `overlap_of`."""
    if length <= window:
        return [0]
    count = -(-(length - window) // (window - overlap_of(window))) + 1
    return [round(index * (length - window) / (count - 1)) for index in range(count)]


def _shares(offsets: Sequence[int], length: int, window: int, scale: int) -> Tensor:
    """Return the weight of each window along an axis, (windows, side). At each pixel they sum to 1.

    A window's weight falls linearly towards its neighbours over the pixels that it shares with them.
    """
    side, overlap = min(window, length) * scale, overlap_of(window) * scale
    position = torch.arange(side) + 0.5
    total = torch.zeros(length * scale)
    ramps = []
    for start in offsets:
        ramp = torch.ones(side)
        if start > 0:
            ramp = torch.minimum(ramp, position / overlap)
        if start * scale + side < length * scale:
            ramp = torch.minimum(ramp, (side - position) / overlap)
        total[start * scale :][:side].add_(ramp)
        ramps.append(ramp)
    return torch.stack(
        [ramp / total[start * scale :][:side] for start, ramp in zip(offsets, ramps, strict=True)]
    )
