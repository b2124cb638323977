"""Muon steps along orthogonal matrices, at Adam's scale."""

import json
import typing
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facesr.config.build import build, merge
from facesr.config.optim import Method
from facesr.config.train import TrainConfig, recipe_tree
from facesr.models import build_network
from facesr.training.optimisers import OPTIMISERS, Muon, cosine_with_restarts, orthogonalise
from facesr.training.trainer import Trainer

TABLE = json.loads((Path(__file__).parents[1] / "vectors" / "index.json").read_text())


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_singular_values_come_near_one_and_vectors_stay(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    u, _ = torch.linalg.qr(torch.randn(rows, min(rows, columns), generator=generator))
    v, _ = torch.linalg.qr(torch.randn(columns, min(rows, columns), generator=generator))
    values = torch.rand(min(rows, columns), generator=generator) + 0.2
    result = orthogonalise(((u * values) @ v.T)[None])[0]
    inner = u.T @ result @ v
    diagonal = inner.diagonal()
    assert 0.6 < float(diagonal.min()) <= float(diagonal.max()) < 1.3
    assert float((inner - torch.diag(diagonal)).abs().max()) < 1e-3


@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (64, 8, 1, 1), (12, 30)])
def test_a_step_is_as_large_as_one_of_adam(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    kernel = torch.nn.Parameter(torch.zeros(shape))
    optimizer = Muon([kernel], lr=0.5)
    kernel.grad = 1e-4 * torch.randn(shape)
    optimizer.step()
    assert float(kernel.detach().square().mean().sqrt()) == pytest.approx(0.5 * 0.2, rel=0.25)


def one_by_one(kernels: list[torch.Tensor], averages: list[torch.Tensor], *, lr: float) -> None:
    """Move each kernel by itself, as the definition says it."""
    for kernel, average in zip(kernels, averages, strict=True):
        average.lerp_(kernel.grad, 0.05)
        x = kernel.grad.lerp(average, 0.95).flatten(1)
        scale = 0.2 * max(x.shape) ** 0.5
        x = x / (x.norm() + 1e-7)
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        kernel.data -= lr * scale * x.view(kernel.shape)


def test_kernels_of_one_shape_move_together_as_each_would_alone() -> None:
    torch.manual_seed(0)
    shapes = [(8, 4, 3, 3), (16, 4, 1, 1), (8, 4, 3, 3), (4, 8, 2, 2), (8, 4, 3, 3)]
    kernels = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    expected = [torch.nn.Parameter(kernel.detach().clone()) for kernel in kernels]
    kernels[2].data = kernels[2].data.contiguous(memory_format=torch.channels_last)
    averages = [torch.zeros(shape) for shape in shapes]
    optimizer = Muon(kernels, lr=1e-2)
    for _ in range(4):
        for kernel, other in zip(kernels, expected, strict=True):
            kernel.grad = torch.randn(kernel.shape)
            other.grad = kernel.grad.clone()
        optimizer.step()
        one_by_one(expected, averages, lr=1e-2)
    for kernel, other in zip(kernels, expected, strict=True):
        torch.testing.assert_close(kernel, other, atol=1e-6, rtol=0)


def test_a_kernel_without_a_gradient_stays_where_it_is() -> None:
    still, moved = (torch.nn.Parameter(torch.ones(4, 2, 3, 3)) for _ in range(2))
    moved.grad = torch.ones_like(moved)
    Muon([still, moved], lr=0.1).step()
    assert torch.equal(still, torch.ones_like(still))
    assert not torch.equal(moved, still)


def test_the_kernels_inside_are_muons_and_the_rest_adams() -> None:
    config = build(TrainConfig, merge([recipe_tree("psnr"), {"optim": {"method": "muon"}}]))
    network = build_network("faceunet", {"blocks": 1, "features": 8})
    trainer = Trainer(network, config, torch.device("cpu"))
    adam, muon = trainer._optimizers
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    inside = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    rest = {names[id(p)] for group in adam.param_groups for p in group["params"]}
    assert inside | rest == set(names.values())
    assert not inside & rest
    assert {"stem.weight", "out.weight", "stem.bias", "enc.1.0.a.bias"} <= rest
    assert all(name.endswith(".weight") for name in inside)
    assert "enc.1.0.a.weight" in inside


def test_every_optimiser_has_its_name_in_the_configuration() -> None:
    assert set(OPTIMISERS) == set(typing.get_args(Method))


@pytest.mark.parametrize(("iteration", "rate"), TABLE["learning_rate_used_at_iteration"].items())
def test_the_learning_rate_table_is_matched(iteration: str, rate: float) -> None:
    found = cosine_with_restarts(int(iteration), base=2e-4, floor=1e-7, periods=[150_000, 150_000])
    assert found == pytest.approx(rate, rel=1e-12)


def test_warm_up_rises_linearly_to_the_full_rate() -> None:
    rates = [cosine_with_restarts(n, base=1.0, floor=1.0, periods=[100], warmup=4) for n in range(1, 7)]
    assert rates == [0.25, 0.5, 0.75, 1, 1, 1]


def test_after_the_last_period_the_rate_stays_at_the_floor() -> None:
    assert cosine_with_restarts(500, base=1.0, floor=0.1, periods=[10, 20]) == 0.1
