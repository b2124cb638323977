"""`facesr train`: a run that can be stopped anywhere and resumed as if it had never stopped."""

from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path

from facesr.config.train import TrainConfig
from facesr.events import Reporter
from facesr.processes import leave_if_unguarded, refuse_lone_tasks
from facesr.results import TrainResult
from facesr.training.layout import CHECKPOINT, refuse_used
from facesr.training.signals import stop_signals


def train(config: TrainConfig, reporter: Reporter | None = None) -> TrainResult:
    """Train a network into a run folder, or resume a run.

    On SIGTERM, SIGINT or SIGUSR1, it finishes the step, writes a checkpoint and returns. A validation is
    broken off, and the resumed run repeats it. Under torchrun, the batch is split among the processes, and
    the first one writes.

    Raises:
        ConfigError: Missing or unsuitable data, unknown names, a run folder in use, or nothing to resume.
        WeightsError: Unusable weights to start from.
        DeviceError: The device is not available.
        RunError: A loss that is not finite, or a folder that cannot be written.
    """
    from facesr.data.folders import list_training, list_validation  # imports Pillow

    leave_if_unguarded()
    refuse_lone_tasks()
    config, reporter = config.resolved(), reporter or Reporter()
    if config.resume is None and config.out is not None:
        refuse_used(config.out)
    warn = cache(reporter.warn)  # a folder that is named twice is told of once
    folders = list_training(config.data, warn=warn)
    sets = list_validation(config.data, warn=warn) if config.validate_every else []
    run = config.resume or config.out or Path("runs") / f"{config.arch}-{datetime.now():%Y%m%d-%H%M%S}"
    # A run that was stopped before its first checkpoint starts again.
    resumed = config.resume is not None and (run / CHECKPOINT).exists()
    if config.resume is not None and not resumed:
        refuse_used(run)
        reporter.warn(f"{run} has no checkpoint yet, so it starts from the beginning")
    config = replace(config, out=run, resume=None)
    with stop_signals() as stop:
        # Here, so that errors in the configuration answer without the seconds that torch takes to load.
        from facesr.training.start import start

        return start(config, reporter, folders, sets, stop, resumed=resumed)
