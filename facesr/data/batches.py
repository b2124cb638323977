"""The order in which pairs are used. It is stateless, so a resumed run uses the same pairs."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import chain, count, islice
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from facesr.data.augment import vary
from facesr.data.dataset import PairDataset, TrainingPair
from facesr.data.resident import CHUNK, ResidentImages
from facesr.degradation.degrader import derive_seed
from facesr.errors import ImageError
from facesr.processes import STOP_SIGNALS, refuse_unguarded

_WORKER_GRACE_S = 20


@dataclass(frozen=True)
class Batch:
    """One step's pairs in one process."""

    lq: Tensor  # (B, h, w, 3) uint8, on the CPU, or on the device where HQ images lie there
    hq: Tensor  # (B, scale h, scale w, 3) uint8
    names: tuple[str, ...]  # the HQ files
    failed: tuple[str, ...]  # files that could not be read and were passed over
    seconds: tuple[float, float] = (0.0, 0.0)  # that reading and degrading its new pairs took, summed


@dataclass(frozen=True)
class Slice:
    """One process's part of every global batch."""

    batch: int  # global batch size, a multiple of `world_size`
    rank: int = 0
    world_size: int = 1

    @property
    def local(self) -> int:
        """Images a step in this process."""
        return self.batch // self.world_size

    def number(self, position: int) -> int:
        """Return the global number of this process's sample at `position`, counted from 0."""
        step, offset = divmod(position, self.local)
        return step * self.batch + self.rank * self.local + offset


def batches(
    draws: PairDataset, *, part: Slice, start: int, workers: int, resident: ResidentImages | None = None
) -> Generator[Batch]:
    """Yield this process's batches endlessly, from step `start`. The first step is 0.

    Each pair is used `reuse` times. The last `ring` pairs are kept, and every use picks one of them at
    random, with its own crop, flip and rotation. After every `reuse` uses, a new pair replaces the oldest.
    All of this depends only on seed and step, so a resumed run refills its ring with the same pairs.
    """
    config = draws.config
    size = config.ring if config.reuse > 1 else 1
    used = start * part.local
    first = used // config.reuse
    if workers:
        refuse_unguarded()
    options: dict[str, Any] = {
        "batch_size": None,
        "num_workers": workers,
        "generator": torch.Generator(),  # of its own, so that starting it leaves the global one alone
        "worker_init_fn": _keep_to_the_parent,
    }
    stream: Iterator[TrainingPair]
    if resident is None:
        ahead = max(2, 2 * part.local // max(1, workers)) if workers else None
        numbers = map(part.number, count(first))
        stream = iter(DataLoader(draws, sampler=numbers, prefetch_factor=ahead, **options))
    else:
        chunks = (range(start, start + CHUNK) for start in count(first // CHUNK * CHUNK, CHUNK))
        parts = ([part.number(position) for position in chunk] for chunk in chunks)
        plans = iter(DataLoader(resident.plans, sampler=parts, **options))
        stream = islice(chain.from_iterable(map(resident.make, plans)), first % CHUNK, None)
    if workers and hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        # The loader's own handler would raise in the middle of a step; the next batch notices soon enough.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        ring: deque[TrainingPair] = deque(maxlen=size)
        failed: list[str] = []
        reading = degrading = 0.0
        newest = first - 1  # position of the newest pair in the stream of this process
        for step in count(start):
            pairs = []
            for position in range(step * part.local, (step + 1) * part.local):
                while newest < position // config.reuse + size - 1:
                    _push(ring, next(stream), failed)
                    newest += 1
                    reading, degrading = (
                        before + new
                        for before, new in zip((reading, degrading), ring[-1].seconds, strict=True)
                    )
                random = Random(derive_seed(draws.seed, f"use {part.number(position)}"))  # noqa: S311
                pair = ring[random.randrange(size)]
                pairs.append((*vary(pair.lq, pair.hq, config, random, scale=draws.scale), pair.name))
            lq, hq, names = zip(*pairs, strict=True)
            yield Batch(torch.stack(lq), torch.stack(hq), names, tuple(failed), (reading, degrading))
            failed.clear()
            reading = degrading = 0.0
    finally:
        del stream  # ends the workers, even if a traceback holds on to this frame


def _push(ring: deque[TrainingPair], pair: TrainingPair, failed: list[str]) -> None:
    if pair.error:
        raise pair.error
    if not len(pair.lq):
        raise ImageError(f"{len(pair.failed)} images in a row could not be read, the last: {pair.failed[-1]}")
    ring.append(pair)
    failed += pair.failed


def _keep_to_the_parent(worker: int) -> None:
    # A signal to the whole group or SLURM step must not take the workers away from a parent that is about to
    # save. They end when it says so, or when it is gone; after SIGTERM, its last resort, somewhat later.
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        alarm = signal.alarm
        signal.signal(signal.SIGTERM, lambda *_: alarm(_WORKER_GRACE_S))


def _end_with_the_parent() -> None:
    # PyTorch would notice, but then wait for ever to hand over what was prepared.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
