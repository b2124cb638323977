"""Telling a device that is full from other errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from facesr.errors import RunError

# What CUDA, cuDNN, cuBLAS, the driver, MPS, and the CPU on Windows and on Linux say.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|(CUDNN|CUBLAS)_STATUS_ALLOC_FAILED"
    r"|unable to find an engine|Unable to find a valid cuDNN algorithm|NVML_SUCCESS == r INTERNAL ASSERT",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that there is too little memory."""
    full = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, full) or (
        isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
    )


@contextmanager
def explain_memory(device: torch.device) -> Iterator[None]:
    """Raise a `RunError` where memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            f"{device} has too little memory for a step",
            hint="lower `--batch` or `--crop`, or use `--set optim.accumulate=2` or `--set data.resident=no`,"
            " then `--resume`",
        ) from error
