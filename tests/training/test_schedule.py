import json
from pathlib import Path

import pytest

from facesr.training.schedule import cosine_with_restarts

TABLE = json.loads((Path(__file__).parents[1] / "vectors" / "index.json").read_text())


@pytest.mark.parametrize(("iteration", "rate"), TABLE["learning_rate_used_at_iteration"].items())
def test_the_learning_rate_table_is_matched(iteration: str, rate: float) -> None:
    found = cosine_with_restarts(int(iteration), base=2e-4, floor=1e-7, periods=[150_000, 150_000])
    assert found == pytest.approx(rate, rel=1e-12)


def test_warm_up_rises_linearly_to_the_full_rate() -> None:
    rates = [cosine_with_restarts(n, base=1.0, floor=1.0, periods=[100], warmup=4) for n in range(1, 7)]
    assert rates == [0.25, 0.5, 0.75, 1, 1, 1]


def test_after_the_last_period_the_rate_stays_at_the_floor() -> None:
    assert cosine_with_restarts(500, base=1.0, floor=0.1, periods=[10, 20]) == 0.1
