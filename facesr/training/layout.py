"""File names in a run folder. Free of torch."""

from pathlib import Path

from facesr.errors import ConfigError

CHECKPOINT = Path("last") / "checkpoint.pt"

BEST = "best"


def refuse_used(run: Path) -> None:
    """Reject a file, and a folder with a checkpoint or best weights. A run without both may start again."""
    if run.is_file():
        raise ConfigError(f"{run} is a file, not a folder for the run", hint="name another `--out`")
    if (run / CHECKPOINT).exists():
        raise ConfigError(f"{run} already contains a run", hint=f"continue with `--resume {run}`")
    if (run / BEST).exists():
        raise ConfigError(
            f"{run} contains `{BEST}`, but no checkpoint to resume from",
            hint=f"start a new run with `--init {run / BEST}`, or remove the folder",
        )
