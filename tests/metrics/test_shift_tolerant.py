"""ST-LPIPS: the wiring with random weights, and the published weights where they are installed."""

import sys
from contextlib import nullcontext
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage.data import astronaut
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from facesr.errors import ConfigError, MissingExtra, WeightsError
from facesr.metrics import data_files, stlpips
from facesr.metrics.shift_tolerant import Trunk, find_stlpips


@pytest.fixture
def weights(stlpips_weights: Path) -> Path:
    return stlpips_weights


def pictures() -> tuple[Tensor, Tensor]:
    sharp = torch.from_numpy(astronaut()[64:192, 160:288].copy()).permute(2, 0, 1)[None] / 255
    small = torch.nn.functional.avg_pool2d(sharp, 4)
    return torch.nn.functional.interpolate(small, scale_factor=4, mode="bicubic").clamp(0, 1), sharp


def test_bytes_and_floats_crops_and_batches_agree(weights: Path) -> None:
    a, b = pictures()
    value = stlpips(a, b, weights=weights)
    assert value.shape == (1,)
    assert float(value) > 0
    assert float(stlpips(b, b, weights=weights)) == 0
    as_bytes = [(one * 255).round().byte() for one in (a, b)]
    torch.testing.assert_close(stlpips(*as_bytes, weights=weights), value, rtol=1e-2, atol=0)
    padded = [torch.nn.functional.pad(one, (3, 3, 3, 3)) for one in (a, b)]
    torch.testing.assert_close(stlpips(*padded, crop=3, weights=weights), value)
    both = stlpips(torch.cat([a, b]), torch.cat([b, b]), weights=weights)
    torch.testing.assert_close(both, torch.tensor([float(value), 0.0]))
    assert torch.isnan(stlpips(a, b, crop=33, weights=weights)).all()


def test_what_a_folder_lacks_comes_from_the_package(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = tmp_path / "package" / "__init__.py"
    installed = tmp_path / "package" / "weights" / "vST0.0" / "vgg_shift_tolerant.pth"
    installed.parent.mkdir(parents=True)
    installed.touch()
    monkeypatch.setattr(data_files, "find_spec", lambda name: ModuleSpec(name, None, origin=str(origin)))
    assert find_stlpips("vgg", weights) == find_stlpips("vgg") == installed
    assert find_stlpips("alex", weights) == weights / "stlpips_alex.safetensors"


def test_steps_along_its_gradient_lower_it(weights: Path) -> None:
    a, b = pictures()
    image = a.clone().requires_grad_()
    optimiser = torch.optim.Adam([image], lr=0.003)
    values = []
    for _ in range(4):
        loss = stlpips(image, b, weights=weights).mean()
        optimiser.zero_grad()
        loss.backward()
        assert image.grad is not None
        assert torch.isfinite(image.grad).all()
        values.append(loss.item())
        optimiser.step()
    assert values[-1] < 0.95 * values[0]


class OnCuda(TorchDispatchMode):
    """Refuses what CUDA has no deterministic gradient of."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "reflection_pad" not in function.name()
        return function(*args, **(kwargs or {}))


def test_a_deterministic_run_has_the_same_distance_and_gradient_and_may_be_on_cuda(weights: Path) -> None:
    a, b = pictures()
    found = []
    for deterministic in (False, True):
        image = a[..., :65, :79].clone().requires_grad_()
        torch.use_deterministic_algorithms(deterministic)
        try:
            with OnCuda() if deterministic else nullcontext():
                distance = stlpips(image, b[..., :65, :79], weights=weights)
                found.append((distance.detach(), *torch.autograd.grad(distance.sum(), image)))
        finally:
            torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(found[1], found[0])


def test_the_gradient_is_finite_where_both_are_flat(weights: Path) -> None:
    image = torch.full((1, 3, 128, 128), 0.1).requires_grad_()
    stlpips(image, torch.zeros_like(image), weights=weights).sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()


def test_what_is_missing_or_damaged_is_reported(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pictures()
    monkeypatch.setattr(data_files, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"no stlpips_vgg.safetensors or vgg_shift_tolerant.pth in"):
        stlpips(a, b, trunk="vgg", weights=weights)
    with pytest.raises(ConfigError, match="no luma version"):
        stlpips(a, b, y_channel=True, weights=weights)
    with pytest.raises(MissingExtra, match="the extra `metrics`"):
        stlpips(a, b)
    path = weights / "stlpips_alex.safetensors"
    tensors = load_file(path)
    del tensors["net.slice4.11.weight"]
    (weights / "less").mkdir()
    save_file(tensors, weights / "less" / path.name)
    with pytest.raises(WeightsError, match=r"lacks net.slice4.11.weight"):
        stlpips(a, b, weights=weights / "less")
    (weights / "bad").mkdir()
    (weights / "bad" / path.name).write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cannot be read"):
        stlpips(a, b, weights=weights / "bad")


# Values of the package's own code for scikit-image's astronaut.
EXPECTED = {
    "alex": {"reduced": 0.302333, "shifted": 0.004134, "darker": 0.051886},
    "vgg": {"reduced": 0.359122, "shifted": 0.015910, "darker": 0.038025},
}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("stlpips_pytorch") is None, reason="needs the extra `metrics`")
@pytest.mark.parametrize("trunk", ["alex", "vgg"])
def test_the_values_of_the_package(trunk: Trunk) -> None:
    pixels = astronaut()
    image = Image.fromarray(pixels)
    small = image.resize((128, 128), Image.Resampling.BICUBIC)
    changed = {
        "reduced": np.asarray(small.resize((512, 512), Image.Resampling.BICUBIC)) / 255,
        "shifted": np.roll(pixels, 1, axis=1) / 255,
        "darker": pixels / 255 * 0.8,
    }
    target = torch.from_numpy(pixels / 255).permute(2, 0, 1)[None]
    with torch.inference_mode():
        for name, values in changed.items():
            found = stlpips(torch.from_numpy(values).permute(2, 0, 1)[None], target, trunk=trunk)
            assert float(found) == pytest.approx(EXPECTED[trunk][name], abs=1e-4)
    assert "stlpips_pytorch" not in sys.modules
