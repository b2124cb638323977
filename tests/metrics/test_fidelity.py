"""PSNR and SSIM equal the reference vectors, plain NumPy, and scikit-image."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from skimage.metrics import structural_similarity

from facesr.metrics import METRICS
from facesr.metrics.fidelity import psnr, ssim

VECTORS = Path(__file__).parents[1] / "vectors"
TENSORS = load_file(VECTORS / "operators.safetensors")
ENTRIES = json.loads((VECTORS / "index.json").read_text())["metrics"]


def batch(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.permute(2, 0, 1)[None]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e['name']}-{e['crop_border']}-{e['y_channel']}")
def test_the_reference_vectors(entry: dict) -> None:
    prediction, target = batch(TENSORS[f"metric.{entry['name']}"]), batch(TENSORS["metric.target"])
    options = {"crop": entry["crop_border"], "y_channel": entry["y_channel"]}
    assert float(psnr(prediction, target, **options)) == pytest.approx(entry["psnr"], abs=1e-6)
    assert float(ssim(prediction, target, **options)) == pytest.approx(entry["ssim"], abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(16, 40), st.integers(16, 40), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_against_numpy_and_scikit_image(seed: int, height: int, width: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    noisy = np.clip(target + rng.integers(-spread, spread + 1, target.shape), 0, 255).astype(np.uint8)
    a, b = batch(torch.tensor(noisy)), batch(torch.tensor(target))
    mse = np.mean((noisy.astype(float) - target) ** 2)
    if mse:
        assert float(psnr(a, b)) == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-6)
    _, full = structural_similarity(
        noisy, target, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2,
        data_range=255, full=True,
    )  # fmt: skip
    assert float(ssim(a, b)) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-6)


def images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 24, 20, generator=generator)


@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_a_batch_equals_the_loop(name: str) -> None:
    a, b = images(3), images(4)[1:]
    function = METRICS[name].function
    loop = torch.cat([function(a[i : i + 1], b[i : i + 1]) for i in range(3)])
    assert torch.allclose(function(a, b), loop, atol=1e-12, rtol=0)
    assert function(a, b).dtype == torch.float64


@pytest.mark.parametrize(("name", "ideal"), [("psnr", torch.inf), ("ssim", 1.0)])
def test_identical_images_give_the_ideal_value(name: str, ideal: float) -> None:
    assert METRICS[name].function(images(2), images(2)).tolist() == [ideal, ideal]


def test_floats_are_clamped_and_rounded_to_8_bits() -> None:
    target = torch.zeros(1, 3, 12, 12)
    assert float(psnr(target - 5, target)) == torch.inf
    assert float(psnr(target + 0.4 / 255, target)) == torch.inf
    assert float(psnr(target + 0.6 / 255, target)) == pytest.approx(10 * np.log10(255**2))


def test_ssim_below_its_window_is_not_a_number() -> None:
    assert torch.isnan(ssim(torch.rand(2, 3, 10, 40), torch.rand(2, 3, 10, 40))).all()
