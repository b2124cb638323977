"""Operators equal the reference vectors; noise has the statistics that it claims."""

import io
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from skimage import data
from torch import Tensor

from facesr.degradation.jpeg import CHROMA_TABLE, LUMA_TABLE, jpeg
from facesr.degradation.kernels import filter2d, gaussian_kernel, sinc_kernel, usm_sharpen
from facesr.degradation.noise import add_gaussian_noise, add_poisson_noise
from facesr.degradation.steps import STEPS, Sizes

VECTORS = Path(__file__).parents[1] / "vectors"
TENSORS = load_file(VECTORS / "operators.safetensors")
KERNELS = json.loads((VECTORS / "index.json").read_text())["kernels"]


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("entry", KERNELS, ids=lambda entry: entry["name"])
def test_kernels(entry: dict) -> None:
    size = entry["size"]
    if entry["family"] == "sinc":
        kernel = sinc_kernel(size=size, cutoff=entry["cutoff"])
        kernel = F.pad(kernel, ((entry["pad_to"] - size) // 2,) * 4)
    else:
        sigma = (entry["sig_x"], entry["sig_y"])
        kernel = gaussian_kernel(
            entry["family"], size=size, sigma=sigma, angle=entry["theta"], beta=entry.get("beta", 1.0)
        )
    close(kernel, TENSORS[entry["name"]].float(), 1e-6)


def test_filtering() -> None:
    pairs = zip(TENSORS["image"].split(1), TENSORS["filter2d.kernels"], strict=True)
    close(torch.cat([filter2d(image, kernel) for image, kernel in pairs]), TENSORS["filter2d.output"], 1e-5)


def direct(image: Tensor, kernel: Tensor) -> Tensor:
    """Filter by sums over pixels, borders reflected by NumPy, which takes any radius."""
    radius = kernel.shape[0] // 2
    padded = np.pad(image[0].numpy(), [(0, 0), (radius, radius), (radius, radius)], mode="reflect")
    return F.conv2d(torch.tensor(padded)[:, None], kernel[None, None])[None, :, 0]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 40), (33, 64), (97, 101)])
def test_filtering_works_at_any_size(size: tuple[int, int]) -> None:
    kernel = torch.rand(21, 21)
    image = torch.rand(1, 3, *size)
    close(filter2d(image, kernel / kernel.sum()), direct(image, kernel / kernel.sum()), 1e-5)


def unsharp_masks(images: Tensor) -> list[Tensor]:
    """Sharpen in float64 by the definition, either way where rounding decides what is above the threshold."""
    x = torch.arange(-25, 26, dtype=torch.float64)
    line = torch.exp(-(x**2) / (2 * 8**2)) / torch.exp(-(x**2) / (2 * 8**2)).sum()

    def blur(planes: Tensor) -> Tensor:
        rows = F.pad(planes, (25, 25, 25, 25), mode="reflect").flatten(0, 1)[:, None]
        return F.conv2d(F.conv2d(rows, line.view(1, 1, 1, 51)), line.view(1, 1, 51, 1)).view_as(planes)

    images = images.double()
    residual = images - blur(images)
    above = residual.abs() * 255 - 10
    undecided = (above.abs() < 1e-4).nonzero().tolist()
    assert len(undecided) == 2
    results = []
    for choice in itertools.product((0.0, 1.0), repeat=len(undecided)):
        mask = (above > 0).double()
        for place, value in zip(undecided, choice, strict=True):
            mask[tuple(place)] = value
        soft = blur(mask)
        results.append(soft * (images + 0.5 * residual).clamp(0, 1) + (1 - soft) * images)
    return results


def test_unsharp_mask() -> None:
    results = unsharp_masks(TENSORS["usm.input"])
    for found in (TENSORS["usm.output"], usm_sharpen(TENSORS["usm.input"])):
        assert min(float((found - result).abs().max()) for result in results) < 1e-5


@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic"])
@pytest.mark.parametrize("scale", [0.37, 1.3])
def test_resizing(mode: str, scale: float) -> None:
    params = {"scale": scale, "of": "current", "mode": mode}
    found = STEPS["resize"].apply(TENSORS["usm.input"], [params], Sizes((128, 160), (32, 40)))
    close(found, TENSORS[f"resize.{mode}.x{scale}"], 1e-5)


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
def test_jpeg(quality: int) -> None:
    close(jpeg(TENSORS["image"], quality=quality), TENSORS[f"jpeg.q{quality}"], 1e-3)


def test_jpeg_with_a_quality_for_each_sample() -> None:
    pairs = zip(TENSORS["image"].split(1), (40, 90), strict=True)
    found = torch.cat([jpeg(image, quality=quality) for image, quality in pairs])
    close(found, TENSORS["jpeg.per_sample_40_90"], 1e-3)


def libjpeg(photo: np.ndarray, **options: Any) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", subsampling="4:2:0", **options)
    with Image.open(stream) as image:
        return np.asarray(image).astype(float)


@pytest.mark.parametrize("quality", [50, 60, 70, 80, 90, 95])
def test_jpeg_is_near_that_of_libjpeg(quality: int) -> None:
    # Enlarged, so that neither grain nor edges one pixel wide set the figure.
    head = Image.fromarray(data.astronaut()).crop((96, 0, 352, 256)).resize((512, 512), Image.BICUBIC)
    photo = np.asarray(head)
    ours = jpeg(torch.tensor(photo).permute(2, 0, 1)[None] / 255, quality=quality)
    ours = ours[0].permute(1, 2, 0).numpy() * 255
    # What is left with equal tables: libjpeg rounds its tables and interpolates its chroma.
    factor = (200 - 2 * quality) / 100
    tables = [
        (table * factor).round().clamp(1, 255).int().flatten().tolist()
        for table in (LUMA_TABLE, CHROMA_TABLE)
    ]
    assert np.abs(ours - libjpeg(photo, qtables=tables)).mean() < 1.25
    # libjpeg's own luma table is the transpose of the reference's.
    assert np.abs(ours - libjpeg(photo, quality=quality)).mean() < 1.5


def test_jpeg_of_quality_100_keeps_the_luma() -> None:
    image = TENSORS["image"].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    close(jpeg(image, quality=100), image, 1e-3)


PIXELS = 600


@pytest.mark.parametrize("sigma", [2.0, 15.0])
def test_gaussian_noise_has_its_mean_and_deviation(sigma: float) -> None:
    flat = torch.full((1, 3, PIXELS, PIXELS), 0.5)
    generator = torch.Generator().manual_seed(1)
    noise = (add_gaussian_noise(flat, sigma=sigma, grey=False, generator=generator) - flat) * 255
    count = noise.numel()
    assert abs(noise.mean()) < 4 * sigma / math.sqrt(count)
    assert noise.std().item() == pytest.approx(sigma, rel=4 / math.sqrt(2 * count))
    correlation = np.corrcoef(noise[0].flatten(1).numpy())
    assert np.abs(correlation - np.eye(3)).max() < 5 / math.sqrt(count / 3)
    neighbours = np.corrcoef(noise[..., 1:].flatten(), noise[..., :-1].flatten())[0, 1]
    assert abs(neighbours) < 5 / math.sqrt(count)


@pytest.mark.parametrize("level", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_poisson_noise_has_a_variance_proportional_to_intensity(level: float, scale: float) -> None:
    # 200 distinct levels make 256 photons at white; the flat part is what is measured.
    image = torch.full((1, 3, PIXELS, PIXELS), round(level * 255) / 255)
    image[0, :, 0, :200] = torch.arange(200) / 255
    generator = torch.Generator().manual_seed(2)
    noise = (add_poisson_noise(image, scale=scale, grey=False, generator=generator) - image)[..., 1:, :]
    exact = round(level * 255) / 255
    deviation = scale * math.sqrt(exact / 256)
    count = noise.numel()
    assert abs(noise.mean()) < 4 * deviation / math.sqrt(count)
    assert noise.var().item() == pytest.approx(deviation**2, rel=6 * math.sqrt(2 / count))
    assert noise.unique().numel() < 256  # counts are whole


@pytest.mark.parametrize(
    ("distinct", "photons"), [(1, 1), (2, 2), (3, 4), (128, 128), (129, 256), (256, 256)]
)
def test_poisson_counts_follow_the_number_of_levels(distinct: int, photons: int) -> None:
    image = (torch.arange(256 * 256) % distinct).view(1, 1, 256, 256).expand(1, 3, 256, 256) / 255
    generator = torch.Generator().manual_seed(3)
    noisy = add_poisson_noise(image, scale=1.0, grey=False, generator=generator)
    counts = noisy[noisy < 1] * photons
    assert torch.allclose(counts, counts.round(), atol=1e-3)
    if photons > 1 and distinct > 2:
        assert not torch.allclose(counts / 2, (counts / 2).round(), atol=1e-3)


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_grey_noise_is_the_same_in_all_channels(kind: str) -> None:
    image = torch.rand(1, 3, 64, 64) * 0.2 + 0.4
    generator = torch.Generator().manual_seed(4)
    if kind == "gaussian":
        noise = add_gaussian_noise(image, sigma=5, grey=True, generator=generator) - image
    else:
        noise = add_poisson_noise(image, scale=0.5, grey=True, generator=generator) - image
    close(noise[:, 0], noise[:, 1], 1e-6)
    close(noise[:, 0], noise[:, 2], 1e-6)
    assert noise.std() > 0.01


def test_noise_is_clipped() -> None:
    image = torch.cat([torch.zeros(1, 3, 32, 16), torch.ones(1, 3, 32, 16)], -1)
    generator = torch.Generator().manual_seed(5)
    noisy = add_gaussian_noise(image, sigma=30, grey=False, generator=generator)
    assert (float(noisy.min()), float(noisy.max())) == (0.0, 1.0)
