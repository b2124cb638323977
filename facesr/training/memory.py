"""Turns out-of-memory errors of a training run into one clear error."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from facesr.device import is_out_of_memory
from facesr.errors import RunError


@contextmanager
def explain_memory(device: torch.device) -> Iterator[None]:
    """Raise a `RunError` if memory runs out inside."""
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
