"""Spectrum, grid and NIQE: known signals give known figures."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from facesr.metrics import METRICS, measure
from facesr.metrics.naturalness import niqe
from facesr.metrics.sharpness import detail, grid, spectrum_gap


def white(deviation: float, *, seed: int = 0, side: int = 512) -> torch.Tensor:
    values = np.random.default_rng(seed).normal(128, deviation, (side, side))
    grey = torch.from_numpy(values.round().clip(0, 255).astype(np.uint8))
    return grey.expand(1, 3, side, side)


def photograph() -> torch.Tensor:
    return torch.from_numpy(astronaut().copy()).permute(2, 0, 1)[None]


def with_lattice(images: torch.Tensor, period: int, amplitude: int = 12) -> torch.Tensor:
    out = images.int()
    out[..., ::period, ::period] += amplitude
    return out.clamp(0, 255).byte()


@pytest.mark.parametrize("band", ["mid", "fine"])
@pytest.mark.parametrize("side", [192, 300, 512])
def test_white_noise_has_the_level_of_its_variance(band: str, side: int) -> None:
    expected = 10 * np.log10(8**2 + 1 / 12)  # rounding adds a twelfth
    assert float(detail(white(8, side=side), band=band)) == pytest.approx(expected, abs=0.15)


def test_the_gap_is_the_ratio_of_powers_and_turns_its_sign() -> None:
    images = photograph()
    half = (images.double() / 255 - 0.5) / 2 + 0.5
    for band in ("mid", "fine"):
        gap = float(spectrum_gap(half, images, band=band))
        assert gap == pytest.approx(20 * np.log10(0.5), abs=0.1)
        assert float(spectrum_gap(images, half, band=band)) == pytest.approx(-gap)
        assert float(spectrum_gap(images, images, band=band)) == 0


@pytest.mark.parametrize(("cycles", "raised"), [(128, "mid"), (200, "fine")])
def test_a_wave_raises_its_own_band_only(cycles: int, raised: str) -> None:
    noise = white(4)
    wave = 20 * torch.cos(2 * torch.pi * cycles * torch.arange(512) / 512)
    images = (noise + wave).round().clamp(0, 255).byte()
    for band in ("mid", "fine"):
        gap = float(spectrum_gap(images, noise, band=band))
        assert (gap > 0.2) == (band == raised)


@pytest.mark.parametrize("period", [4, 8, 16])
def test_a_lattice_raises_its_own_period_and_no_larger_one(period: int) -> None:
    images = photograph()
    before, after = (
        {p: float(grid(one, period=p)) for p in (4, 8, 16)} for one in (images, with_lattice(images, period))
    )
    assert after[period] > before[period] + 3
    for other in (4, 8, 16):
        if other > period:
            assert after[other] == pytest.approx(before[other], abs=0.5)


def test_opposite_frequencies_count_once() -> None:
    # The diagonal wave is one of the nine lines of a lattice of 4 px, and its opposite is the same line.
    noise, (y, x) = white(4), torch.meshgrid(torch.arange(512), torch.arange(512), indexing="ij")
    lines = []
    for amplitude in (20, 40):
        wave = amplitude * torch.cos(2 * torch.pi * (x + y) / 4 + 0.5)
        lines.append(float(grid((noise + wave).round().clamp(0, 255).byte(), period=4)))
    assert lines[1] - lines[0] == pytest.approx(20 * np.log10(2) / 9, abs=0.05)


@pytest.mark.parametrize("period", [4, 8, 16])
def test_noise_without_a_lattice_has_about_3_db(period: int) -> None:
    # The largest of nine correlated exponential values exceeds their mean by some dB; a lattice by far more.
    values = [float(grid(white(8, seed=seed), period=period)) for seed in range(4)]
    assert 2 < np.mean(values) < 5


def bicubic_again() -> np.ndarray:
    small = Image.fromarray(astronaut()).resize((128, 128), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((512, 512), Image.Resampling.BICUBIC))


def noisy() -> np.ndarray:
    grain = np.random.default_rng(0).normal(0, 8, (300, 300, 3))
    return (astronaut()[:300, :300] + grain).round().clip(0, 255).astype(np.uint8)


# Values of the code of scikit-video 1.1.11 for the rounded luma, with the mean of products multiplied by the
# ratio that stands there in a comment. With it, the features are those of its pristine model.
@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (astronaut(), 3.4422),
        (astronaut()[:203, 150:450], 4.5596),
        (bicubic_again(), 8.8285),
        (noisy(), 7.0989),
    ],
    ids=["photograph", "crop", "bicubic", "noisy"],
)
def test_niqe_equals_scikit_video(pixels: np.ndarray, expected: float) -> None:
    images = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    assert float(niqe(images)) == pytest.approx(expected, abs=0.01)


def test_niqe_gets_worse_with_noise_and_blur() -> None:
    images = photograph()
    noisy = (images + 4 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255)
    small = torch.nn.functional.avg_pool2d(images.float(), 4)
    blurred = torch.nn.functional.interpolate(small, scale_factor=4, mode="bicubic").clamp(0, 255)
    good, *bad = (float(niqe(one.round().byte())) for one in (images, noisy, blurred))
    assert 1 < good < 6
    assert all(value > good + 0.5 for value in bad)


NAMES = ("niqe", "spectrum_mid", "spectrum_fine", "detail_mid", "detail_fine", "grid_4", "grid_8", "grid_16")


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_equals_the_loop_and_small_images_have_no_value(name: str) -> None:
    images = torch.cat([photograph()[..., :200, :220], white(9)[..., :200, :220]])
    metric = METRICS[name]
    both = (images,) if metric.kind == "no-reference" else (images, images.flip(0))
    together = metric.function(*both, crop=2, y_channel=False)
    alone = [metric.function(*(one[i : i + 1] for one in both), crop=2, y_channel=False) for i in range(2)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-9, rtol=0)
    assert together.dtype == torch.float64
    assert torch.isfinite(together).all()
    assert torch.isnan(metric.function(*both, crop=5, y_channel=False)).all()


def test_grey_levels_of_a_flat_image_do_not_stop_an_evaluation() -> None:
    flat = np.full((192, 192, 3), 90, np.uint8)
    scores = measure(flat, flat, names=NAMES)
    assert scores.keys() == set(NAMES)
    assert (scores["spectrum_mid"], scores["spectrum_fine"]) == (0, 0)
    assert scores["detail_mid"] == -math.inf
    assert math.isnan(scores["grid_8"])
    assert "not flat" in METRICS["grid_8"].missing
