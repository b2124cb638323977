import typing

from facesr.config.optim import Method
from facesr.training.optimisers import OPTIMISERS


def test_every_optimiser_has_its_name_in_the_configuration() -> None:
    assert set(OPTIMISERS) == set(typing.get_args(Method))
