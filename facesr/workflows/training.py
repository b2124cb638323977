"""`facesr train`: a run that can be stopped anywhere and goes on as if it had not been."""

import importlib
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from facesr.cluster import cores, local_world_size, rank_from_environment, refuse_lone_tasks
from facesr.config.train import TrainConfig
from facesr.errors import ConfigError, DeviceError
from facesr.workflows.events import Reporter, Silent
from facesr.workflows.signals import StopSignals, stop_signals

if TYPE_CHECKING:
    import torch

    from facesr.data.listing import Folder, PairSet

SCALE = 4
CHECKPOINT = Path("last") / "checkpoint.pt"
BEST = "best"


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        run: Its folder.
        step: Steps done.
        iterations: Steps asked for.
        best_psnr: Mean validation PSNR of `best/`, dB; None before the first validation.
        bicubic_psnr: The same of bicubic.
        stopped_by: Name of the signal that ended it early; empty if it is finished.
    """

    run: Path
    step: int
    iterations: int
    best_psnr: float | None
    bicubic_psnr: float | None
    stopped_by: str = ""


def train(config: TrainConfig, reporter: Reporter | None = None) -> TrainResult:
    """Train a network into a run folder, or go on with a run.

    On SIGTERM, SIGINT and SIGUSR1 the step is finished and a checkpoint written before it returns; a
    validation is broken off, and made up for when the run goes on. Under torchrun the batch is split among
    the processes, and the first one writes.

    Raises:
        ConfigError: Missing or unfitting data, unknown names, a run folder in use, nothing to resume.
        WeightsError: Unusable weights to start from.
        DeviceError: The device is not to be had.
        RunError: A loss that is not finite, or a folder that cannot be written.
    """
    from facesr.data.listing import list_training, list_validation  # imports Pillow

    refuse_lone_tasks()
    reporter = reporter or Silent()
    if config.resume is None and config.out is not None:
        refuse_used(config.out)
    warn = cache(reporter.warn)  # a folder that is named twice is told of once
    folders = list_training(config.data, scale=SCALE, warn=warn)
    sets = list_validation(config.data, scale=SCALE, warn=warn) if config.validate_every else []
    run = config.resume or config.out or Path("runs") / f"{config.arch}-{datetime.now():%Y%m%d-%H%M%S}"
    # A run that was stopped before its first checkpoint starts again.
    resumed = config.resume is not None and (run / CHECKPOINT).exists()
    if config.resume is not None and not resumed:
        refuse_used(run)
        reporter.warn(f"{run} has no checkpoint yet, so it starts from the beginning")
    config = replace(config, out=run, resume=None)
    with stop_signals() as stop, processes(config) as device:
        return _run(config, reporter, folders, sets, stop, device, resumed=resumed)


def refuse_used(run: Path) -> None:
    """Refuse to begin a run where it would take the place of another.

    Raises:
        ConfigError: There is a checkpoint, or what was best; a run that has none of these starts again.
    """
    if (run / CHECKPOINT).exists():
        raise ConfigError(f"{run} holds a run already", hint=f"go on with `--resume {run}`")
    if (run / BEST).exists():
        raise ConfigError(
            f"{run} holds `{BEST}`, but no checkpoint to go on from",
            hint=f"begin another run with `--init {run / BEST}`, or remove the folder",
        )


def _run(
    config: TrainConfig,
    reporter: Reporter,
    folders: "list[Folder]",
    sets: "list[PairSet]",
    stop: StopSignals,
    device: "torch.device",
    *,
    resumed: bool,
) -> TrainResult:
    # Imported here, so that errors in the configuration answer without the seconds that torch takes to load.
    from facesr.data.batches import Slice, batches
    from facesr.data.draws import Draws
    from facesr.data.listing import fingerprint
    from facesr.device import pick_dtype
    from facesr.models import resolve_args
    from facesr.workflows.checkpoint import RunFolder
    from facesr.workflows.run import Run, mean_psnr
    from facesr.workflows.trainer import Trainer
    from facesr.workflows.validation import Validator

    ranks = rank_from_environment()
    # Recorded in full, since another version may have other defaults.
    config = replace(config, args=resolve_args(config.arch, config.args))
    # A checkpoint holds all weights, so those that the run began with need not be there any more.
    network = initial_network(replace(config, init=None) if resumed else config)
    if config.dtype != "auto":
        pick_dtype(config.dtype, device, network.dtypes)  # refuses what the network cannot do
    size = lq_size(config, folders, multiple_of=network.multiple_of)
    if network.halo is None:
        network.window = max(size)
    trainer = Trainer(network, config, device)
    folder = RunFolder(config.out or Path())
    validator = Validator.prepare(sets, scale=SCALE) if sets and ranks.rank == 0 else None
    run = Run(config, folder, trainer, validator, reporter, ranks, data=fingerprint(folders), lq_size=size)
    draws = Draws(folders, config.data, seed=config.seed, scale=SCALE)
    part = Slice(config.batch, ranks.rank, ranks.world_size)
    with folder.lock() if ranks.rank == 0 else nullcontext():
        if resumed:
            run.resume()
        elif ranks.rank == 0:
            folder.create(config, device=str(device))
        if not run.finished:
            run.announce()
            workers = worker_count(config)
            with closing(batches(draws, part=part, start=trainer.step, workers=workers)) as stream:
                run.go(stream, stop)
    return TrainResult(
        folder.path,
        trainer.step,
        config.iterations,
        best_psnr=run.best.get("psnr"),
        bicubic_psnr=mean_psnr(validator.bicubic) if validator else None,
        stopped_by="" if run.finished else stop.name,
    )


def initial_network(config: TrainConfig):  # type: ignore[no-untyped-def]
    """Build the network, of which `args` are all arguments, from the weights in `init` where they are given.

    Raises:
        ConfigError: The weights are of another network than the configuration's, or of one with more blocks.
    """
    import torch

    from facesr.models import build_network, load_shallower, resolve_args
    from facesr.weights.load import read_network
    from facesr.weights.locate import locate

    torch.manual_seed(config.seed % 2**63)
    args = config.args
    if config.init is None:
        return build_network(config.arch, args)
    network, found, _ = read_network(locate(config.init))
    begun = resolve_args(found.arch, found.args)
    if (found.arch, begun) == (config.arch, args):
        return network
    deeper = {name for name in args if name.endswith("blocks") and begun.get(name, 0) <= args[name]}
    if found.arch != config.arch or any(begun[name] != args[name] for name in args if name not in deeper):
        raise ConfigError(
            f"{config.init} holds {found.arch} {found.args}, but the run is for {config.arch} {args}",
            hint="give the same `--arch` and `--features`, and no fewer `--blocks`",
        )
    grown = build_network(config.arch, args)
    load_shallower(grown, network.state_dict())
    return grown


def lq_size(config: TrainConfig, folders: "list[Folder]", *, multiple_of: int) -> tuple[int, int]:
    """Return (height, width) of what the network sees in training, in LQ pixels.

    Raises:
        ConfigError: The network cannot take it.
    """
    crop_px = config.data.crop_px
    height, width = (side // SCALE for side in folders[0].size or (crop_px, crop_px))
    if height % multiple_of or width % multiple_of:
        raise ConfigError(
            f"{config.arch} trains on LQ sides that are multiples of {multiple_of}, not on {width}x{height}",
            hint=f"choose a multiple of {multiple_of * SCALE} for `--crop`",
        )
    return height, width


def worker_count(config: TrainConfig) -> int:
    """Resolve `data.workers` for this process."""
    if config.data.workers != "auto":
        return config.data.workers
    return max(1, min(8, cores() // local_world_size()))


@contextmanager
def processes(config: TrainConfig) -> "Iterator[torch.device]":
    """Join the other processes that torchrun started, if any, and give this one's device.

    Raises:
        ConfigError: The batch does not divide among the processes.
    """
    import torch
    import torch.distributed as dist

    from facesr.device import pick_device

    ranks = rank_from_environment()
    device = pick_device(config.device)
    if config.batch % (ranks.world_size * config.optim.accumulate):
        parts = f" in {config.optim.accumulate} parts each" if config.optim.accumulate > 1 else ""
        raise ConfigError(f"batch {config.batch} does not divide among {ranks.world_size} processes{parts}")
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first matrix product
        torch.use_deterministic_algorithms(True)
    if ranks.world_size == 1:
        yield device
        return
    if device.type == "cuda":
        if ranks.local_rank >= torch.cuda.device_count():
            raise DeviceError(f"process {ranks.local_rank} of this node has no CUDA device of its own")
        device = torch.device("cuda", ranks.local_rank)
        torch.cuda.set_device(device)
    # Its functions take the group that exists when they are imported as a default, and DDP imports them: it
    # would outlive its end, and a thread of it that wants the interpreter at exit aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"cannot join the other processes: {str(error).splitlines()[0]}",
            hint="start all of them with torchrun",
        ) from error
    try:
        yield device
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()
