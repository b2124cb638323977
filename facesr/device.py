"""Choosing the device and the precision, and copies between it and the CPU."""

import time
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from facesr.cluster import local_rank
from facesr.errors import DeviceError

DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def pick_device(name: str) -> torch.device:
    """Resolve `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        DeviceError: An unknown name, or a device that this machine lacks.
    """
    if name == "auto":
        if torch.cuda.is_available():
            # Each process that torchrun or SLURM started on a node takes a device of its own.
            return torch.device("cuda", local_rank() % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda", "mps"}:
        raise DeviceError(f"unknown device `{name}`", hint="use auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DeviceError(
            f"`{name}` is not available: PyTorch {torch.__version__} sees {count} CUDA devices",
            hint="use `--device auto`, or install a PyTorch build that matches your driver",
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("`mps` is not available on this machine", hint="use `--device auto`")
    return device


def pick_dtype(name: str, device: torch.device, supported: tuple[torch.dtype, ...]) -> torch.dtype:
    """Resolve `auto`, `fp32`, `fp16` or `bf16` for a network that supports some of them.

    Auto is fp32, except on CUDA, where it is the first half precision that the network supports.

    Raises:
        DeviceError: The network cannot run in the precision asked for.
    """
    if name == "auto":
        halves = [dtype for dtype in supported if dtype is not torch.float32]
        return halves[0] if device.type == "cuda" and halves else torch.float32
    if name not in DTYPES:
        raise DeviceError(f"unknown precision `{name}`", hint=f"use auto, {', '.join(DTYPES)}")
    if DTYPES[name] not in supported:
        names = [key for key, dtype in DTYPES.items() if dtype in supported]
        raise DeviceError(
            f"this network does not run in {name}", hint=f"use `--dtype auto` or one of {', '.join(names)}"
        )
    return DTYPES[name]


class Arrival:
    """A tensor on the CPU that a device may still be writing.

    Attributes:
        event: Reached by the device when it is complete; None if it is already.
    """

    def __init__(self, tensor: Tensor, event: "torch.cuda.Event | None" = None) -> None:
        self.event = event
        self._tensor = tensor

    def wait(self) -> Tensor:
        """Return the tensor once it is complete; what was queued after it is not waited for."""
        if self.event is not None:
            self.event.synchronize()
        return self._tensor


def host_empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an empty CPU tensor that `device` can be copied to while it works."""
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=device.type == "cuda")


def send_to_host(source: Tensor, target: Tensor | None = None) -> Arrival:
    """Begin copying a tensor to the CPU; on CUDA beside the computation, on a stream of its own.

    Args:
        source: On any device.
        target: From `host_empty`, or a contiguous part of it; made if not given.
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
    """Begin copying a CPU tensor to a device; the host does not wait for it."""
    if device.type == "cuda":
        source = source.pin_memory()  # only pinned memory is copied while the device works
    return source.to(device, non_blocking=True)


class Stopwatch:
    """Measures the time that a device takes for what is queued until `stop`, without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = self._mark()
        self._end = self._start

    def stop(self) -> None:
        self._end = self._mark()

    def seconds(self) -> float:
        """Return the time between start and stop; waits until the device has passed both."""
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
