"""A step is the same on every device and in every form that a device allows."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from facesr.config.data import DataConfig
from facesr.config.loss import LossConfig, LossName
from facesr.config.optim import OptimConfig
from facesr.config.train import TrainConfig, resumed_config
from facesr.data.batches import Batch
from facesr.models import build_network
from facesr.training.losses import LOSSES
from facesr.training.run_folder import RunFolder
from facesr.training.trainer import Trainer, can_be_graphed
from facesr.workflows.train import train
from tests.conftest import TINY, noise

CPU = torch.device("cpu")
CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)
# A graph may hold each of these.
TABLES: dict[str, dict[LossName, LossConfig]] = {
    **{name: {name: LossConfig()} for name in LOSSES},  # type: ignore[misc]
    "sharpened": {"l1": LossConfig(target="sharpened")},
    "stlpips_alex": {"l1": LossConfig(), "stlpips_alex": LossConfig()},
}
# As in the recipe `sharp`.
SHARP: dict[LossName, LossConfig] = {
    "l1": LossConfig(weight=0.5),
    "texture": LossConfig(share=0.5, part_px=48),
    "stlpips_alex": LossConfig(share=0.7),
    "gan": LossConfig(share=0.7, cap=0.01, part_px=48, start=1),
    "phase": LossConfig(share=0.7),
    "ldl": LossConfig(share=0.2, start=2),
}
OPTIM = OptimConfig(method="muon", learning_rate=2e-3, warmup=3, clip_norm=1.0, ema_warmup=True)


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def trainer(device: str = "cpu", *, noisy: bool = False, **changes: Any) -> Trainer:
    torch.manual_seed(0)
    config = TrainConfig(optim=OPTIM, iterations=40, **changes)
    network = build_network("faceunet", {"blocks": 1, "features": 8, "noise": noisy})
    return Trainer(network, config, torch.device(device))


def batch(seed: int) -> Batch:
    hq = torch.stack([torch.tensor(noise(64, 64, seed=2 * seed + one)) for one in range(2)])
    return Batch(hq[:, 2::4, 2::4].contiguous(), hq, ("a", "b"), ())


def weights(one: Trainer) -> list[torch.Tensor]:
    return [tensor.detach().cpu() for net in (one.network, one.ema_network) for tensor in net.parameters()]


def test_rates_as_tensors_on_the_device_move_the_weights_as_numbers_do() -> None:
    numbers, tensors = trainer(), trainer()
    tensors._rate, tensors._ema_weight = torch.zeros(()), torch.zeros(())
    for step in range(6):
        numbers.train_step(batch(step))
        tensors.train_step(batch(step))
    for one, other in zip(weights(numbers), weights(tensors), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


class NothingFromTheHost(TorchDispatchMode):
    """Refuses tensors made of Python's numbers: a device waits for their copy, and no graph can hold it."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert function is not torch.ops.aten.lift_fresh.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("place", ["meta", "cpu"])  # `meta` has no data to wait for
@pytest.mark.parametrize("losses", [*TABLES.values(), SHARP], ids=[*TABLES, "sharp"])
def test_after_its_first_step_a_device_needs_nothing_from_the_host(
    losses: dict[LossName, LossConfig], place: str, stlpips_weights: Path
) -> None:
    one = trainer(place, noisy=True, loss=losses, metric_weights=stlpips_weights)
    one.step = 3  # every loss has begun
    pixels = [pixels.to(place) for pixels in (batch(0).lq, batch(0).hq)]
    one._move(*pixels)
    with NothingFromTheHost():
        one._move(*pixels)


def test_a_graph_is_used_on_cuda_where_a_step_waits_for_nothing() -> None:
    config, cuda = TrainConfig(), torch.device("cuda")
    assert can_be_graphed(config, cuda, several=False)
    assert can_be_graphed(replace(config, dtype="bf16"), cuda, several=False)
    assert not can_be_graphed(config, CPU, several=False)
    assert not can_be_graphed(config, cuda, several=True)
    accumulated = replace(config, optim=OptimConfig(accumulate=2))
    for other in (replace(config, dtype="fp16"), replace(config, graph=False), accumulated):
        assert not can_be_graphed(other, cuda, several=False)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("gan", LossConfig()),
        ("mse", LossConfig(share=0.5)),
        ("mse", LossConfig(start=3)),
        ("mse", LossConfig(part_px=32)),
    ],
)
def test_no_graph_is_made_of_a_step_that_the_host_decides_in(name: LossName, loss: LossConfig) -> None:
    for one, graphed in ((loss, False), (replace(loss, weight=0), True)):
        config = TrainConfig(loss={"l1": LossConfig(), name: one})
        assert can_be_graphed(config, torch.device("cuda"), several=False) == graphed


def test_a_state_of_another_device_is_taken_with_the_options_of_this_one() -> None:
    old, new = trainer(), trainer()
    for step in range(3):
        old.train_step(batch(step))
    state = copy.deepcopy(old.state())
    for group in state["optimizers"][0]["param_groups"]:
        group |= {"fused": True, "capturable": True, "lr": torch.tensor(1.0)}
    new.load_state(state)
    assert not any(new._optimizers[0].param_groups[0][name] for name in ("fused", "capturable"))
    old.train_step(batch(3))
    new.train_step(batch(3))
    for one, other in zip(weights(old), weights(new), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("graph", [True, False])
def test_it_trains_in_each_precision(device: str, dtype: str, graph: bool) -> None:
    one = trainer(device, dtype=dtype, graph=graph)
    losses = [float(one.train_step(batch(0))) for _ in range(40)]
    assert losses[-1] < losses[0]
    assert one.is_finite()
    assert one.take_mean_losses()["l1"] == pytest.approx(sum(losses) / 40, rel=1e-4)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("losses", TABLES.values(), ids=TABLES)
def test_a_graph_moves_the_weights_as_separate_steps_do(
    losses: dict[LossName, LossConfig], noisy: bool, stlpips_weights: Path
) -> None:
    found = []
    for graph in (True, False):  # one after the other, since both draw noise from one generator
        one = trainer("cuda", noisy=noisy, graph=graph, loss=losses, metric_weights=stlpips_weights)
        for step in range(10):
            one.train_step(batch(step))
        found.append(weights(one))
    for graphed, plain in zip(*found, strict=True):
        torch.testing.assert_close(graphed, plain, atol=1e-4, rtol=0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_step_with_an_adversary_waits_for_nothing(dtype: str, stlpips_weights: Path) -> None:
    one = trainer("cuda", noisy=True, dtype=dtype, loss=SHARP, metric_weights=stlpips_weights)
    for step in range(5):
        torch.cuda.set_sync_debug_mode("error" if step == 4 else "default")
        try:
            losses = one.train_step(batch(step))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(losses).all()
    assert one.is_finite()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_trains_as_the_cpu_does() -> None:
    there, here = trainer("cuda"), trainer()
    for step in range(5):
        assert float(there.train_step(batch(step))) == pytest.approx(
            float(here.train_step(batch(step))), rel=0.02
        )


@pytest.mark.parametrize("resident", ["no", "yes"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_deterministic_run_resumes_to_the_last_bit(
    device: str, dtype: str, resident: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    (tmp_path / "hq").mkdir()
    for index in range(6):
        Image.fromarray(noise(48, 48, seed=index)).save(tmp_path / "hq" / f"{index}.png")
    data = DataConfig(
        train_hq=(tmp_path / "hq",),
        crop_px=32,
        workers=0,
        resident=resident,
        reuse=2,
        ring=8,  # type: ignore[arg-type]
    )
    config = TrainConfig(
        args=TINY, batch=4, iterations=9, validate_every=0, device=device, dtype=dtype, data=data,  # type: ignore[arg-type]
        optim=OPTIM, deterministic=True,
    )  # fmt: skip
    try:
        train(replace(config, out=tmp_path / "whole"))
        train(replace(config, out=tmp_path / "cut", iterations=5, optim=replace(OPTIM, periods=(9,))))
        again = resumed_config(tmp_path / "cut")
        train(replace(again, iterations=9))
    finally:
        torch.use_deterministic_algorithms(False)
    left, right = (RunFolder(tmp_path / name).load() for name in ("whole", "cut"))
    assert left["step"] == right["step"] == 9
    for one, other in zip(left["ema"].values(), right["ema"].values(), strict=True):
        assert torch.equal(one, other)
