import math
import typing
from pathlib import Path

import pytest
import torch

from facesr.config.loss import LossConfig, LossName
from facesr.config.train import train_recipe
from facesr.degradation.kernels import usm_sharpen
from facesr.errors import ConfigError, MissingExtra
from facesr.metrics import stlpips
from facesr.metrics.fidelity import psnr
from facesr.training.losses import LOSSES, phase
from facesr.training.objective import Objective

PREDICTION, HQ = torch.rand(2, 2, 3, 60, 60, generator=torch.Generator().manual_seed(0))


def test_the_total_is_the_sum_of_weighted_losses_that_are_told_without_their_weights() -> None:
    objective = Objective({"l1": LossConfig(), "mse": LossConfig(weight=0.5), "psnr": LossConfig(weight=0)})
    values, total = objective(PREDICTION, HQ)
    assert objective.names == tuple(values) == ("l1", "mse")
    for name, value in values.items():
        assert torch.equal(value, LOSSES[name](PREDICTION, HQ))
    assert float(total) == pytest.approx(float(values["l1"] + 0.5 * values["mse"]))


@pytest.mark.parametrize("name", LOSSES)
def test_one_loss_of_weight_one_is_that_loss_to_the_last_bit(name: str) -> None:
    prediction = PREDICTION.clone().requires_grad_()
    values, total = Objective({name: LossConfig()})(prediction, HQ)  # type: ignore[dict-item]
    assert torch.equal(total, values[name])
    alone = LOSSES[name](prediction, HQ)
    for ours, theirs in zip(*(torch.autograd.grad(loss, prediction) for loss in (total, alone)), strict=True):
        assert torch.equal(ours, theirs)


def test_each_loss_has_a_target_of_its_own() -> None:
    losses = {"l1": LossConfig(), "mse": LossConfig(target="sharpened")}
    values, _ = Objective(losses)(PREDICTION, HQ)  # type: ignore[arg-type]
    assert torch.equal(values["l1"], LOSSES["l1"](PREDICTION, HQ))
    assert torch.equal(values["mse"], LOSSES["mse"](PREDICTION, usm_sharpen(HQ)))
    assert not torch.equal(values["mse"], LOSSES["mse"](PREDICTION, HQ))


def test_every_loss_has_its_name_in_the_configuration() -> None:
    assert {*LOSSES, "stlpips_alex", "stlpips_vgg", "gan"} == set(typing.get_args(LossName))


@pytest.mark.parametrize(
    ("name", "expected"), [("l1", 0.5), ("mse", 0.25), ("charbonnier", 0.500001), ("psnr", -6.0206)]
)
def test_losses_of_a_constant_difference(name: str, expected: float) -> None:
    target = torch.rand(2, 3, 4, 5)
    assert float(LOSSES[name](target + 0.5, target)) == pytest.approx(expected, abs=1e-5)


def test_the_psnr_loss_is_the_metric_of_each_picture_with_the_sign_changed() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = (torch.randint(256, (3, 3, 12, 10), generator=generator) for _ in range(2))
    target[1] = (prediction[1] + 1).clamp_max(255)  # one is much better than the others
    expected = -psnr(prediction.byte(), target.byte()).mean()
    assert float(LOSSES["psnr"](prediction / 255, target / 255)) == pytest.approx(float(expected), abs=1e-2)


@pytest.mark.parametrize("name", LOSSES)
def test_equal_pictures_have_no_loss_and_finite_gradients(name: str) -> None:
    prediction = torch.rand(1, 3, 4, 4, requires_grad=True)
    loss = LOSSES[name](prediction, prediction.detach().clone())
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-80 if name == "psnr" else 0, abs=1.1e-3)
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()


@pytest.mark.parametrize("period", [4, 8, 16])
@pytest.mark.parametrize("size", [(256, 256), (70, 150)])
def test_the_phase_loss_finds_lattices_and_nothing_else(period: int, size: tuple[int, int]) -> None:
    height, width = size
    y, x = (torch.arange(side).add(0.5) / side for side in size)
    smooth = (0.5 + 0.2 * torch.cos(math.pi * x) + 0.2 * torch.cos(math.pi * y)[:, None]).expand(2, 3, -1, -1)
    flat = torch.full_like(smooth, 0.5)
    lattice = torch.zeros(height, width)
    lattice[1::period, 2::period] = 1 / 255
    found = float(phase(flat + lattice, flat))
    # A place off by a level stands out of its 3x3 neighbours by 8/9, and each of those by 1/9.
    assert found > 0.6 * 16 / 9 / period**2
    assert float(phase(flat + 2 * lattice, flat)) == pytest.approx(2 * found, rel=1e-3)
    assert float(phase(flat, flat + lattice)) < 1e-3 * found
    assert float(phase(smooth, flat)) < 0.02
    assert float(phase(smooth + lattice, smooth)) == pytest.approx(found, rel=0.2)


def test_a_metric_as_a_loss_has_its_value_and_is_lowered_by_following_it(stlpips_weights: Path) -> None:
    losses = {"l1": LossConfig(weight=1e-6), "stlpips_alex": LossConfig(part_px=128)}
    objective = Objective(losses, weights=stlpips_weights)  # type: ignore[arg-type]
    prediction, hq = torch.rand(2, 2, 3, 96, 80, generator=torch.Generator().manual_seed(0))
    prediction.requires_grad_()
    values, total = objective(prediction, hq)
    before = stlpips(prediction, hq, weights=stlpips_weights).mean()
    assert torch.equal(values["stlpips_alex"], before)
    (gradient,) = torch.autograd.grad(total, prediction)
    moved = prediction - 0.05 * gradient / gradient.abs().max()
    assert stlpips(moved, hq, weights=stlpips_weights).mean() < before


def test_a_metric_as_a_loss_says_what_it_lacks(
    stlpips_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {"l1": LossConfig(), "stlpips_alex": LossConfig(part_px=48)}
    objective = Objective(losses, weights=stlpips_weights)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="`stlpips_alex` needs 64 px a side, and sees 48"):
        objective(PREDICTION, HQ)
    monkeypatch.setattr("facesr.metrics.data_files.find_spec", lambda name: None)
    for recipe in ("sharp", "sharp-cpu"):
        with pytest.raises(MissingExtra, match="metrics"):
            Objective(train_recipe(recipe).loss)


def test_the_sharp_recipes_choose_by_what_they_do_not_train_with() -> None:
    for recipe in map(train_recipe, ("sharp", "sharp-cpu")):
        assert recipe.best_by not in {"psnr", *(name for name, one in recipe.loss.items() if one.counts)}


def test_the_phase_loss_leaves_a_lattice_by_chance_as_strong_as_the_target_has_it() -> None:
    generator = torch.Generator().manual_seed(0)
    grain, other = 0.5 + torch.randn(2, 4, 3, 256, 256, generator=generator) / 50
    lattice = torch.zeros(256, 256)
    lattice[1::4, 2::4] = 2 / 255
    assert float(phase(other, grain)) < 0.2 * float(phase(other + lattice, grain))


def test_dots_in_a_small_part_of_the_picture_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    grain, other = 0.5 + torch.randn(2, 1, 3, 256, 256, generator=generator) / 100
    dotted = other.clone()
    dotted[..., 65:128:4, 66:128:4] += torch.randn(16, 16, generator=generator).sign() / 10
    assert float(LOSSES["dots"](dotted, grain)) > 3 * float(LOSSES["dots"](other, grain))


def test_dots_are_found_where_they_are_though_the_target_has_as_many_elsewhere() -> None:
    generator = torch.Generator().manual_seed(0)
    found, target = 0.5 + torch.randn(2, 1, 3, 256, 256, generator=generator) / 100
    alike = LOSSES["dots"](found, target)
    signs = torch.randn(32, 32, generator=generator).sign() / 10
    target[..., 1:128:4, 2:128:4] += signs
    found[..., 129::4, 130::4] += signs
    assert float(LOSSES["dots"](found, target)) > 20 * float(alike)


def test_ramps_within_blocks_are_found_though_neither_means_nor_dots_are_there() -> None:
    generator = torch.Generator().manual_seed(0)
    grain, other = 0.5 + torch.randn(2, 1, 3, 256, 256, generator=generator) / 100
    ramp = torch.tensor([-0.5, -0.5, 0.5, 0.5]).repeat(64)
    blocks = torch.randn(64, 64, generator=generator).repeat_interleave(4, 0).repeat_interleave(4, 1) / 50
    for pattern in (blocks * ramp, (blocks * ramp).T):
        found = float(LOSSES["dots"](other + pattern, grain))
        assert found > 25 * float(LOSSES["dots"](other, grain))
        assert float(phase(other + pattern, grain)) < 0.2 * found


@pytest.mark.parametrize("period", [4, 8])
def test_a_weave_at_no_fixed_position_is_found(period: int) -> None:
    generator = torch.Generator().manual_seed(0)
    grain, other = 0.5 + torch.randn(2, 1, 3, 256, 256, generator=generator) / 100
    # Lines whose position changes from window to window, so that each is as dark as any other on average.
    lines = torch.randn(4, 4, period, generator=generator).repeat(1, 1, 64 // period) / 50
    weave = lines.repeat_interleave(64, 0).flatten(1)
    for pattern in (weave, weave.T):
        found = float(LOSSES["repeats"](other + pattern, grain))
        assert found > 10 * float(LOSSES["repeats"](other, grain))
        assert float(LOSSES["repeats"](grain, other + pattern)) < 0.1 * found
        # It counts what is alike, not how strong it is.
        assert found == pytest.approx(float(LOSSES["repeats"](0.5 * (other + pattern), grain)), rel=0.1)


@pytest.mark.parametrize("period", [4, 8])
def test_a_weave_whose_position_drifts_is_found_though_it_hides_from_phase(period: int) -> None:
    generator = torch.Generator().manual_seed(0)
    grain, other = 0.5 + torch.randn(2, 1, 3, 256, 256, generator=generator) / 100
    # Lines that are a quarter of a period further every 32 px, or not.
    turns = torch.arange(256) / period
    drifting, still = (
        torch.cos(2 * torch.pi * (turns + drift * torch.arange(8).repeat_interleave(32))) / 50
        for drift in (0.25, 0)
    )
    for turn in (drifting, drifting[:, None]):
        assert float(LOSSES["repeats"](other + turn, grain)) > 10 * float(LOSSES["repeats"](other, grain))
    hidden, seen = (float(phase(other + lines, grain)) for lines in (drifting, still))
    assert hidden < 0.05 * seen


def test_ldl_counts_an_error_that_flickers_more_than_an_even_one() -> None:
    target = torch.full((2, 3, 32, 32), 0.5)
    signs = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)).sub(0.5).sign()
    even, flickering = (target + 0.1 * pattern for pattern in (torch.ones(32, 32), signs.clamp_min(0)))
    even[..., 0] = target[..., 0]  # so that the variance over the image is not 0
    assert float(LOSSES["ldl"](flickering, target)) > 10 * float(LOSSES["ldl"](even, target))
    # By hand, where a single pixel is off by 0.1 in three channels.
    lone = target[:1].clone()
    lone[..., 16, 16] += 0.1
    errors = torch.zeros(32, 32)
    errors[16, 16] = 0.3
    variance = 0.3**2 * (1 / 49 - 1 / 49**2)
    expected = variance * float(errors.var()) ** 0.2 * 0.1 / 32**2
    assert float(LOSSES["ldl"](lone, target[:1])) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("period", [4, 8])
def test_dots_of_either_sign_at_one_place_are_found(period: int) -> None:
    generator = torch.Generator().manual_seed(0)
    grain = 0.5 + torch.randn(1, 3, 256, 256, generator=generator) / 50
    other = 0.5 + torch.randn(1, 3, 256, 256, generator=generator) / 50
    signs = torch.randn(256 // period, 256 // period, generator=generator).sign()
    lattice = torch.zeros(256, 256)
    lattice[1::period, 2::period] = signs / 20
    found = float(LOSSES["dots"](grain + lattice, grain))
    assert found > 8 * float(LOSSES["dots"](other, grain))
    assert float(LOSSES["dots"](grain, grain + lattice)) < 0.1 * found
    prediction = (grain + lattice).requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES["dots"](prediction, grain), prediction)
    lowered = prediction.detach() - 0.02 * gradient / gradient.abs().max()
    assert float(LOSSES["dots"](lowered, grain)) < found
