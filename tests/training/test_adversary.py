"""Losses by a share of the gradient, the adversary, and what survives between two steps."""

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from facesr.config.data import DataConfig
from facesr.config.loss import DiscriminatorConfig, LossConfig
from facesr.config.optim import OptimConfig
from facesr.config.train import TrainConfig, resumed_config, train_recipe
from facesr.errors import ConfigError
from facesr.training.adversary import Adversary
from facesr.training.discriminators import DISCRIMINATORS, haar
from facesr.training.losses import LOSSES, texture
from facesr.training.objective import Objective
from facesr.training.run_folder import RunFolder
from facesr.workflows.train import train
from tests.conftest import noise

CPU = torch.device("cpu")
CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)
PREDICTION, HQ = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SMALL = DiscriminatorConfig(features=4, learning_rate=1e-2)


def gradient_of(total: Tensor, prediction: Tensor) -> Tensor:
    return torch.autograd.grad(total, prediction)[0]


def alone(name: str) -> Tensor:
    prediction = PREDICTION.clone().requires_grad_()
    return gradient_of(LOSSES[name](prediction, HQ), prediction)


def test_a_share_is_of_the_norm_of_the_weighted_losses_gradient() -> None:
    prediction = PREDICTION.clone().requires_grad_()
    losses = {"l1": LossConfig(weight=0.5), "pooled": LossConfig(), "texture": LossConfig(share=0.7)}
    values, total = Objective(losses)(prediction, HQ)  # type: ignore[arg-type]
    base, part = 0.5 * alone("l1") + alone("pooled"), alone("texture")
    expected = base + 0.7 * part * base.norm() / part.norm()
    torch.testing.assert_close(gradient_of(total, prediction), expected)
    for name, value in values.items():
        assert torch.equal(value.detach(), LOSSES[name](PREDICTION, HQ))


def test_a_share_follows_slowly_and_stays_below_its_cap() -> None:
    objective = Objective({"l1": LossConfig(), "mse": LossConfig(share=1)})
    capped = Objective({"l1": LossConfig(), "mse": LossConfig(share=1, cap=1e-3)})
    for one in (objective, capped):
        one(PREDICTION.clone().requires_grad_(), HQ)
    first = objective.state()["weights"]["mse"]
    assert capped.state()["weights"]["mse"] == pytest.approx(1e-3)
    near = (HQ + 0.01 * (PREDICTION - HQ)).requires_grad_()
    objective(near, HQ)
    # Nearer by 100, the gradient of the squared error is smaller by 100, and that of the absolute one is not.
    assert objective.state()["weights"]["mse"] == pytest.approx(first * (0.99 + 0.01 * 100), rel=1e-3)


def test_a_share_of_a_loss_that_is_0_stays_what_it_was() -> None:
    objective = Objective({"l1": LossConfig(), "phase": LossConfig(share=1)})
    objective(PREDICTION.clone().requires_grad_(), HQ)
    before = objective.state()["weights"]["phase"]
    flat = torch.full_like(HQ, 0.5)
    prediction = flat.clone().requires_grad_()
    total = objective(prediction, HQ)[1]  # no lattice in it
    assert torch.isfinite(gradient_of(total, prediction)).all()
    assert objective.state()["weights"]["phase"] == before


def test_a_loss_that_begins_later_counts_for_nothing_until_then() -> None:
    losses = {"l1": LossConfig(), "texture": LossConfig(share=1, start=3), "mse": LossConfig(start=3)}
    objective = Objective(losses)  # type: ignore[arg-type]
    for step in (2, 3):
        prediction = PREDICTION.clone().requires_grad_()
        values, total = objective(prediction, HQ, step=step)
        same = torch.equal(gradient_of(total, prediction), alone("l1"))
        assert same == (step == 2)
        assert bool(values["texture"]) == bool(values["mse"]) == (step == 3)


def test_a_part_is_the_same_place_of_result_and_hq() -> None:
    prediction = torch.rand(1, 3, 40, 70)
    objective = Objective({"mse": LossConfig(part_px=32)})
    wider = Objective({"mse": LossConfig(part_px=64)})  # than the image is high
    for seed in range(20):
        torch.manual_seed(seed)
        assert float(objective(prediction, prediction)[1]) == 0
        assert float(wider(prediction, prediction)[1]) == 0
    changed = prediction.clone()
    changed[..., :35] += 1
    found = {round(float(objective(changed, prediction)[1]), 4) for _ in range(40)}
    assert len(found) > 10
    assert max(found) == 1


@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_an_adversary_learns_to_tell_blurred_from_sharp_and_then_likes_what_is_nearer(kind: str) -> None:
    torch.manual_seed(0)
    adversary = Adversary(replace(SMALL, kind=kind), CPU)  # type: ignore[arg-type]
    blurred = torch.nn.functional.avg_pool2d(HQ, 5, 1, 2)
    assert float(adversary.loss(HQ, HQ)) == pytest.approx(math.log(2))
    before = float(adversary.loss(blurred, HQ))
    seen = [float(adversary.learn(blurred, HQ)) for _ in range(30)]
    assert seen[-1] < 0.2 < seen[0]
    assert float(adversary.loss(blurred, HQ)) > before + 1
    assert adversary.loss((blurred + HQ) / 2, HQ) < adversary.loss(blurred, HQ)
    assert not any(parameter.requires_grad for parameter in adversary.network.parameters())


@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_a_verdict_with_a_weight_is_a_loss_like_any_other(kind: str) -> None:
    torch.manual_seed(0)
    config = replace(SMALL, kind=kind)  # type: ignore[arg-type]
    objective = Objective({"l1": LossConfig(), "gan": LossConfig(weight=0.3)}, config)
    assert objective.adversary
    for _ in range(2):
        judge = copy.deepcopy(objective.adversary)  # as it is before it learns from this result
        image = PREDICTION.clone().requires_grad_()
        verdict = gradient_of(judge.loss(image, HQ), image)
        prediction = PREDICTION.clone().requires_grad_()
        _, total = objective(prediction, HQ)
        torch.testing.assert_close(gradient_of(total, prediction), alone("l1") + 0.3 * verdict)


@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_each_place_is_scored_by_what_is_near(kind: str) -> None:
    torch.manual_seed(0)
    network = DISCRIMINATORS[kind](features=4).eval()
    images = torch.rand(1, 3, 128, 128)
    changed = images.clone()
    changed[..., :8, :8] += 0.5
    for one, other in zip(network(images), network(changed), strict=True):
        apart = (one - other).abs()[0, 0]
        assert apart[0, 0] > 0
        assert apart[-1, -1] == 0


def test_haar_bands_hold_all_of_an_image() -> None:
    bands = haar(HQ)
    mean, detail = bands[:, :3], bands[:, 3:] / 8
    assert torch.allclose(mean, torch.nn.functional.avg_pool2d(HQ, 2))
    power = HQ.square().sum()
    assert float(4 * (mean.square().sum() + detail.square().sum())) == pytest.approx(float(power), rel=1e-5)
    assert float(haar(torch.full((1, 3, 4, 4), 0.3))[:, 3:].abs().max()) == pytest.approx(0, abs=1e-6)


def test_the_texture_loss_knows_what_is_there_and_not_where() -> None:
    generator = torch.Generator().manual_seed(0)
    grain = torch.randn(1, 3, 128, 128, generator=generator) / 10 + 0.5
    other = torch.randn(1, 3, 128, 128, generator=generator) / 10 + 0.5
    smooth = torch.nn.functional.avg_pool2d(grain, 3, 1, 1)
    assert float(texture(grain, grain)) == 0
    assert float(texture(other, grain)) < 0.2 * float(texture(smooth, grain))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": {"texture": LossConfig(share=1)}}, "no loss has a weight"),
        ({"loss": {"l1": LossConfig(), "gan": LossConfig(share=1)}, "dtype": "fp16"}, "not for fp16"),
        (
            {"loss": {"l1": LossConfig(), "gan": LossConfig(share=1)}, "optim": OptimConfig(accumulate=2)},
            "not for `optim.accumulate`",
        ),
    ],
)
def test_what_a_share_cannot_do_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**changes)
    with pytest.raises(ConfigError, match="`cap` limits"):
        LossConfig(cap=1)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_run_with_an_adversary_resumes_to_the_last_bit(
    device: str, tmp_path: Path, stlpips_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    (tmp_path / "hq").mkdir()
    for index in range(4):
        Image.fromarray(noise(64, 64, seed=index)).save(tmp_path / "hq" / f"{index}.png")
    losses = {
        "l1": LossConfig(),
        "texture": LossConfig(share=0.5, part_px=32),
        "stlpips_alex": LossConfig(share=0.7),
        "phase": LossConfig(share=0.7),
        "ldl": LossConfig(share=0.2, start=1),
        "gan": LossConfig(share=0.7, cap=0.01, part_px=32, start=2),
    }
    data = DataConfig(train_hq=(tmp_path / "hq",), crop_px=64, workers=0)
    args = {"blocks": 1, "features": 8, "detail_blocks": 1, "noise": True}
    changes = {"device": device, "deterministic": True, "metric_weights": str(stlpips_weights)}
    recipe = train_recipe("sharp-cpu", init=None, batch=2, iterations=8, validate_every=0, **changes)
    optim = replace(recipe.optim, warmup=0)
    config = replace(recipe, log_every=1, args=args, loss=losses, discriminator=SMALL, data=data, optim=optim)
    try:
        train(replace(config, out=tmp_path / "whole"))
        train(replace(config, out=tmp_path / "cut", iterations=4, optim=replace(optim, periods=(8,))))
        train(replace(resumed_config(tmp_path / "cut"), iterations=8))
    finally:
        torch.use_deterministic_algorithms(False)
    left, right = (RunFolder(tmp_path / name).load() for name in ("whole", "cut"))
    assert left["objective"]["weights"] == right["objective"]["weights"]
    assert left["objective"]["weights"]["gan"] > 0
    for part in ("network", "ema"):
        assert all(map(torch.equal, left[part].values(), right[part].values()))
    adversaries = [one["objective"]["adversary"]["network"] for one in (left, right)]
    assert all(map(torch.equal, *(one.values() for one in adversaries)))
    line = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[-1]
    assert '"discriminator"' in line
