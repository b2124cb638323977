"""`facesr train`."""

from dataclasses import asdict

import typer

from facesr.cli.console import Console
from facesr.cli.options import config_options
from facesr.config.train import TrainConfig
from facesr.processes import rank_from_environment
from facesr.results import TrainResult
from facesr.workflows import train as workflow

EXAMPLES = (
    "facesr train --arch msrresnet --blocks 20",
    "facesr train --recipe smoke --train-hq faces/ --val-hq val/hq --val-lq val/lq --out runs/smoke",
    "facesr train --resume runs/smoke",
    "torchrun --nproc-per-node 4 -m facesr train --recipe original --arch edsr --blocks 16",
)

# 75 asks SLURM to put the job into the queue again.
_EXIT_CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 75}


@config_options(TrainConfig)
def train(config: TrainConfig, console: Console) -> None:
    """Train a network. Stop it at any time and continue with --resume."""
    with console.progress() as reporter:
        result = workflow.train(config, reporter)
    if rank_from_environment().rank == 0:  # which speaks for all
        console.data(asdict(result), [result.run if result.best_psnr is None else result.run / "best"])
        console.end(_summary(result))
    if result.stopped_by:
        raise typer.Exit(_EXIT_CODES[result.stopped_by])


def _summary(result: TrainResult) -> str:
    best = ""
    if result.best_psnr is not None and result.bicubic_psnr is not None:
        gain = result.best_psnr - result.bicubic_psnr
        best = f", best {result.best_psnr:.2f} dB ({gain:+.2f} over bicubic) in {result.run / 'best'}"
    if result.stopped_by:
        how = f"stopped by {result.stopped_by} at step {result.step} of {result.iterations}"
        return f"{how}{best}. Continue with `facesr train --resume {result.run}`"
    return f"{result.step} steps done{best}"
