"""Choosing the device and the precision, and recognising when memory runs out."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from facesr.errors import DeviceError
from facesr.processes import local_rank

# tf32 is a way to compute with fp32 weights, see `fp32_arithmetic`.
DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}

# What CUDA, cuDNN, cuBLAS, NVML, MPS, and the CPU on Windows and on Linux say, mostly in plain RuntimeErrors.
_OUT_OF_MEMORY = re.compile(
    "out of memory|(CUDNN|CUBLAS|CUSOLVER)_STATUS_ALLOC_FAILED|unable to find an engine"
    r"|unable to find a valid cudnn algorithm|NVML_SUCCESS == r INTERNAL ASSERT"
    "|not enough memory|can't allocate memory",
    re.IGNORECASE,
)
_switching = threading.RLock()


def pick_device(name: str) -> torch.device:
    """Resolve `auto`, `cpu`, `cuda`, `cuda:N` or `mps` to a device of this machine.

    With `auto` and `cuda`, each process that torchrun or SLURM started on a node gets its own CUDA device.

    Raises:
        DeviceError: The device is not available.
    """
    if name in {"auto", "cuda"} and torch.cuda.is_available():
        return torch.device("cuda", local_rank() % torch.cuda.device_count())
    if name == "auto":
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
    """Resolve `auto`, `fp32`, `tf32`, `fp16` or `bf16` to a dtype that a network supports.

    `auto` is fp32, except on CUDA, where it is the network's first half precision.
    """
    if name == "auto":
        halves = [dtype for dtype in supported if dtype is not torch.float32]
        return halves[0] if device.type == "cuda" and halves else torch.float32
    if name not in DTYPES:
        raise DeviceError(f"unknown precision `{name}`", hint=f"use auto, {', '.join(DTYPES)}")
    if name == "tf32" and device.type != "cuda":
        raise DeviceError(f"`tf32` needs a CUDA device, found {device}", hint="use `fp32` or `auto` instead")
    if DTYPES[name] not in supported:
        names = [key for key, dtype in DTYPES.items() if dtype in supported and key != "tf32"]
        raise DeviceError(
            f"this network does not run in {name}", hint=f"use `--dtype auto` or one of {', '.join(names)}"
        )
    return DTYPES[name]


@contextmanager
def fp32_arithmetic(device: torch.device, *, tf32: bool) -> Iterator[None]:
    """Compute fp32 convolutions and matrix products on CUDA in fp32, or in tf32: faster, 10-bit mantissa.

    PyTorch by default uses tf32 only for convolutions. These settings are global, so other threads wait here,
    and the settings are restored at the end. On other devices this does nothing.
    """
    if device.type != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    switches: list[object]
    value: bool | str
    if hasattr(cudnn, "conv"):  # PyTorch 2.9 and later, where the older switches warn
        switches, name, value = [cudnn.conv, matmul], "fp32_precision", "tf32" if tf32 else "ieee"
    else:
        switches, name, value = [cudnn, matmul], "allow_tf32", tf32
    with _switching:
        before = [getattr(switch, name) for switch in switches]
        try:
            for switch in switches:
                setattr(switch, name, value)
            yield
        finally:
            for switch, old in zip(switches, before, strict=True):
                setattr(switch, name, old)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the device or the machine has run out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
