"""Blending the weights of two networks of one architecture."""

from collections.abc import Mapping

import torch
from torch import Tensor

from facesr.errors import WeightsError


def blend(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: float, *, missing_as_zero: bool = False
) -> dict[str, Tensor]:
    """Interpolate two state dicts linearly, as in ESRGAN's network interpolation (Wang et al. 2018).

    Args:
        first: Result at a share of 0, exactly.
        second: Result at a share of 1, exactly. It has the keys and shapes of `first`.
        share: Weight of `second`, 0 to 1.
        missing_as_zero: Whether keys that only `second` has count as 0 in `first`.

    Raises:
        WeightsError: A key that only one of them has, or a tensor of different shapes. The message names no
            file.
    """
    lacking = second.keys() - first.keys()
    if missing_as_zero:
        first = {**first, **{key: torch.zeros_like(second[key]) for key in lacking}}
    if differing := sorted(first.keys() ^ second.keys()):
        raise WeightsError(f"only one of them has {differing[0]}")
    for key, tensor in first.items():
        if tensor.shape != second[key].shape:
            raise WeightsError(
                f"{key} is {tuple(tensor.shape)} in one and {tuple(second[key].shape)} in the other"
            )
    return {key: torch.lerp(tensor.float(), second[key].float(), share) for key, tensor in first.items()}
