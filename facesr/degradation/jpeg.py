"""JPEG compression as tensor operations, 4:2:0. Entropy coding is left out, since it is lossless."""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from facesr.transfer import send_to_device

# Annex K of the JPEG standard.
_LUMA_ROWS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))

# Transposed, as in the reference that published training runs used; libjpeg's is not.
LUMA_TABLE = torch.tensor(_LUMA_ROWS, dtype=torch.float64).T
CHROMA_TABLE = F.pad(torch.tensor(_CHROMA_CORNER, dtype=torch.float64), (0, 4, 0, 4), value=99)

_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def jpeg(images: Tensor, *, quality: float | Tensor) -> Tensor:
    """Compress and decompress (B, 3, H, W) in [0, 1], of any size.

    The quality is above 0 and at most 100: one number, or a (B,) CPU tensor with one for each image. It
    scales the quantisation tables, which are not rounded.
    """
    height, width = images.shape[-2:]
    quality = torch.as_tensor(quality, dtype=torch.float64).view(-1, 1, 1)
    factor = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    padded = F.pad(images, (0, -width % 16, 0, -height % 16)) * 255
    # Chroma is centred on 0 as it comes; luma is moved there, since the transform wants values around 0.
    ycc = torch.einsum("oc,bchw->bohw", _constant(_TO_YCC, images.device), padded)
    luma = _round_coefficients(ycc[:, :1] - 128, LUMA_TABLE * factor) + 128
    chroma = _round_coefficients(F.avg_pool2d(ycc[:, 1:], 2), CHROMA_TABLE * factor)
    chroma = chroma.repeat_interleave(2, -2).repeat_interleave(2, -1)
    rgb = torch.einsum("oc,bchw->bohw", _constant(_TO_RGB, images.device), torch.cat([luma, chroma], 1))
    return rgb[..., :height, :width].div(255).clamp_(0, 1)


def _round_coefficients(planes: Tensor, steps: Tensor) -> Tensor:
    """Transform 8x8 blocks, quantise by (B or 1, 8, 8) steps, and transform back."""
    batch, channels, height, width = planes.shape
    # Quality 100 quantises by nothing at all.
    step = send_to_device(steps.float().clamp_min(1e-6), planes.device).view(-1, 1, 1, 1, 8, 8)
    blocks = planes.view(batch, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    # The two round differently, and on the CPU a seed is to give the same bytes as ever.
    transform = _transform if planes.device.type == "cpu" else _transform_whole
    blocks = transform((transform(blocks) / step).round_() * step, inverse=True)
    return blocks.transpose(3, 4).reshape(planes.shape)


def _transform(blocks: Tensor, *, inverse: bool = False) -> Tensor:
    """Apply the two-dimensional DCT, or its inverse, to (..., 8, 8) blocks, rows and columns separately."""
    dct = _constant(_DCT, blocks.device)
    return dct.T @ blocks @ dct if inverse else dct @ blocks @ dct.T


def _transform_whole(blocks: Tensor, *, inverse: bool = False) -> Tensor:
    """Do the same as `_transform` in a single matrix product, which is faster on a GPU."""
    dct = _constant(_DCT, blocks.device)
    matrix = torch.kron(dct, dct)
    return (blocks.reshape(-1, 64) @ (matrix if inverse else matrix.T)).view(blocks.shape)


@cache
def _constant(rows: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).float().to(device)


def _dct_matrix() -> Tensor:
    """Return the orthonormal 8-point DCT-II matrix."""
    n = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos((2 * n + 1) * n[:, None] * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


_DCT = tuple(map(tuple, _dct_matrix().tolist()))
