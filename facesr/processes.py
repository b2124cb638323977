"""Reads the environment: switches, and the processes that torchrun or SLURM started."""

import multiprocessing
import os
import signal
from dataclasses import dataclass

from facesr.errors import ConfigError, RunError
from facesr.events import Reporter

# By which a person, torchrun and SLURM ask a run to end; Windows lacks the last.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]

# Exit code of a process that has run the script of its parent again.
_UNGUARDED = 75


def is_switched_on(name: str) -> bool:
    """Return whether an environment variable such as FACESR_DEBUG is set, and not to 0, false, no or off."""
    return os.environ.get(name, "").strip().lower() not in {"", "0", "false", "no", "off"}


@dataclass(frozen=True)
class Rank:
    """The rank of this process among those that torchrun started."""

    rank: int = 0  # from 0 over all nodes; 0 writes
    local_rank: int = 0  # from 0 on this node
    world_size: int = 1


def rank_from_environment() -> Rank:
    """Return this process's rank from torchrun's variables. Without them it is the only process."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    return Rank(*map(_number, names)) if all(name in os.environ for name in names) else Rank()


def local_rank() -> int:
    """Return the number of this process on its node, from torchrun or SLURM. 0 if it is the only one."""
    if "SLURM_LOCALID" in os.environ and "LOCAL_RANK" not in os.environ:
        return _number("SLURM_LOCALID")
    return rank_from_environment().local_rank


def local_world_size() -> int:
    """Return how many processes torchrun started on this node."""
    return _number("LOCAL_WORLD_SIZE", 1)


def step_tasks() -> int:
    """Return how many tasks the SLURM step of this process has. 1 under torchrun and elsewhere."""
    alone = "SLURM_PROCID" not in os.environ or "RANK" in os.environ
    return 1 if alone else _number("SLURM_STEP_NUM_TASKS", 1)


def warn_of_repetition(reporter: Reporter, work: str) -> None:
    """Warn once if several processes were started and each of them does all the work."""
    ranks = rank_from_environment()
    count = max(ranks.world_size, step_tasks())
    is_first = ranks.rank == 0 and (step_tasks() == 1 or _number("SLURM_PROCID") == 0)
    if count > 1 and is_first:
        reporter.warn(f"{count} processes were started, and each of them {work}. Start one instead")


def leave_if_unguarded() -> None:
    """Exit if this process runs its parent's script again and reaches the call that starts processes."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself asks
        os._exit(_UNGUARDED)  # sys.exit would end as 1 in a child of a fork server


def refuse_unguarded() -> None:
    """Reject a script without `if __name__ == "__main__":` on systems where new processes read it again.

    It first starts a process that has nothing to do. If a process with work exited before reading it, its
    parent would wait forever.
    """
    if multiprocessing.get_start_method() == "fork":
        return
    probe = multiprocessing.Process(target=os.getpid)
    try:
        probe.start()
        probe.join()
        is_unguarded = probe.exitcode == _UNGUARDED
    except (ConnectionError, EOFError):  # the fork server itself has read the script, and ended
        is_unguarded = True
    if is_unguarded:
        raise RunError(
            'processes that prepare images run your script again: it has no `if __name__ == "__main__":`',
            hint='put the calls in your script below `if __name__ == "__main__":`',
        )


def refuse_lone_tasks() -> None:
    """Reject several tasks of a SLURM step without torchrun, since each would train separately."""
    tasks = step_tasks()
    if tasks > 1:
        raise ConfigError(
            f"SLURM started {tasks} tasks, and each of them would train separately",
            hint="start one task per node, and processes by torchrun: `srun --ntasks-per-node=1 torchrun …`",
        )


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def own_cores() -> int:
    """Return this process's share of the cores, if torchrun started several processes on its node."""
    return max(1, cores() // local_world_size())


def pick_shard(text: str) -> tuple[int, int]:
    """Resolve `I/N`, `auto` or an empty text to (index, count). This process takes every count-th image.

    `auto` uses torchrun, else a SLURM array, the tasks of a SLURM step, or both of these. An empty text means
    all images, except under torchrun and in a step of several tasks. An array is only split on request, since
    its tasks may have different folders.

    Raises:
        ConfigError: Another text, or `auto` without torchrun or SLURM.
    """
    ranks = rank_from_environment()
    if ranks.world_size > 1 and text in {"", "auto"}:
        return ranks.rank, ranks.world_size
    if not text:
        return (_number("SLURM_PROCID"), step_tasks()) if step_tasks() > 1 else (0, 1)
    if text == "auto":
        return _from_slurm()
    index, slash, count = text.partition("/")
    if not slash or not index.isdecimal() or not count.isdecimal() or int(index) >= int(count):
        raise ConfigError(
            f"cannot read `--shard {text}`", hint="write `I/N` with I from 0 to N - 1, or `auto`"
        )
    return int(index), int(count)


def _from_slurm() -> tuple[int, int]:
    index, count = 0, 1
    if "SLURM_ARRAY_TASK_ID" in os.environ:
        first, step = _number("SLURM_ARRAY_TASK_MIN"), _number("SLURM_ARRAY_TASK_STEP")
        index = (_number("SLURM_ARRAY_TASK_ID") - first) // step
        count = (_number("SLURM_ARRAY_TASK_MAX") - first) // step + 1
        if count != _number("SLURM_ARRAY_TASK_COUNT") or (_number("SLURM_ARRAY_TASK_ID") - first) % step:
            raise ConfigError(
                "`--shard auto` needs a SLURM array of evenly spaced tasks",
                hint="use `--array=0-N`, or write `--shard I/N`",
            )
    elif "SLURM_STEP_NUM_TASKS" not in os.environ:
        raise ConfigError(
            "`--shard auto` finds neither torchrun nor SLURM", hint="write `--shard I/N`, or leave it out"
        )
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        tasks = _number("SLURM_STEP_NUM_TASKS")
        index, count = index * tasks + _number("SLURM_PROCID"), count * tasks
    return index, count


def _number(name: str, default: int | None = None) -> int:
    try:
        return int(os.environ.get(name, "" if default is None else default))
    except ValueError:
        raise ConfigError(f"the environment variable {name} is not a number") from None
