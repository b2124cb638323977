"""Starting or continuing a run."""

from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from facesr.config.train import TrainConfig
from facesr.errors import ConfigError
from facesr.events import Reporter
from facesr.processes import rank_from_environment
from facesr.results import TrainResult
from facesr.training.distributed import worker_count
from facesr.training.signals import StopSignals

if TYPE_CHECKING:
    import torch

    from facesr.data.folders import Folder
    from facesr.data.pairs import PairSet
    from facesr.models import Traits


def start(
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
    from facesr.data.dataset import PairDataset
    from facesr.data.folders import check_scale, fingerprint
    from facesr.device import pick_dtype
    from facesr.models import Window, resolve_args
    from facesr.training.loop import TrainingLoop, mean_psnr
    from facesr.training.run_folder import RunFolder
    from facesr.training.trainer import Trainer
    from facesr.training.validation import Validator

    ranks = rank_from_environment()
    # Recorded in full, since another version may have other defaults.
    config = replace(config, args=resolve_args(config.arch, config.args))
    # A checkpoint holds all weights, so those that the run began with need not be there any more.
    network = initial_network(replace(config, init=None) if resumed else config)
    if config.dtype != "auto":
        pick_dtype(config.dtype, device, network.traits.dtypes)  # refuses what the network cannot do
    scale = network.traits.scale
    check_scale(config.data, folders, sets, scale=scale)
    size = lq_size(config, folders, network.traits)
    if isinstance(network.traits.view, Window):
        network.traits = replace(network.traits, view=Window(max(size)))
    trainer = Trainer(network, config, device)
    folder = RunFolder(config.out or Path())
    validator = Validator.prepare(sets) if sets and ranks.rank == 0 else None
    loop = TrainingLoop(
        config, folder, trainer, validator, reporter, ranks, data=fingerprint(folders), lq_size=size
    )
    draws = PairDataset(folders, config.data, seed=config.seed, scale=scale)
    part = Slice(config.batch, ranks.rank, ranks.world_size)
    with folder.lock() if ranks.rank == 0 else nullcontext():
        if resumed:
            loop.resume()
        elif ranks.rank == 0:
            folder.create(config, device=str(device))
        if not loop.finished:
            loop.announce()
            workers = worker_count(config)
            with closing(batches(draws, part=part, start=trainer.step, workers=workers)) as stream:
                loop.go(stream, stop)
    return TrainResult(
        folder.path,
        trainer.step,
        config.iterations,
        best_psnr=loop.best.get("psnr"),
        bicubic_psnr=mean_psnr(validator.bicubic) if validator else None,
        stopped_by="" if loop.finished else stop.name,
    )


def initial_network(config: TrainConfig):  # type: ignore[no-untyped-def]
    """Build the network, of which `args` are all arguments, from the weights in `init` where they are given.

    Raises:
        ConfigError: The weights are of another network than the configuration's, or of one with more blocks.
    """
    import torch

    from facesr.models import build_network, resolve_args
    from facesr.models.base import load_shallower
    from facesr.weights.find import find_weights
    from facesr.weights.load import read_network

    torch.manual_seed(config.seed % 2**63)
    args = config.args
    if config.init is None:
        return build_network(config.arch, args)
    network, found, _ = read_network(find_weights(config.init))
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


def lq_size(config: TrainConfig, folders: "list[Folder]", traits: "Traits") -> tuple[int, int]:
    """Return (height, width) of what the network sees in training, in LQ pixels.

    Raises:
        ConfigError: The network cannot take it.
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
