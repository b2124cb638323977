"""The degradation on CUDA, in a module that imports nothing but what a machine for `pytest -m cuda` has."""

import pytest
import torch

from facesr.config.steps import degradation_preset
from facesr.degradation.degrader import apply, draw
from tests.conftest import noise as picture


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives() -> None:
    drawn = [draw(degradation_preset(), seed) for seed in (1, 2, 3, 4)]
    images = [torch.tensor(picture(64, 96, seed=s)).permute(2, 0, 1)[None] / 255 for s in range(4)]
    on_cpu = torch.cat([apply(image, steps) for image, steps in zip(images, drawn, strict=True)])
    on_cuda = torch.cat([apply(image.cuda(), steps) for image, steps in zip(images, drawn, strict=True)])
    assert (on_cpu - on_cuda.cpu()).abs().mean() < 0.2 / 255
