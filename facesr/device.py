"""Choosing the device and the precision."""

import torch

from facesr.errors import DeviceError
from facesr.processes import local_rank

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def pick_device(name: str) -> torch.device:
    """Resolve `auto`, `cpu`, `cuda`, `cuda:N` or `mps` to a device that this machine has."""
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
