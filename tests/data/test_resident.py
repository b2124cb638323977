"""Pairs made on the device are those of the CPU as far as a batch allows, and follow from their numbers."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from facesr.config.data import DataConfig
from facesr.data.augment import View, draw_zoom, jitter, zoom
from facesr.data.batches import Batch, Slice, batches
from facesr.data.dataset import PairDataset
from facesr.data.folders import list_training
from facesr.data.resident import CHUNK, ResidentImages, is_resident, jitter_each, resample
from facesr.errors import ConfigError, ImageError
from tests.conftest import noise

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)
STILL = {"flip_chance": 0.0, "brightness_chance": 0.0, "contrast_chance": 0.0}
MOVING = {"zoom_chance": 0.6, "zoom": (0.7, 1.2), "degradation": ("default=0.6", "photograph", "clean")}
Make = Callable[..., PairDataset]


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture
def make(hq: Path) -> Make:
    def draws(**options: object) -> PairDataset:
        config = DataConfig(train_hq=(hq,), **options).resolved()  # type: ignore[arg-type]
        return PairDataset(list_training(config), config, seed=3, scale=4)

    return draws


def take(
    draws: PairDataset, count: int, device: torch.device, *, start: int = 0, workers: int = 0
) -> list[Batch]:
    resident = ResidentImages(draws, device)
    stream = batches(draws, part=Slice(8), start=start, workers=workers, resident=resident)
    return list(islice(stream, count))


def same(left: list[Batch], right: list[Batch]) -> None:
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a.lq, b.lq)
        assert torch.equal(a.hq, b.hq)
        assert a.names == b.names


@pytest.mark.parametrize("ring", [{}, {"reuse": 3, "ring": 70}], ids=["fresh", "ring"])
@pytest.mark.parametrize("crop", [0, 16])
def test_batches_do_not_depend_on_workers_and_go_on_from_anywhere(
    make: Make, device: torch.device, ring: dict, crop: int
) -> None:
    draws = make(crop_px=crop, **MOVING, **ring)
    whole = take(draws, 12, device)
    side = crop or 32
    assert whole[0].hq.shape == (8, side, side, 3)
    assert whole[0].lq.shape == (8, side // 4, side // 4, 3)
    assert whole[0].hq.device.type == device.type
    for start in (1, 8, 11):  # the second chunk begins at the eighth step without a ring
        same(take(draws, 12 - start, device, start=start), whole[start:])
    same(take(draws, 12, device, workers=2), whole)
    assert CHUNK == 64


def test_images_are_chosen_and_degraded_as_on_the_cpu(make: Make, device: torch.device) -> None:
    draws = make(degradation=("clean",), **STILL)
    part = Slice(8)
    ordinary = list(islice(batches(draws, part=part, start=0, workers=0), 4))
    for one, other in zip(take(draws, 4, device), ordinary, strict=True):
        assert one.names == other.names
        assert torch.equal(one.hq.cpu(), other.hq)
        assert (one.lq.cpu().int() - other.lq.int()).abs().max() <= 1


def test_a_view_is_seen_as_pillow_sees_it(device: torch.device) -> None:
    pixels = np.asarray(Image.fromarray(noise(12, 16, seed=1)).resize((64, 48), Image.Resampling.BICUBIC))
    image = torch.tensor(pixels).permute(2, 0, 1)[None].float().to(device)
    for crop in (0, 32):
        config = DataConfig(zoom_chance=1.0, zoom=(0.7, 1.3), shift=0.1, crop_px=crop)
        for seed in range(10):
            expected = zoom(pixels, config, Random(seed))
            view = draw_zoom((48, 64), config, Random(seed))
            assert view is not None
            found = resample(image, torch.tensor([view.box], device=device), view.size)[0].permute(1, 2, 0)
            difference = (found.cpu().clamp(0, 255) - torch.tensor(expected)).abs()
            assert float(difference.max()) < 2.5  # Pillow rounds between the two passes
            assert float(difference.mean()) < 0.5


def test_a_part_of_whole_pixels_is_cut_out_as_it_is() -> None:
    image = torch.tensor(noise(24, 32)).permute(2, 0, 1)[None].float()
    view = View.whole((24, 32)).crop(16, Random(5))
    left, top = (int(view.box[index]) for index in (0, 1))
    found = resample(image, torch.tensor([view.box], dtype=torch.float32), view.size)
    assert torch.equal(found, image[..., top : top + 16, left : left + 16])


def test_brightness_and_contrast_change_as_on_the_cpu(device: torch.device) -> None:
    config = DataConfig(brightness_chance=1.0, contrast_chance=1.0)
    pixels = [noise(16, 16, seed=seed) for seed in range(4)]
    factors = []
    for seed in range(4):
        random = Random(seed)
        random.random()
        brightness = random.uniform(*config.brightness)
        random.random()
        factors.append((brightness, random.uniform(*config.contrast)))
    levels = torch.tensor(np.stack(pixels)).permute(0, 3, 1, 2).float().to(device)
    found = jitter_each(levels, factors).permute(0, 2, 3, 1).cpu()
    for seed, one in enumerate(found):
        assert (one - torch.tensor(jitter(pixels[seed], config, Random(seed)))).abs().max() <= 1


def test_a_damaged_image_is_replaced_and_named(make: Make, tmp_path: Path) -> None:
    draws = make()
    damaged = tmp_path / "hq" / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    first, *others = take(draws, 3, torch.device("cpu"))
    assert len(first.failed) == 1
    assert "2.png" in first.failed[0]
    assert not any(batch.failed for batch in others)
    for path in (tmp_path / "hq").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ImageError, match="none of 6 images could be read"):
        ResidentImages(draws, torch.device("cpu"))


def test_only_cuda_is_chosen_by_itself_and_given_pairs_are_refused(make: Make, tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    assert not is_resident(make().config, make().folders, cpu)
    assert is_resident(make(resident="yes").config, make().folders, cpu)
    with pytest.raises(ConfigError, match=r"`data\.resident`"):
        DataConfig(train_hq=(tmp_path,), train_lq=(tmp_path,), resident="yes")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_takes_what_fits_by_itself(make: Make) -> None:
    assert is_resident(make().config, make().folders, torch.device("cuda"))
