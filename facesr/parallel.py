"""Processing many files in parallel, with bounded memory."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from facesr.errors import ImageError
from facesr.events import Failure, Reporter

# Pixels of results that wait to be written, unless there is only one.
_AHEAD_PX = 64 * 2048 * 2048

Item = TypeVar("Item")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Outcome(Generic[Item, Out]):
    """The outcome of one item: a value, or the error that stopped it."""

    item: Item
    value: Out | ImageError


class StageTimes:
    """Seconds that the cores, or the device, spent in each stage of a run."""

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
        """Count the time inside that `lanes` lanes did not spend on the network as `waiting`."""
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
    """Map in order, ahead of the consumer. An `ImageError` becomes an outcome and stops nothing else.

    At most `depth` items are ahead, and together they hold at most 268 million pixels, unless it is only one.
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
            return Outcome(item, ImageError("needs more memory than is available"))

    for item in items:
        pending.append((item, executor.submit(function, item)))
        ahead_px += pixels(item)
        while len(pending) > depth or (len(pending) > 1 and ahead_px > _AHEAD_PX):
            yield finish()
    while pending:
        yield finish()


@dataclass(eq=False)
class FileInWork:
    """A decoded file, some of whose parts may not be computed yet."""

    item: Any  # what was decoded
    whole: Any = None  # what decoding gave
    results: dict[int, Any] = field(default_factory=dict)  # of the parts that are done, by their index
    missing: int = 0  # parts that are not
    error: ImageError | None = None  # why the file cannot be finished


@dataclass(frozen=True, eq=False)
class Part:
    """One of the parts that a file was split into."""

    file: FileInWork
    index: int


# What is computed: parts in, the same parts with their results out, in any order, failures passed on.
Parts = Iterator[Outcome[Part, Any]]


@dataclass(frozen=True, kw_only=True)
class Stages:
    """What to do with each file: decode, split into parts, compute them, join the results, encode.

    All but `compute` run on several threads. They may raise an `ImageError`, which stops only their file.
    """

    # From an item, such as a path, to what it holds.
    decode: Callable[[Any], Any]
    # From the item and the joined result to what the caller gets, such as the path written.
    encode: Callable[[Any, Any], Any]
    # From what decoding gave to parts. There may be none; most files are one.
    split: Callable[[Any], Sequence[Any]] = lambda whole: [whole]
    # From a stream of parts to a stream of their results.
    compute: Callable[[Parts], Parts] = iter
    # From what decoding gave and the results, in the order of the parts, to one result.
    join: Callable[[Any, Sequence[Any]], Any] = lambda whole, results: results[0]
    # What an item may hold once it is decoded, a guess.
    expected_pixels: Callable[[Any], int] = lambda item: 0
    # What the results of one file hold in memory.
    pixels: Callable[[Sequence[Any]], int] = lambda results: 0


def run_files(
    items: Iterable[Item], stages: Stages, *, threads: int, depth: int
) -> Generator[Outcome[Item, Any]]:
    """Run files through all stages in parallel, with bounded memory.

    Files are decoded ahead of the computation and encoded behind it, in the order in which their last part is
    computed. At most `depth` files are decoded ahead, and as many results wait to be encoded.

    Yields:
        For each item, what `encode` returned, or the error that stopped it.
    """

    def decode(item: Item) -> tuple[Any, Sequence[Any]]:
        whole = stages.decode(item)
        return whole, stages.split(whole)

    def encode(file: FileInWork) -> Any:
        if file.error:
            raise file.error
        results = [file.results[index] for index in range(len(file.results))]
        return stages.encode(file.item, stages.join(file.whole, results))

    def pixels(file: FileInWork) -> int:
        return stages.pixels(list(file.results.values()))

    executor = ThreadPoolExecutor(threads)
    try:
        whole_ready: deque[FileInWork] = deque()  # files without parts, which pass by the computation
        decoded = map_ahead(executor, decode, items, depth=depth, pixels=stages.expected_pixels)
        parts = _split(decoded, whole_ready)
        files = _gather(stages.compute(parts), whole_ready)
        for outcome in map_ahead(executor, encode, files, depth=depth, pixels=pixels):
            yield Outcome(outcome.item.item, outcome.value)
    finally:
        executor.shutdown(cancel_futures=True)


def _split(decoded: Iterable[Outcome[Any, Any]], whole_ready: deque[FileInWork]) -> Parts:
    for outcome in decoded:
        file = FileInWork(outcome.item)
        if isinstance(outcome.value, ImageError):
            file.missing = 1
            yield Outcome(Part(file, 0), outcome.value)
            continue
        file.whole, parts = outcome.value
        file.missing = len(parts)
        if not parts:
            whole_ready.append(file)
        yield from (Outcome(Part(file, index), part) for index, part in enumerate(parts))


def _gather(computed: Parts, whole_ready: deque[FileInWork]) -> Iterator[FileInWork]:
    for outcome in computed:
        while whole_ready:
            yield whole_ready.popleft()
        file = outcome.item.file
        file.missing -= 1
        if isinstance(outcome.value, ImageError):
            file.error = file.error or outcome.value
        else:
            file.results[outcome.item.index] = outcome.value
        if not file.missing:
            yield file
    yield from whole_ready


def succeeded(
    outcomes: Iterable[Outcome[Item, Out]],
    reporter: Reporter,
    failed: list[Failure],
    *,
    path_of: Callable[[Item], Path],
) -> Iterator[Out]:
    """Yield the successful results of `run_files`, append failures to `failed`, and advance the reporter.

    A failure names the file of its error, else the file that `path_of` returns.
    """
    for outcome in outcomes:
        if isinstance(outcome.value, ImageError):
            failed.append(Failure.of(path_of(outcome.item), outcome.value))
        else:
            yield outcome.value
        reporter.advance()
