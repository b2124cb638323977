"""A run says once what bounds it."""

import pytest
import torch

from facesr.data.batches import Batch
from facesr.training.bound import DEGRADING, NETWORK, READING, Bound


@pytest.mark.parametrize(
    ("waited", "seconds", "resident", "expected"),
    [
        (0.1, (3.0, 2.0), False, NETWORK),
        (0.6, (3.0, 2.0), False, READING),
        (0.6, (2.0, 3.0), False, DEGRADING),
        (0.0, (0.0, 0.7), True, DEGRADING),
        (0.0, (0.0, 0.3), True, NETWORK),
    ],
)
def test_what_takes_the_time_is_named_once(
    waited: float, seconds: tuple[float, float], resident: bool, expected: str
) -> None:
    said: list[str] = []
    bound = Bound(said.append, resident=resident)
    slow_start = Batch(torch.empty(0), torch.empty(0), ("a",) * 8, (), (100.0, 0.0))
    batch = Batch(torch.empty(0), torch.empty(0), ("a",) * 8, (), seconds)
    for step in range(60):
        bound.add(slow_start if step < 5 else batch, seconds=1.0, waited=waited)
    (message,) = said
    assert message.startswith(f"8.0 images/s, bound by {expected}")
    # On the device the processes only draw what is to be done.
    assert ("data.workers" in message) == (expected != NETWORK and not resident)
    assert ("data.reuse" in message) == (expected == DEGRADING)
