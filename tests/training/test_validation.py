"""Scores of a validation are those of each image alone, however many are computed together."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facesr.data.pairs import PairSet
from facesr.data.reading import read_pair
from facesr.errors import ConfigError
from facesr.images.image import Array
from facesr.metrics import METRICS, measure, measure_batch
from facesr.models import build_network
from facesr.training.validation import Validator, _of_one_size, mean_scores, restore
from tests.conftest import TINY, noise
from tests.inference.short_memory import fail_above

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)
# All but those with weights from elsewhere, and one whose weights the tests make.
METRICS_AT_HAND = {*METRICS} - {"lpips", "identity", "stlpips_vgg"}


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_batch_scores_as_its_images_on_any_device(device: str, stlpips_weights: Path) -> None:
    result, hq = (
        np.stack([noise(192, 208, seed=seed) for seed in seeds]) for seeds in ((1, 2, 3), (4, 2, 6))
    )
    options: Any = {"names": METRICS_AT_HAND, "weights": stlpips_weights}
    found = measure_batch(
        *(torch.from_numpy(one).permute(0, 3, 1, 2).to(device) for one in (result, hq)), **options
    )
    for row, one, other in zip(found, result, hq, strict=True):
        assert not any(map(math.isnan, row.values()))
        assert row == pytest.approx(measure(one, other, **options), rel=1e-3, abs=1e-6)


def test_neighbours_of_one_size_are_grouped_in_order() -> None:
    sizes = [8, 8, 8, 4, 8, 8]
    pairs = [(noise(size, size, seed=index), noise(4 * size, 4 * size)) for index, size in enumerate(sizes)]
    groups = list(_of_one_size(pairs, 2))
    assert [len(group) for group in groups] == [2, 1, 1, 2]
    flat: list[tuple[Array, Array]] = [pair for group in groups for pair in group]
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(flat, pairs, strict=True))


def test_a_figure_that_ranks_nothing_is_refused() -> None:
    for name in ("grid_4", "detail_fine"):
        with pytest.raises(ConfigError, match=f"`best_by` is {name}, of which neither"):
            Validator.prepare([], best_by=name)
    assert Validator.prepare([], best_by="spectrum_mid").metrics == ("psnr", "ssim", "spectrum_mid")


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_validation_is_the_mean_of_its_images_on_any_device(device: str, tmp_path: Path) -> None:
    paths = []
    for index, side in enumerate([16, 16, 12, 16]):
        Image.fromarray(noise(4 * side, 4 * side, seed=index)).save(tmp_path / f"hq{index}.png")
        Image.fromarray(noise(side, side, seed=index)).save(tmp_path / f"lq{index}.png")
        paths.append((tmp_path / f"lq{index}.png", tmp_path / f"hq{index}.png"))
    lq, hq = zip(*paths, strict=True)
    pairs = PairSet("val", ("0", "1", "2", "3"), lq, hq, scale=4)
    network = build_network("msrresnet", TINY).to(device)
    found = Validator.prepare([pairs]).score(network, torch.device(device))["val"]
    cpu = torch.device("cpu")
    images = [read_pair(pairs, index) for index in range(4)]
    alone = [measure(restore(network.to(cpu), lq, cpu), hq) for lq, hq in images]
    assert found == pytest.approx(mean_scores(alone), rel=1e-3 if device == "cuda" else 1e-9)


def test_a_validation_for_which_memory_is_short_computes_smaller_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, side in (("lq", 64), ("hq", 256)):
        Image.fromarray(noise(side, side)).save(tmp_path / f"{name}.png")
    pairs = PairSet("val", ("0",), (tmp_path / "lq.png",), (tmp_path / "hq.png",), scale=4)
    network, cpu = build_network("msrresnet", TINY), torch.device("cpu")
    validator = Validator.prepare([pairs])
    expected = validator.score(network, cpu)["val"]
    shapes = fail_above(50 * 50, monkeypatch)
    assert validator.score(network, cpu)["val"] == pytest.approx(expected, rel=1e-6)
    assert len(shapes) > 1
