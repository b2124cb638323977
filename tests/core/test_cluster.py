"""Which pictures are this process's own."""

import pytest

from facesr.cluster import Rank, pick_shard, rank_from_environment
from facesr.errors import ConfigError

NAMES = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_ARRAY_TASK_ID",
    "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP",
)  # fmt: skip
TORCHRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}
STEP = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"}
ARRAY = {
    "SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "11",
    "SLURM_ARRAY_TASK_STEP": "2",
}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "text", "shard"),
    [
        ({}, "", (0, 1)),
        ({}, "2/5", (2, 5)),
        (TORCHRUN, "", (5, 8)),
        (TORCHRUN, "auto", (5, 8)),
        (TORCHRUN, "0/3", (0, 3)),
        (STEP, "", (0, 1)),
        (STEP, "auto", (2, 4)),
        (ARRAY, "auto", (2, 5)),
        ({**ARRAY, **STEP}, "auto", (10, 20)),
        ({**TORCHRUN, **STEP}, "auto", (5, 8)),
    ],
)
def test_shards(environment: dict, text: str, shard: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert pick_shard(text) == shard


@pytest.mark.parametrize("text", ["1", "3/3", "-1/2", "a/b", "1/2/3", "auto"])
def test_other_texts_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="shard"):
        pick_shard(text)


def test_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    assert rank_from_environment() == Rank(0, 0, 1)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert rank_from_environment() == Rank(5, 1, 8)
    monkeypatch.setenv("RANK", "five")
    with pytest.raises(ConfigError, match="RANK is not a number"):
        rank_from_environment()
