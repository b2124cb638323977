import typing

import pytest
import torch

from facesr.config.loss import LossName
from facesr.metrics.fidelity import psnr
from facesr.training.losses import LOSSES


def test_every_loss_has_its_name_in_the_configuration() -> None:
    assert set(LOSSES) == set(typing.get_args(LossName))


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
