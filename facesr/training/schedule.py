"""The learning rate as a function of the iteration."""

import math
from collections.abc import Sequence


def cosine_with_restarts(
    iteration: int, *, base: float, floor: float, periods: Sequence[int], warmup: int = 0
) -> float:
    """Return the learning rate of an iteration from 1, cosine within each period (SGDR, without growth).

    The last iteration of a period still belongs to it, and the first of all uses the full rate, as in the
    runs that are reproduced. After the last period the rate stays at the floor. In the first `warmup`
    iterations it rises linearly, from `1 / warmup` of itself.
    """
    passed, start = iteration - 1, 0
    for period in periods:
        if passed <= start + period:
            phase = (passed - start) / period
            rate = floor + (base - floor) * (1 + math.cos(math.pi * phase)) / 2
            break
        start += period
    else:
        rate = floor
    return rate * min(1.0, iteration / warmup) if warmup else rate
