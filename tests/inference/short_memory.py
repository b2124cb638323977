"""A network that runs out of memory."""

import pytest
import torch

from facesr.inference import enlarge as inference
from tests.test_device import OUT_OF_MEMORY


def fail_above(
    limit: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    message: str = OUT_OF_MEMORY[-1],
    failed: list | None = None,
) -> list[tuple[int, ...]]:
    """Make the network run out of memory above so many input pixels; return the shapes it ran on.

    The shapes for which it failed are added to `failed`.
    """
    real, shapes = inference._run, []

    def run(network: object, pixels: torch.Tensor) -> torch.Tensor:
        if pixels.shape[:3].numel() > limit:
            if failed is not None:
                failed.append(tuple(pixels.shape[:3]))
            raise RuntimeError(message)
        shapes.append(tuple(pixels.shape[:3]))
        return real(network, pixels)  # type: ignore[arg-type]

    monkeypatch.setattr(inference, "_run", run)
    return shapes
