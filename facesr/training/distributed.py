"""One training run in several processes."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
import torch.distributed as dist

from facesr.config.train import TrainConfig
from facesr.device import pick_device
from facesr.errors import ConfigError, DeviceError
from facesr.processes import cores, local_world_size, rank_from_environment


def worker_count(config: TrainConfig) -> int:
    """Resolve `data.workers` for this process."""
    if config.data.workers != "auto":
        return config.data.workers
    return max(1, min(8, cores() // local_world_size()))


@contextmanager
def join_processes(config: TrainConfig) -> Iterator[torch.device]:
    """Join the other processes that torchrun started, if any. Yield this process's device."""
    ranks = rank_from_environment()
    device = pick_device(config.device)
    if config.batch % (ranks.world_size * config.optim.accumulate):
        parts = f" in {config.optim.accumulate} parts each" if config.optim.accumulate > 1 else ""
        raise ConfigError(f"batch {config.batch} does not divide among {ranks.world_size} processes{parts}")
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first matrix product
        torch.use_deterministic_algorithms(True)
    if device.type == "cuda":
        if ranks.world_size > 1:
            if ranks.local_rank >= torch.cuda.device_count():
                raise DeviceError(f"process {ranks.local_rank} of this node has no CUDA device")
            device = torch.device("cuda", ranks.local_rank)
        torch.cuda.set_device(device)  # a new stream, a graph and random numbers are those of this device
    if ranks.world_size == 1:
        yield device
        return
    # Its functions take the group that exists when they are imported as a default, and DDP imports them: it
    # would outlive its end, and a thread of it that wants the interpreter at exit aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"cannot connect to the other processes: {str(error).splitlines()[0]}",
            hint="start all processes with torchrun",
        ) from error
    try:
        yield device
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()
