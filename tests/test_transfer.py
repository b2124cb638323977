"""Copies between a device and the CPU: which memory is pinned for them."""

from typing import Any

import pytest
import torch

from facesr import transfer
from facesr.transfer import host_empty, send_to_device

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LARGEST = 128 * 2**20


@pytest.mark.parametrize(
    ("device", "size", "dtype", "pinned"),
    [
        (CUDA, LARGEST, torch.uint8, True),
        (CUDA, LARGEST + 1, torch.uint8, False),
        (CUDA, LARGEST // 4, torch.float32, True),
        (CUDA, LARGEST // 4 + 1, torch.float32, False),
        (CPU, 1, torch.uint8, False),
    ],
)
def test_results_are_pinned_for_cuda_unless_they_are_large(
    device: torch.device, size: int, dtype: torch.dtype, pinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def empty(shape: tuple[int, ...], *, dtype: torch.dtype, pin_memory: bool) -> None:
        asked.append((shape, dtype, pin_memory))

    monkeypatch.setattr(transfer.torch, "empty", empty)
    host_empty((1, size), dtype, device)
    assert asked == [((1, size), dtype, pinned)]


class Pixels:
    """Stands in for a tensor on the CPU, and notes how it is sent."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.calls: list[str] = []

    def pin_memory(self) -> "Pixels":
        self.calls.append("pin")
        return self

    def to(self, device: torch.device, *, non_blocking: bool) -> "Pixels":
        self.calls.append(f"to {device}")
        return self


@pytest.mark.parametrize(
    ("device", "size", "calls"),
    [(CUDA, LARGEST, ["pin", "to cuda"]), (CUDA, LARGEST + 1, ["to cuda"]), (CPU, 9, ["to cpu"])],
)
def test_inputs_are_pinned_for_cuda_unless_they_are_large(
    device: torch.device, size: int, calls: list[str]
) -> None:
    pixels = Pixels(size)
    send_to_device(pixels, device)  # type: ignore[arg-type]
    assert pixels.calls == calls
