"""Which pictures are this process's own."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from facesr.errors import ConfigError
from facesr.processes import (
    Rank,
    is_switched_on,
    local_rank,
    own_cores,
    pick_shard,
    rank_from_environment,
    refuse_lone_tasks,
    warn_of_repetition,
)
from tests.conftest import Listener

NAMES = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_ARRAY_TASK_ID",
    "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT",
    "SLURM_LOCALID",
)  # fmt: skip
TORCHRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}
STEP = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"}
ARRAY = {
    "SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "11",
    "SLURM_ARRAY_TASK_STEP": "2", "SLURM_ARRAY_TASK_COUNT": "5",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "text", "shard"),
    [
        ({}, "", (0, 1)),
        ({}, "2/5", (2, 5)),
        (TORCHRUN, "", (5, 8)),
        (TORCHRUN, "auto", (5, 8)),
        (TORCHRUN, "0/3", (0, 3)),
        (STEP, "", (2, 4)),
        (STEP, "0/1", (0, 1)),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, "", (0, 1)),  # an interactive shell
        ({"SLURM_STEP_NUM_TASKS": "4"}, "", (0, 1)),
        (ARRAY, "", (0, 1)),
        ({**ARRAY, **STEP}, "", (2, 4)),
        (STEP, "auto", (2, 4)),
        (ARRAY, "auto", (2, 5)),
        ({**ARRAY, **STEP}, "auto", (10, 20)),
        ({**TORCHRUN, **STEP}, "auto", (5, 8)),
        ({**TORCHRUN, **STEP}, "", (5, 8)),
    ],
)
def test_shards(environment: dict, text: str, shard: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert pick_shard(text) == shard


@pytest.mark.parametrize("text", ["1", "3/3", "-1/2", "a/b", "1/2/3", "²/3", "auto"])
def test_other_texts_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="shard"):
        pick_shard(text)


def test_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rank_from_environment() == Rank(0, 0, 1)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert rank_from_environment() == Rank(5, 1, 8)
    monkeypatch.setenv("RANK", "five")
    with pytest.raises(ConfigError, match="RANK is not a number"):
        rank_from_environment()


@pytest.mark.parametrize("tasks", [(1, 3, 7), (0, 1, 2, 5), (3, 5, 8), (0, 2, 3)])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_uneven_array_leaves_no_picture_out(
    tasks: tuple[int, ...], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = []
    for task in tasks:
        for name, value in {"ID": task, "MIN": min(tasks), "MAX": max(tasks), "STEP": step}.items():
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
        monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", str(len(tasks)))
        try:
            shards.append(pick_shard("auto"))
        except ConfigError as error:
            assert "--shard I/N" in error.hint  # noqa: PT017
            return
    assert set(shards) == {(index, len(tasks)) for index in range(len(tasks))}


@pytest.mark.parametrize(
    ("environment", "number"),
    [({}, 0), (TORCHRUN, 1), (STEP, 1), ({**STEP, **TORCHRUN, "LOCAL_RANK": "3"}, 3)],
)
def test_the_number_on_a_node(environment: dict, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert local_rank() == number


@pytest.mark.parametrize(("processes", "share"), [(None, 12), ("1", 12), ("5", 2), ("40", 1)])
def test_the_processes_of_a_node_share_its_cores(
    processes: str | None, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesr.processes.cores", lambda: 12)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert own_cores() == share


def test_tasks_that_know_nothing_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_lone_tasks()
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="4 tasks, and each of them would train separately") as caught:
        refuse_lone_tasks()
    assert "torchrun" in caught.value.hint
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    refuse_lone_tasks()


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, False),
        (STEP, False),  # the first task tells
        ({**STEP, "SLURM_PROCID": "0"}, True),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, False),
        (TORCHRUN, False),
        ({**TORCHRUN, "RANK": "0"}, True),
        ({**STEP, **TORCHRUN, "RANK": "0"}, True),
    ],
)
def test_work_that_every_process_does_is_told_of_once(
    environment: dict, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    listener = Listener()
    warn_of_repetition(listener, "scores all images")
    assert ["each of them scores all images" in message for message in listener.warnings] == [True] * told


@pytest.mark.parametrize("value", ["1", "true", "yes", "on", "2"])
def test_a_switch_is_on(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESR_DEBUG", value)
    assert is_switched_on("FACESR_DEBUG")


@pytest.mark.parametrize("value", [None, "", "0", "false", "False", "no", "OFF", " 0 "])
def test_a_switch_is_off(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACESR_DEBUG", raising=False)
    if value is not None:
        monkeypatch.setenv("FACESR_DEBUG", value)
    assert not is_switched_on("FACESR_DEBUG")


@pytest.mark.parametrize("method", sorted({*multiprocessing.get_all_start_methods()} - {"fork"}))
@pytest.mark.parametrize("guarded", [True, False])
def test_a_script_that_its_processes_would_run_again_is_refused(
    method: str, guarded: bool, tmp_path: Path
) -> None:
    guard = '__name__ == "__main__"' if guarded else "True"
    script = f"""
import multiprocessing
from facesr.processes import leave_if_unguarded, refuse_unguarded
if {guard}:
    multiprocessing.set_start_method("{method}", force=True)
    leave_if_unguarded()
    refuse_unguarded()
    print("works")
"""
    (tmp_path / "mine.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    if guarded:
        assert (done.stdout, done.stderr) == ("works\n", "")
    else:
        assert done.stdout == ""
        assert done.stderr.splitlines()[-1].endswith('has no `if __name__ == "__main__":`')
        assert done.stderr.count("Traceback") == 1
