"""Pairs and their order follow from seed and step alone, for any number of workers and processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from facesr.config.data import DataConfig
from facesr.data.augment import jitter, vary, zoom
from facesr.data.batches import Batch, Slice, batches
from facesr.data.dataset import PairDataset, TrainingPair
from facesr.data.folders import list_training
from facesr.errors import ImageError
from facesr.images.read import read_image
from facesr.processes import STOP_SIGNALS
from tests.conftest import noise


def make_draws(hq: Path, *, seed: int = 0, **options: object) -> PairDataset:
    config = DataConfig(train_hq=(hq,), crop_px=16, **options).resolved()
    return PairDataset(list_training(config), config, seed=seed, scale=4)


def take(
    draws: PairDataset, count: int, *, start: int = 0, workers: int = 0, part: Slice | None = None
) -> list[Batch]:
    return list(islice(batches(draws, part=part or Slice(4), start=start, workers=workers), count))


def same(left: list[Batch], right: list[Batch]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a.lq, b.lq)
        assert torch.equal(a.hq, b.hq)
        assert a.names == b.names


RINGS = [{"reuse": 1}, {"reuse": 3, "ring": 5}]


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_batches_do_not_depend_on_workers_and_go_on_from_anywhere(hq: Path, ring: dict) -> None:
    draws = make_draws(hq, **ring)
    whole = take(draws, 9)
    assert whole[0].lq.shape == (4, 4, 4, 3)
    assert whole[0].hq.shape == (4, 16, 16, 3)
    same(take(draws, 9, workers=2), whole)
    for start in (1, 4, 7):
        same(take(draws, 9 - start, start=start), whole[start:])
    same(take(draws, 2, start=7, workers=1), whole[7:])


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_another_seed_gives_other_batches(hq: Path, ring: dict) -> None:
    (one,), (other,) = (take(make_draws(hq, seed=seed, **ring), 1) for seed in (0, 1))
    assert not torch.equal(one.lq, other.lq)


def test_processes_split_the_batch_without_overlap(hq: Path) -> None:
    draws = make_draws(hq)
    whole = take(draws, 5)
    parts = [take(draws, 5, part=Slice(4, rank, 2)) for rank in range(2)]
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat([part[step].lq for part in parts]), batch.lq)
        assert parts[0][step].names + parts[1][step].names == batch.names


def test_every_picture_comes_once_in_a_round(hq: Path) -> None:
    draws = make_draws(hq)
    for round_ in range(3):
        names = [draws[number].name for number in range(6 * round_, 6 * round_ + 6)]
        assert len(set(names)) == 6
    assert [draws[n].name for n in range(6)] != [draws[n].name for n in range(6, 12)]


def test_folders_are_drawn_by_their_shares(hq: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(noise(32, 32, seed=9)).save(other / "o.png")
    config = DataConfig(train_hq=(hq, other), train_share=(3.0, 1.0), degradation=("clean",)).resolved()
    draws = PairDataset(list_training(config), config, seed=0, scale=4)
    count = Counter(Path(draws[number].name).parent.name for number in range(400))
    assert 260 < count["hq"] < 340


def test_a_ring_holds_few_pairs_uses_each_as_often_as_asked_and_renews_them(hq: Path) -> None:
    made = []

    class Counting(PairDataset):
        def __getitem__(self, number: int) -> TrainingPair:
            made.append(number)
            return super().__getitem__(number)

    plain = make_draws(hq, reuse=3, ring=5)
    draws = Counting(plain.folders, plain.config, seed=0, scale=4)
    take(draws, 30)
    assert made == list(range(5 - 1 + -(-30 * 4 // 3)))  # the ring once, then one every three uses


def test_pairs_are_read_as_they_are(hq: Path, tmp_path: Path) -> None:
    lq = tmp_path / "lq"
    lq.mkdir()
    for index in range(6):
        Image.fromarray(noise(8, 8, seed=index + 50)).save(lq / f"{index}.png")
    config = DataConfig(train_hq=(hq,), train_lq=(lq,), flip_chance=0)
    draws = PairDataset(list_training(config), config, seed=0, scale=4)
    pair = draws[0]
    name = Path(pair.name).name
    assert np.array_equal(pair.hq, read_image(hq / name).rgb)
    assert np.array_equal(pair.lq, read_image(lq / name).rgb)


@pytest.mark.parametrize(("flip", "rotate"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_both_pictures_are_varied_alike(flip: float, rotate: float) -> None:
    lq = noise(12, 12)
    pair = TrainingPair(lq, lq.repeat(4, 0).repeat(4, 1), "x")
    config = DataConfig(crop_px=32, flip_chance=flip, rotate_chance=rotate)
    seen = set()
    for seed in range(20):
        small, large = vary(pair.lq, pair.hq, config, Random(seed), scale=4)
        assert small.shape == (8, 8, 3)
        assert torch.equal(large, small.repeat_interleave(4, 0).repeat_interleave(4, 1))
        seen.add(small.numpy().tobytes())
    assert len(seen) > 5


def test_brightness_and_contrast_are_those_of_pillow() -> None:
    pixels = noise(32, 32)
    config = DataConfig(brightness_chance=1, contrast_chance=0, brightness=(0.8, 0.8))
    expected = np.asarray(ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(0.8)).astype(int)
    assert np.abs(jitter(pixels, config, Random(0)) - expected).max() <= 1
    config = DataConfig(brightness_chance=0, contrast_chance=1, contrast=(1.2, 1.2))
    expected = np.asarray(ImageEnhance.Contrast(Image.fromarray(pixels)).enhance(1.2)).astype(int)
    assert np.abs(jitter(pixels, config, Random(0)) - expected).max() <= 1
    config = DataConfig(brightness_chance=0, contrast_chance=0)
    assert jitter(pixels, config, Random(0)) is pixels


def test_zoom_keeps_the_size_and_factor_one_without_shift_is_nothing() -> None:
    pixels = noise(40, 32)
    still = DataConfig(zoom_chance=1, zoom=(1, 1), shift=0)
    assert np.array_equal(zoom(pixels, still, Random(0)), pixels)
    assert zoom(pixels, DataConfig(), Random(0)) is pixels
    strong = DataConfig(zoom_chance=1, zoom=(0.5, 2), shift=0.3)
    for seed in range(20):
        assert zoom(pixels, strong, Random(seed)).shape == pixels.shape


def test_whole_images_are_zoomed_as_ever() -> None:
    config = DataConfig(zoom_chance=1, zoom=(0.6, 0.6), shift=0)
    pixels = noise(40, 32)
    padded = np.pad(pixels, [(14, 14), (14, 14), (0, 0)], mode="symmetric")
    left, top = (14 + side / 2 * (1 - 1 / 0.6) for side in (32, 40))
    box = (left, top, left + 32 / 0.6, top + 40 / 0.6)
    expected = Image.fromarray(padded).resize((32, 40), Image.Resampling.BICUBIC, box=box)
    assert np.array_equal(zoom(pixels, config, Random(0)), np.asarray(expected))


def test_crops_are_cut_from_a_reduced_image_without_mirrored_borders() -> None:
    pixels = noise(60, 45)
    config = DataConfig(zoom_chance=1, zoom=(0.8, 0.8), shift=0.3, crop_px=32)
    expected = Image.fromarray(pixels).resize((36, 48), Image.Resampling.BICUBIC)
    assert np.array_equal(zoom(pixels, config, Random(0)), np.asarray(expected))
    for factor in (0.01, 0.7, 0.71):
        low = DataConfig(zoom_chance=1, zoom=(factor, factor), crop_px=32)
        assert zoom(pixels, low, Random(0)).shape == (43, 32, 3)
    larger = DataConfig(zoom_chance=1, zoom=(1.2, 1.2), crop_px=32)
    assert zoom(pixels, larger, Random(0)).shape == pixels.shape


def test_reduced_images_give_whole_crops(hq: Path) -> None:
    draws = make_draws(hq, zoom_chance=1.0, zoom=(0.3, 1.1), degradation=("photograph",))
    for batch in take(draws, 9):
        assert (batch.lq.shape, batch.hq.shape) == ((4, 4, 4, 3), (4, 16, 16, 3))


def test_a_broken_file_is_replaced_and_named(hq: Path) -> None:
    (hq / "3.png").write_bytes((hq / "3.png").read_bytes()[:900])
    found = take(make_draws(hq), 4)
    assert any("3.png" in message for batch in found for message in batch.failed)
    assert not any("3.png" in name for batch in found for name in batch.names)


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_readable_is_one_clear_error(hq: Path, workers: int) -> None:
    draws = make_draws(hq)
    for path in hq.iterdir():
        path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ImageError, match=r"8 images in a row could not be read, the last: .*\.png") as caught:
        take(draws, 1, workers=workers)
    assert not multiprocessing.active_children()  # though the traceback is still held
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="signals are those of POSIX")
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_workers_outlive_a_signal_to_all_processes(number: int, hq: Path) -> None:
    stream = batches(make_draws(hq), part=Slice(4), start=0, workers=1)
    next(stream)
    (worker,) = multiprocessing.active_children()
    assert worker.pid
    os.kill(worker.pid, number)
    for _ in range(8):  # more than were made ahead
        next(stream)
    assert multiprocessing.active_children() == [worker]
    stream.close()
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals are those of POSIX")
def test_workers_end_with_a_parent_that_was_killed(hq: Path) -> None:
    Image.fromarray(noise(512, 512)).save(hq / "0.png")  # more than a pipe holds
    code = (
        "import multiprocessing, sys, time; from pathlib import Path;"
        "from tests.data.test_batches import *;"
        "stream = batches(make_draws(Path(sys.argv[1])), part=Slice(4), start=0, workers=2); next(stream);"
        "print(*[worker.pid for worker in multiprocessing.active_children()], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(hq)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        time.sleep(1)  # until the queues are full
        parent.kill()
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    """Tell whether a process lives; one that has ended may wait for its parent to take note."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")
