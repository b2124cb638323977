"""Which device a process trains on."""

import pytest
import torch

from facesr.config.train import TrainConfig
from facesr.training.distributed import join_processes


def test_a_device_with_a_number_becomes_that_of_streams_graphs_and_random_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    current: list[torch.device] = []
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    with join_processes(TrainConfig(device="cuda:2")) as device:
        assert device == torch.device("cuda", 2)
        assert current == [device]
    current.clear()
    with join_processes(TrainConfig(device="cpu")) as device:
        assert (device.type, current) == ("cpu", [])
