import typing

import pytest
import torch

from facesr.config.train import Loss
from facesr.losses import LOSSES


def test_every_loss_has_its_name_in_the_configuration() -> None:
    assert set(LOSSES) == set(typing.get_args(Loss))


@pytest.mark.parametrize(("name", "expected"), [("l1", 0.5), ("mse", 0.25), ("charbonnier", 0.500001)])
def test_losses_of_a_constant_difference(name: str, expected: float) -> None:
    target = torch.rand(2, 3, 4, 5)
    assert float(LOSSES[name](target + 0.5, target)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_equal_pictures_have_no_loss_and_finite_gradients(name: str) -> None:
    prediction = torch.rand(1, 3, 4, 4, requires_grad=True)
    loss = LOSSES[name](prediction, prediction.detach().clone())
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1.1e-3)
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()
