"""Runs the end of a network, where images are largest, a few rows at a time on the CPU."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Stage = tuple[nn.Module, Callable[[Tensor], Tensor]]

# Input pixels of a piece: so few that what a stage leaves is still in the cache when the next one reads it.
_PIECE_PX = 1536


def run_stages(stages: Sequence[Stage], x: Tensor) -> Tensor:
    """Apply 3x3 convolutions of padding 1, each followed by a function of single rows, to (B, C, h, w)."""
    rows = max(4, _PIECE_PX // (x.shape[0] * x.shape[3]))
    if x.device.type == "cpu" and torch.is_inference_mode_enabled() and x.shape[2] > rows:
        return _by_rows(stages, x, rows)
    for convolution, after in stages:
        x = after(convolution(x))
    return x


def _by_rows(stages: Sequence[Stage], x: Tensor, rows: int) -> Tensor:
    """Send strips of `x` through all stages. Each stage keeps two rows for the start of its next strip."""
    out: Tensor | None = None
    done = 0
    kept: list[Tensor | None] = [None] * len(stages)
    pieces = torch.split(x, rows, dim=2)
    for number, piece in enumerate(pieces):
        below = number == len(pieces) - 1
        for index, (convolution, after) in enumerate(stages):
            border = _zero_row(piece)
            above = kept[index]
            parts = [border if above is None else above, piece, *([border] if below else [])]
            piece = torch.cat(parts, dim=2)
            kept[index] = piece[:, :, -2:]
            assert isinstance(convolution, nn.Conv2d)
            piece = after(F.conv2d(piece, convolution.weight, convolution.bias, padding=(0, 1)))
        if out is None:
            # Small results kept between the large strips would leave holes that no strip fits in.
            factor = piece.shape[3] // x.shape[3]
            out = _empty(piece, (*piece.shape[:2], factor * x.shape[2], piece.shape[3]))
        out[:, :, done : done + piece.shape[2]] = piece
        done += piece.shape[2]
    assert out is not None
    return out


def _zero_row(x: Tensor) -> Tensor:
    # In the layout that pieces have on the CPU: among others, the concatenation would choose a slower one.
    return _empty(x, (*x.shape[:2], 1, x.shape[3])).zero_()


def _empty(like: Tensor, size: tuple[int, ...]) -> Tensor:
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
