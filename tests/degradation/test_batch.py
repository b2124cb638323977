"""A batch is degraded as each of its images would be alone, on any device."""

import pytest
import torch
import torch.nn.functional as F

from facesr.config.steps import PRESETS, degradation_preset
from facesr.degradation import jpeg as jpeg_module
from facesr.degradation import noise as noise_module
from facesr.degradation import steps as steps_module
from facesr.degradation.degrader import apply, apply_together, draw, draw_together
from facesr.degradation.noise import add_gaussian_noise, add_poisson_noise
from facesr.degradation.steps import STEPS
from tests.conftest import noise as picture

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)
COUNT = 6


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave noise out, which is drawn for a batch otherwise than for one image."""
    monkeypatch.setitem(STEPS, "noise", steps_module.Step(STEPS["noise"].draw, lambda images, *_: images))


def images(count: int = COUNT) -> torch.Tensor:
    smooth = torch.stack([torch.tensor(picture(12, 16, seed=seed)) for seed in range(count)])
    large = F.interpolate(smooth.permute(0, 3, 1, 2).float(), scale_factor=8, mode="bicubic")
    return large.round().clamp(0, 255) / 255


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("preset", PRESETS)
def test_a_batch_and_its_images_one_by_one_agree_within_a_level(preset: str, device: torch.device) -> None:
    batch = images()
    for first in range(0, 30, COUNT):
        plan = draw_together(degradation_preset(preset), range(first, first + COUNT))
        found = apply_together(batch.to(device), plan).cpu()
        for index, image in enumerate(batch.split(1)):
            alone = apply(image, [each[index] for each in plan if index in each])
            difference = (found[index] - alone[0]).abs() * 255
            # Now and then a JPEG coefficient falls on the other side of a half.
            assert float((difference > 1.01).float().mean()) < 0.01
            assert float(difference.mean()) < 0.05


@pytest.mark.parametrize("preset", PRESETS)
def test_images_of_a_batch_share_sizes_and_order_and_nothing_else(preset: str) -> None:
    config = degradation_preset(preset)
    alone = [{params["step"]: params for params in draw(config, seed)} for seed in range(20)]
    plan = draw_together(config, range(20))
    names = [next(iter(each.values()))["step"] for each in plan]
    assert [name for name in names if name in alone[0]] == list(alone[0])
    for name, each in zip(names, plan, strict=True):
        shared = STEPS[config.steps[name].kind].changes_size
        expected = {i: (alone[0] if shared else one).get(name) for i, one in enumerate(alone)}
        assert each == {i: params for i, params in expected.items() if params is not None}


def test_a_batch_of_one_is_what_its_image_is_alone() -> None:
    for preset in PRESETS:
        plan = draw_together(degradation_preset(preset), [5])
        image = images(1)
        assert torch.equal(apply_together(image, plan), apply(image, draw(degradation_preset(preset), 5)))


@pytest.mark.parametrize("grey", [False, True])
def test_noise_has_a_strength_for_each_image(grey: bool) -> None:
    batch, strength = images(3), torch.tensor([0.0, 5.0, 20.0])
    for add, name in ((add_gaussian_noise, "sigma"), (add_poisson_noise, "scale")):
        together, alone = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
        found = add(batch, **{name: strength}, grey=grey, generator=together)
        for image, value, one in zip(batch.split(1), strength.tolist(), found.split(1), strict=True):
            assert torch.equal(one, add(image, **{name: value}, grey=grey, generator=alone))
        assert torch.equal(found[0], batch[0])


def test_noise_of_a_batch_follows_from_its_seed(device: torch.device) -> None:
    batch = images().to(device)
    plans = [draw_together(degradation_preset(), range(first, first + COUNT)) for first in (0, 0, 100)]
    one, again, other = (apply_together(batch, plan) for plan in plans)
    assert torch.equal(one, again)
    assert one.shape == other.shape
    assert not torch.equal(one, other)


def test_levels_are_counted_alike_on_the_cpu_and_elsewhere() -> None:
    levels = (images() * 255).round()
    expected = [len(one.unique()) for one in levels]
    assert noise_module._count_by_bins(levels).tolist() == expected
    assert noise_module._count_by_marks(levels).tolist() == expected


def test_one_product_for_a_block_is_the_transform_by_rows_and_columns() -> None:
    blocks = torch.rand(2, 3, 8, 8) * 255 - 128
    for inverse in (False, True):
        whole = jpeg_module._transform_whole(blocks, inverse=inverse)
        torch.testing.assert_close(whole, jpeg_module._transform(blocks, inverse=inverse), atol=2e-4, rtol=0)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("preset", PRESETS)
def test_a_batch_on_a_device_waits_for_nothing(preset: str) -> None:
    # The device `meta` has no data to wait for.
    plan = draw_together(degradation_preset(preset), range(COUNT))
    assert apply_together(images().to("meta"), plan).shape == (COUNT, 3, 24, 32)
    assert noise_module._count_by_marks(images().to("meta")).shape == (COUNT,)
