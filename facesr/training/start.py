"""Starting or resuming a run."""

import time
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from facesr.config.train import TrainConfig
from facesr.data.batches import Slice, batches
from facesr.data.dataset import PairDataset
from facesr.data.folders import Folder, check_scale, fingerprint
from facesr.data.pairs import PairSet
from facesr.data.resident import ResidentImages, is_resident
from facesr.device import fp32_arithmetic, pick_dtype
from facesr.errors import ConfigError
from facesr.events import Reporter
from facesr.models import resolve_args
from facesr.models.base import Traits, Window
from facesr.processes import rank_from_environment
from facesr.results import TrainResult
from facesr.training.collapse import GRIDS
from facesr.training.distributed import join_processes, worker_count
from facesr.training.initial import initial_network
from facesr.training.loop import TrainingLoop
from facesr.training.memory import explain_memory
from facesr.training.run_folder import RunFolder
from facesr.training.signals import StopSignals
from facesr.training.trainer import Trainer
from facesr.training.validation import Validator, mean_over_sets


def start(
    config: TrainConfig,
    reporter: Reporter,
    folders: list[Folder],
    sets: list[PairSet],
    stop: StopSignals,
    *,
    resumed: bool,
) -> TrainResult:
    """Train in the run folder `config.out`, together with the other processes of the run.

    Without validation pairs, the run has no validation. If `resumed`, it continues from the folder's
    checkpoint. Errors are those of `train`, which has already checked everything that needs no torch.
    """
    with join_processes(config) as device, explain_memory(device):
        ranks = rank_from_environment()
        # Recorded in full, since another version may have other defaults.
        config = replace(config, args=resolve_args(config.arch, config.args))
        # A checkpoint holds all weights, so those that the run began with need not be there any more.
        network = initial_network(
            replace(config, init=None) if resumed else config, reporter if ranks.rank == 0 else Reporter()
        )
        if config.dtype != "auto":
            pick_dtype(config.dtype, device, network.traits.dtypes)  # refuses what the network cannot do
        scale = network.traits.scale
        check_scale(config.data, folders, sets, scale=scale)
        size = lq_size(config, folders, network.traits)
        if isinstance(network.traits.view, Window):
            network.traits = replace(network.traits, view=Window(max(size)))
        # Recorded too, since it changes the draws.
        resident = is_resident(config.data, folders, device)
        config = replace(config, data=replace(config.data, resident="yes" if resident else "no"))
        trainer = Trainer(network, config, device)
        folder = RunFolder(config.out or Path())
        validator = None
        if sets and ranks.rank == 0:
            validator = Validator.prepare(
                sets,
                best_by=config.best_by,
                also=GRIDS if trainer.objective.adversary else (),
                metric_weights=config.metric_weights,
            )
        loop = TrainingLoop(
            config, folder, trainer, validator, reporter, ranks, data=fingerprint(folders), patch_px=max(size)
        )
        draws = PairDataset(folders, config.data, seed=config.seed, scale=scale)
        part = Slice(config.batch, ranks.rank, ranks.world_size)
        arithmetic = fp32_arithmetic(device, tf32=config.dtype == "tf32")
        with arithmetic, folder.lock() if ranks.rank == 0 else nullcontext():
            if resumed:
                loop.resume()
            elif ranks.rank == 0:
                folder.create(config, device=str(device))
            if not loop.finished:
                if ranks.rank == 0:
                    announce(config, trainer, size, reporter)
                workers = worker_count(config)
                images = ResidentImages(draws, device) if resident else None
                stream = batches(draws, part=part, start=trainer.step, workers=workers, resident=images)
                with closing(stream):
                    loop.go(stream, stop)
        return TrainResult(
            folder.path,
            trainer.step,
            config.iterations,
            best_psnr=loop.best.get("psnr"),
            bicubic_psnr=mean_over_sets(validator.bicubic, "psnr") if validator else None,
            stopped_by="" if loop.finished else stop.name,
        )


def lq_size(config: TrainConfig, folders: list[Folder], traits: Traits) -> tuple[int, int]:
    """Return the (height, width) of training inputs in LQ pixels.

    Raises:
        ConfigError: The network does not take that size.
    """
    crop_px = config.data.crop_px
    height, width = (side // traits.scale for side in folders[0].size or (crop_px, crop_px))
    fitting = traits.size.fit(height, width)
    if fitting != (height, width):
        raise ConfigError(
            f"{config.arch} trains on LQ images of {fitting[1]}x{fitting[0]}, not of {width}x{height}",
            hint=f"choose `--crop {traits.scale * max(fitting)}`",
        )
    return height, width


def announce(config: TrainConfig, trainer: Trainer, size: tuple[int, int], reporter: Reporter) -> None:
    """On the CPU, report how long the run will take, by timing one image of (height, width) LQ pixels."""
    left = config.iterations - trainer.step
    if trainer.device.type != "cpu" or not left or not all(size):  # no size: the first batch will say why
        return
    images = torch.zeros(1, 3, *size)
    start = 0.0
    with torch.random.fork_rng([]):  # a network may draw noise, and a resumed run continues with its own
        for _ in range(2):  # the first pass warms up
            start = time.perf_counter()
            trainer.network(images).mean().backward()
    seconds = (time.perf_counter() - start) * config.batch * left
    trainer.network.zero_grad()
    reporter.warn(f"on this CPU {left} steps take about {remaining(seconds)}, without validation")


def remaining(seconds: float) -> str:
    """Return a duration in its two largest units, such as `3 h 12 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((index for index, (amount, _) in enumerate(parts) if amount), 3)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first : first + 2])
