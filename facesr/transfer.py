"""Asynchronous copies between a device and the CPU, and timing of a device."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

# Larger results and inputs are copied by way of the driver's own buffers, for which the host waits: PyTorch
# rounds pinned memory up to a power of two and keeps it. A batch of small images stays below.
_PINNED_BYTES = 128 * 2**20


@dataclass(frozen=True, eq=False)
class Arrival:
    """A CPU tensor that a device may still be writing. With an `event`, it is complete at that event."""

    tensor: Tensor
    event: "torch.cuda.Event | None" = None

    def wait(self) -> Tensor:
        """Return the tensor once it is complete, without waiting for work that was queued later."""
        if self.event is not None:
            self.event.synchronize()
        return self.tensor


def host_empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an empty CPU tensor to copy to from `device`. Unless it is large, the copy is asynchronous."""
    pinned = device.type == "cuda" and math.prod(shape) * dtype.itemsize <= _PINNED_BYTES
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=pinned)


def send_to_host(source: Tensor, target: Tensor | None = None) -> Arrival:
    """Start to copy a tensor to the CPU. On CUDA this uses a separate stream, in parallel to the computation.

    The target is from `host_empty`, or a contiguous part of it.
    """
    if source.device.type != "cuda":
        return Arrival(source.cpu() if target is None else target.copy_(source))
    if target is None:
        target = host_empty(source.shape, source.dtype, source.device)
    copies = _copy_stream(source.device)
    copies.wait_stream(torch.cuda.current_stream(source.device))
    with torch.cuda.stream(copies):
        target.copy_(source, non_blocking=True)
        event = copies.record_event()
    source.record_stream(copies)  # its memory is not given to another tensor before the copy is done
    return Arrival(target, event)


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def send_to_device(source: Tensor, device: torch.device) -> Tensor:
    """Start to copy a CPU tensor to a device. Unless it is large, the copy is asynchronous."""
    if device.type == "cuda" and source.nbytes <= _PINNED_BYTES:
        source = source.pin_memory()  # only pinned memory is copied while the device works
    return source.to(device, non_blocking=True)


class Stopwatch:
    """Measures the device's time for the work queued until `stop`, without synchronising."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = self._mark()
        self._end = self._start

    def stop(self) -> None:
        self._end = self._mark()

    def seconds(self) -> float:
        """Return the time between start and stop. Waits until the device has reached both."""
        if isinstance(self._start, float):
            return float(self._end) - self._start  # type: ignore[arg-type]
        self._end.synchronize()  # type: ignore[union-attr]
        return float(self._start.elapsed_time(self._end)) / 1000  # type: ignore[arg-type]

    def _mark(self) -> "float | torch.cuda.Event":
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event
