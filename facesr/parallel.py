"""Work on many files side by side, with bounded memory."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from facesr.errors import ImageError

# Pixels of results that wait to be written, unless there is only one.
_AHEAD_PX = 64 * 2048 * 2048


Item = TypeVar("Item")


Out = TypeVar("Out")


@dataclass(frozen=True)
class Outcome(Generic[Item, Out]):
    """What became of one item: a value, or the error that stopped it."""

    item: Item
    value: Out | ImageError


class StageTimes:
    """Seconds that cores, or the device, spent in each stage of a run."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    @contextmanager
    def waiting(self, lanes: int) -> Iterator[None]:
        """Count as `waiting` what of the time inside `lanes` lanes did not spend on the network."""
        start, before = time.perf_counter(), self.table().get("network", 0.0)
        try:
            yield
        finally:
            busy = self.table().get("network", 0.0) - before
            self.add("waiting", max(0.0, lanes * (time.perf_counter() - start) - busy))

    def table(self) -> dict[str, float]:
        """Return the seconds by stage."""
        return dict(self._seconds)


def map_ahead(
    executor: Executor,
    function: Callable[[Item], Out],
    items: Iterable[Item],
    *,
    depth: int,
    pixels: Callable[[Item], int] = lambda _: 0,
) -> Iterator[Outcome[Item, Out]]:
    """Map in order and ahead of the consumer; an `ImageError` is a result like another.

    Args:
        executor: Where `function` runs.
        function: What is done to each item.
        items: Taken as they are needed.
        depth: Items ahead of the consumer, at most.
        pixels: What an item holds in memory. As many items are ahead as hold 268 million pixels, and one at
            least.
    """
    pending: deque[tuple[Item, Future[Out]]] = deque()
    ahead_px = 0

    def finish() -> Outcome[Item, Out]:
        nonlocal ahead_px
        item, future = pending.popleft()
        ahead_px -= pixels(item)
        try:
            return Outcome(item, future.result())
        except ImageError as error:
            return Outcome(item, error)
        except MemoryError:
            return Outcome(item, ImageError("needs more memory than there is"))

    for item in items:
        pending.append((item, executor.submit(function, item)))
        ahead_px += pixels(item)
        while len(pending) > depth or (len(pending) > 1 and ahead_px > _AHEAD_PX):
            yield finish()
    while pending:
        yield finish()
