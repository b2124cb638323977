"""LPIPS: its wiring, with random weights in place of the package."""

import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from facesr.errors import ConfigError, FacesrError, MissingExtra
from facesr.metrics import perceptual


class RandomLpips(nn.Module):
    """Behaves like `lpips.LPIPS`: (B, 3, H, W) in [-1, 1] to (B, 1, 1, 1), of AlexNet's sizes."""

    seen: list[Tensor]

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        assert (net, verbose) == ("alex", False)
        torch.manual_seed(0)
        first = nn.Conv2d(3, 4, 11, stride=4, padding=2)
        self.features = nn.Sequential(first, nn.MaxPool2d(3, 2), nn.MaxPool2d(3, 2))
        self.seen = []

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        self.seen += [a, b]
        return (self.features(a) - self.features(b)).square().mean((1, 2, 3), keepdim=True)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    perceptual._network.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, network: object) -> None:
    module = types.ModuleType("lpips")
    module.LPIPS = network  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", module)


def test_pictures_reach_the_network_scaled_and_cropped(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, RandomLpips)
    a, b = (torch.randint(0, 256, (3, 3, 40, 44), dtype=torch.uint8) for _ in range(2))
    distances = perceptual.lpips(a, b, crop=4)
    assert distances.shape == (3,)
    assert distances.dtype == torch.float64
    assert (distances > 0).all()
    seen = perceptual._network().seen[0]
    assert seen.shape == (3, 3, 32, 36)
    torch.testing.assert_close(seen, a[..., 4:-4, 4:-4].float() / 127.5 - 1)
    torch.testing.assert_close(perceptual.lpips(a / 255, b / 255, crop=4), distances, atol=1e-6, rtol=1e-4)
    assert perceptual.lpips(a, a).tolist() == [0, 0, 0]


def test_an_image_too_small_for_the_network_has_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, RandomLpips)
    images = torch.rand(2, 3, 40, 51)
    assert perceptual.lpips(images[..., 1:, :], images[..., 1:, :], crop=4).tolist() == [0, 0]
    for crop in (5, 30):
        assert torch.isnan(perceptual.lpips(images, images, crop=crop)).tolist() == [True, True]


def test_threads_that_come_at_once_load_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    class Slow(RandomLpips):
        def __init__(self, net: str, verbose: bool) -> None:
            loads.append(net)
            time.sleep(0.1)
            super().__init__(net, verbose)

    install(monkeypatch, Slow)
    images = torch.rand(1, 3, 32, 32)
    with ThreadPoolExecutor(max_workers=4) as executor:
        list(executor.map(lambda _: perceptual.lpips(images, images), range(4)))
    assert len(loads) == 1


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(1, 3, 32, 32)
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(MissingExtra, match="the extra `metrics`"):
        perceptual.lpips(images, images)

    def offline(**_: object) -> None:
        raise OSError("no network")

    install(monkeypatch, offline)
    with pytest.raises(FacesrError, match="cannot load its AlexNet backbone"):
        perceptual.lpips(images, images)
    with pytest.raises(ConfigError, match="no luma version"):
        perceptual.lpips(images, images, y_channel=True)
