"""This process among others: what torchrun and SLURM say in the environment."""

import os
from dataclasses import dataclass

from facesr.errors import ConfigError

# By which a person, torchrun and SLURM ask a run to end; Windows lacks the last.
STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")


@dataclass(frozen=True)
class Rank:
    """This process among those that torchrun started.

    Attributes:
        rank: From 0 over all nodes; 0 writes.
        local_rank: From 0 on this node.
        world_size: All of them.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1


def rank_from_environment() -> Rank:
    """Read what torchrun says, or return the only process."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    return Rank(*map(_number, names)) if all(name in os.environ for name in names) else Rank()


def pick_shard(text: str) -> tuple[int, int]:
    """Resolve `I/N`, `auto`, or nothing to (index, count): this process takes every count-th picture.

    `auto` reads torchrun, then a SLURM array, then the tasks of a step, or both of these. Nothing means
    everything, except under torchrun.

    Raises:
        ConfigError: Another text, or no such environment.
    """
    ranks = rank_from_environment()
    if ranks.world_size > 1 and text in {"", "auto"}:
        return ranks.rank, ranks.world_size
    if not text:
        return 0, 1
    if text == "auto":
        return _from_slurm()
    index, slash, count = text.partition("/")
    if not slash or not index.isdigit() or not count.isdigit() or int(index) >= int(count):
        raise ConfigError(f"cannot read --shard {text}", hint="write `I/N` with I from 0 to N - 1, or `auto`")
    return int(index), int(count)


def _from_slurm() -> tuple[int, int]:
    index, count = 0, 1
    if "SLURM_ARRAY_TASK_ID" in os.environ:
        first, step = _number("SLURM_ARRAY_TASK_MIN"), _number("SLURM_ARRAY_TASK_STEP")
        index = (_number("SLURM_ARRAY_TASK_ID") - first) // step
        count = (_number("SLURM_ARRAY_TASK_MAX") - first) // step + 1
    elif "SLURM_STEP_NUM_TASKS" not in os.environ:
        raise ConfigError(
            "`--shard auto` finds neither torchrun nor SLURM", hint="write `--shard I/N`, or leave it out"
        )
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        tasks = _number("SLURM_STEP_NUM_TASKS")
        index, count = index * tasks + _number("SLURM_PROCID"), count * tasks
    return index, count


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except (KeyError, ValueError):
        raise ConfigError(f"the environment variable {name} is not a number") from None
