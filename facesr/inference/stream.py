"""Runs a stream of decoded images through networks: equal sizes as batches, on the CPU several at once."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Generic

import torch

from facesr.config.runtime import RuntimeConfig
from facesr.errors import ImageError
from facesr.images.image import ImageData, Pixels, bicubic
from facesr.inference.enlarge import start_enlarging, take
from facesr.models.base import FlipEnsemble
from facesr.parallel import Item, Outcome, StageTimes
from facesr.transfer import Arrival, Stopwatch
from facesr.weights.find import WeightFiles
from facesr.weights.load import Model, load_model

# Images up to this many pixels are computed side by side: they are small beside the memory of any core.
_LANE_PX = 256 * 256
# A batch is worth its memory only while its images are small.
_BATCH_PX = 8 * 512 * 512

Group = list[Outcome[Item, ImageData]]
Results = list[Outcome[Item, tuple[ImageData, ...]]]


def load_for(files: WeightFiles, runtime: RuntimeConfig) -> Model:
    model = load_model(files, device=runtime.device, dtype=runtime.dtype)
    return replace(model, network=FlipEnsemble(model.network)) if runtime.self_ensemble else model


def result_px(results: Sequence[tuple[ImageData, ...]]) -> int:
    return sum(math.prod(image.size) for images in results for image in images)


@dataclass(frozen=True)
class _Flight(Generic[Item]):
    """A group of images that is being computed by every model."""

    group: Group[Item]
    images: list[ImageData]
    arrivals: list[Arrival]
    watch: Stopwatch
    cores: int
    times: StageTimes
    error: ImageError | None = None

    def result(self) -> Results[Item]:
        if self.error:
            return [Outcome(outcome.item, self.error) for outcome in self.group]
        batches = [take(arrival) for arrival in self.arrivals]
        self.times.add("network", self.cores * self.watch.seconds())
        try:
            enlarged = [
                tuple(image.enlarged(pixels) for pixels in results)
                for image, *results in zip(self.images, *batches, strict=True)
            ]
        except MemoryError:
            return replace(self, error=ImageError("needs more memory than is available")).result()
        return [Outcome(outcome.item, value) for outcome, value in zip(self.group, enlarged, strict=True)]


def _start(
    models: Sequence[Model], group: Group[Item], *, tile: int | None, times: StageTimes
) -> _Flight[Item]:
    device = models[0].device
    watch, cores = Stopwatch(device), torch.get_num_threads() if device.type == "cpu" else 1
    images = [outcome.value for outcome in group if isinstance(outcome.value, ImageData)]
    try:
        arrivals = [
            start_enlarging(model, [_fitted(image.rgb, model) for image in images], tile=tile)
            for model in models
        ]
    except ImageError as error:
        return _Flight(group, images, [], watch, cores, times, error)
    watch.stop()
    return _Flight(group, images, arrivals, watch, cores, times)


def _fitted(pixels: Pixels, model: Model) -> Pixels:
    """Resize an aligned face for a network that takes only one size. Other networks get it unchanged."""
    side = model.network.traits.face_px
    if side is None or pixels.shape[:2] == (side, side):
        return pixels
    return bicubic(pixels, height=side, width=side)


def enlarge_stream(
    models: Sequence[Model],
    pictures: Iterable[Outcome[Item, ImageData]],
    *,
    runtime: RuntimeConfig,
    warn: Callable[[str], None],
    times: StageTimes | None = None,
    choose: Callable[[Item], Sequence[Model]] | None = None,
) -> Iterator[Outcome[Item, tuple[ImageData, ...]]]:
    """Run models over decoded images, in batches of equal size. Failures pass through.

    Every model runs on every image, unless `choose` returns the models for an item. All models are on one
    device. A model for aligned faces gets each image resized to its size by bicubic. The models' notes go to
    `warn` first.

    If memory runs out, the batch is halved, then smaller pieces are tried. An image that still does not fit
    fails alone.

    On the CPU, small images are computed side by side, each on one core, which is faster than one after
    another on all cores. Large images use all cores. Only an image's own size decides this. The last bits of
    a result depend on the number of cores, and must not depend on other images.

    Yields:
        For each image, one result of each model, in their order.
    """
    times = times or StageTimes()
    chosen = choose or (lambda item: models)
    tile = None if runtime.tile == "auto" else runtime.tile
    device = models[0].device
    lanes = torch.get_num_threads() if device.type == "cpu" else 1
    in_flight: deque[_Flight[Item] | Future[Results[Item]]] = deque()

    def start(group: Group[Item]) -> _Flight[Item]:
        return _start(chosen(group[0].item), group, tile=tile, times=times)

    def enlarge(group: Group[Item]) -> Results[Item]:
        torch.set_num_threads(1)  # of this thread alone
        return start(group).result()

    def land(left: int = 0) -> Iterator[Outcome[Item, tuple[ImageData, ...]]]:
        """Yield finished results until only `left` groups are in flight."""
        while len(in_flight) > left:
            yield from in_flight.popleft().result()

    for note in chain.from_iterable(model.notes for model in models):
        warn(note)
    with _lane_threads(lanes) as executor, times.waiting(lanes):
        for group in _equal_sizes(pictures, batch=batch_size(runtime, device), chosen=chosen):
            first = group[0].value
            if isinstance(first, ImageError):
                yield Outcome(group[0].item, first)
                continue
            if device.type != "cpu":
                in_flight.append(start(group))  # while the device works, the one before is brought home
                yield from land(left=1)
            elif lanes == 1 or math.prod(first.size) > _LANE_PX:
                yield from land()
                yield from start(group).result()
            else:
                in_flight.append(executor.submit(enlarge, group))
                yield from land(left=lanes)
        yield from land()


@contextmanager
def _lane_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield an executor whose threads may set PyTorch's number of cores. Restore the setting afterwards."""
    threads = torch.get_num_threads()
    executor = ThreadPoolExecutor(count)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # what a lane set is also the default of threads that start later


def batch_size(runtime: RuntimeConfig, device: torch.device) -> int:
    if runtime.batch != "auto":
        return runtime.batch
    return {"cpu": 1, "cuda": 32}.get(device.type, 8)


def read_ahead(batch: int, threads: int) -> int:
    """Return how many files to decode ahead, so that neither a batch nor a thread has to wait."""
    return 2 * max(batch, threads) + 2


def _equal_sizes(
    pictures: Iterable[Outcome[Item, ImageData]],
    *,
    batch: int,
    chosen: Callable[[Item], Sequence[Model]] = lambda item: (),
) -> Iterator[Group[Item]]:
    """Group small images of one size, for the same models, into lists of `batch`.

    It holds back at most twice that many.
    """
    waiting: dict[tuple[object, ...], Group[Item]] = {}
    for outcome in pictures:
        if isinstance(outcome.value, ImageError):
            yield [outcome]
            continue
        kind = outcome.value.size, str(outcome.value.rgb.dtype), *map(id, chosen(outcome.item))
        waiting.setdefault(kind, []).append(outcome)
        if len(waiting[kind]) == min(batch, max(1, _BATCH_PX // math.prod(outcome.value.size))):
            yield waiting.pop(kind)
        elif sum(map(len, waiting.values())) >= 2 * batch:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()
