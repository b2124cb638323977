import pytest
import torch

from facesr.config.loss import LossConfig
from facesr.degradation.kernels import usm_sharpen
from facesr.training.losses import LOSSES
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
