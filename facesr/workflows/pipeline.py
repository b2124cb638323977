"""Decoding, network and encoding side by side, with bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from facesr.config import RuntimeConfig
from facesr.errors import ImageError
from facesr.image import Picture
from facesr.inference import trusted, upscale_pixels
from facesr.weights.load import Model

Item = TypeVar("Item")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Outcome(Generic[Item, Out]):
    """What became of one item: a value, or the error that stopped it."""

    item: Item
    value: Out | ImageError


def map_ahead(
    executor: Executor, function: Callable[[Item], Out], items: Iterable[Item], *, depth: int
) -> Iterator[Outcome[Item, Out]]:
    """Map in order, at most `depth` items ahead of the consumer; an `ImageError` is a result like another."""
    pending: deque[tuple[Item, Future[Out]]] = deque()

    def finish() -> Outcome[Item, Out]:
        item, future = pending.popleft()
        try:
            return Outcome(item, future.result())
        except ImageError as error:
            return Outcome(item, error)

    for item in items:
        pending.append((item, executor.submit(function, item)))
        if len(pending) > depth:
            yield finish()
    while pending:
        yield finish()


def enlarge_stream(
    models: Sequence[Model],
    pictures: Iterable[Outcome[Item, Picture]],
    *,
    runtime: RuntimeConfig,
    warn: Callable[[str], None],
) -> Iterator[Outcome[Item, tuple[Picture, ...]]]:
    """Run every model over decoded pictures, those of equal size together; failures pass through.

    The first picture is looked at in half precision; a model that fails then goes on in fp32.
    Where memory runs out, the batch is halved, then the tile; a picture for which nothing helps fails alone.

    Yields:
        One result a model, in their order, for each picture.
    """
    checked = False
    for group in _equal_sizes(pictures, batch=batch_size(runtime, models[0].device)):
        if isinstance(group[0].value, ImageError):
            yield Outcome(group[0].item, group[0].value)
        else:
            if not checked and isinstance(group[0].value, Picture):
                models = [trusted(model, group[0].value.rgb, warn=warn) for model in models]
                checked = True
            yield from _enlarge_group(models, group, tile=None if runtime.tile == "auto" else runtime.tile)


def batch_size(runtime: RuntimeConfig, device: torch.device) -> int:
    """Resolve `runtime.batch` for a device."""
    if runtime.batch != "auto":
        return runtime.batch
    return 1 if device.type == "cpu" else 8


def _enlarge_group(
    models: Sequence[Model], group: list[Outcome[Item, Picture]], *, tile: int | None
) -> Iterator[Outcome[Item, tuple[Picture, ...]]]:
    pictures = [outcome.value for outcome in group if isinstance(outcome.value, Picture)]
    try:
        results = [upscale_pixels(model, [p.rgb for p in pictures], tile=tile) for model in models]
    except ImageError as error:
        yield from (Outcome(outcome.item, error) for outcome in group)
        return
    for index, (outcome, picture) in enumerate(zip(group, pictures, strict=True)):
        yield Outcome(outcome.item, tuple(picture.enlarged(rgb[index]) for rgb in results))


def _equal_sizes(
    pictures: Iterable[Outcome[Item, Picture]], *, batch: int
) -> Iterator[list[Outcome[Item, Picture]]]:
    """Gather pictures of one size into lists of `batch`, holding back at most twice that many."""
    waiting: dict[tuple[tuple[int, int], str], list[Outcome[Item, Picture]]] = {}
    for outcome in pictures:
        if isinstance(outcome.value, ImageError):
            yield [outcome]
            continue
        kind = outcome.value.size, str(outcome.value.rgb.dtype)
        waiting.setdefault(kind, []).append(outcome)
        if len(waiting[kind]) == batch:
            yield waiting.pop(kind)
        elif sum(map(len, waiting.values())) >= 2 * batch:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()
