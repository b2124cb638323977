"""A face that is put into a photograph and cut out again lies where it lay."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facesr.config.steps import Align, Degradation, Jpeg, Place
from facesr.degradation.degrader import apply, draw
from facesr.degradation.placement import align, canvas_size, place
from facesr.errors import ConfigError

SIZES = [(256, 256), (252, 380), (404, 236)]
PLACEMENTS = [
    {"scale": 1 / 4, "angle": 0.0, "shift": (0.0, 0.0)},
    {"scale": 1 / 4, "angle": 27.0, "shift": (0.3, 0.8)},
    {"scale": 1 / 4, "angle": -140.0, "shift": (1.0, 0.5)},
    {"scale": 0.137, "angle": -12.5, "shift": (0.9, 0.1)},
]


def through(image: Tensor, placement: dict, mode: str) -> Tensor:
    """Place and align an image without anything between."""
    steps = [{"step": "a", "type": "place", **placement}]
    steps.append({"step": "b", "type": "align", "undoes": "a", "mode": mode, **placement})
    return apply(image, steps)


def smooth(height: int, width: int) -> Tensor:
    """Return an image of waves that are at least 48 px long."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    waves = [torch.sin(x / 8 + 1) * torch.cos(y / 11), torch.cos(x / 13 - y / 9), torch.sin(x / 10 + y / 8)]
    return torch.stack(waves)[None] * 0.4 + 0.5


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("placement", PLACEMENTS[:3], ids=str)
def test_with_nothing_between_it_is_the_plain_reduction(placement: dict, size: tuple, mode: str) -> None:
    image = smooth(*size)
    plain = F.interpolate(image, size=[side // 4 for side in size], mode="bicubic", antialias=True)
    # Without the borders, where the reduction weighs its last pixels anew and the photograph is mirrored.
    difference = (through(image, placement, mode) - plain)[..., 2:-2, 2:-2]
    assert -10 * math.log10(float(difference.square().mean())) > (40 if mode == "bicubic" else 35)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("placement", PLACEMENTS, ids=str)
def test_landmarks_stay_within_a_tenth_of_a_pixel(placement: dict, size: tuple, mode: str) -> None:
    height, width = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    for across, down in ((0.5, 0.5), (0.21, 0.3), (0.8, 0.25), (0.3, 0.77)):
        spot = (across * width, down * height)
        dot = torch.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 10**2)).expand(1, 3, -1, -1)
        found = through(dot, placement, mode)[0, 0]
        rows, columns = (torch.arange(side) + 0.5 for side in found.shape)
        centre = (found * columns).sum() / found.sum(), (found * rows[:, None]).sum() / found.sum()
        assert math.dist(centre, [value / 4 for value in spot]) < 0.1


def test_the_face_lies_in_the_photograph_as_it_is_said() -> None:
    hq, scale = (200, 120), 0.25
    face = torch.zeros(1, 1, 50, 30)
    face[..., 15:18, 13:17] = 1.0  # 8.5 px above the middle
    for angle in (0.0, 30.0, 90.0):
        for shift in ((0.0, 0.0), (0.75, 0.25)):
            canvas = place(face, hq, scale=scale, angle=angle, shift=shift)[0, 0]
            assert canvas.shape == canvas_size(hq, scale=scale, angle=angle)
            height, width = canvas.shape
            middle = (width - 1) / 2 + shift[0], (height - 1) / 2 + shift[1]
            turned = math.radians(angle)  # clockwise, so that what was above is to the right of the middle
            across, down = 8.5 * math.sin(turned), -8.5 * math.cos(turned)
            assert canvas[int(middle[1] + down), int(middle[0] + across)] > 0.9
            assert canvas[int(middle[1] - down), int(middle[0] - across)] < 0.1


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133])
def test_the_whole_face_has_a_margin_in_the_photograph(angle: float) -> None:
    hq, scale = (300, 180), 0.2
    height, width = canvas_size(hq, scale=scale, angle=angle)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    for x, y in ((-18, -30), (18, -30), (-18, 30), (18, 30)):
        for shift in (0, 1):
            across, down = (
                (width - 1) / 2 + shift + cos * x - sin * y,
                (height - 1) / 2 + shift + sin * x + cos * y,
            )
            assert 16 <= across <= width - 16
            assert 16 <= down <= height - 16


def test_the_blocks_of_jpeg_lie_anywhere_on_the_face() -> None:
    config = Degradation(
        steps={
            "place": Place(scale=(1 / 16, 1 / 4)),
            "jpeg": Jpeg(quality=(50, 50)),
            "align": Align(undoes="place"),
        }
    )
    phases = []
    for seed in range(400):
        placed = draw(config, seed)[0]
        height, width = canvas_size((512, 512), scale=placed["scale"], angle=placed["angle"])
        phases += [((width - 1) / 2 + placed["shift"][0]) % 8, ((height - 1) / 2 + placed["shift"][1]) % 8]
    counts = np.histogram(phases, bins=8, range=(0, 8))[0]
    assert counts.min() > 60


def test_a_photograph_resized_on_the_way_is_cut_out_at_the_same_place() -> None:
    image, placement = smooth(256, 256), PLACEMENTS[1]
    face = F.interpolate(image, size=[64, 64], mode="bicubic", antialias=True)
    canvas = place(face, (256, 256), **placement)
    larger = F.interpolate(canvas, scale_factor=2, mode="bicubic", align_corners=False)
    one, other = (
        align(given, (256, 256), (64, 64), **placement, mode="bicubic") for given in (canvas, larger)
    )
    assert float((one - other).abs().max()) < 0.03


def test_a_face_that_was_not_placed_is_not_cut_out() -> None:
    steps = {"place": Place(chance=0.0, scale=(0.1, 0.2)), "align": Align(undoes="place")}
    assert draw(Degradation(steps=steps), 0) == []


def test_what_is_undone_must_have_been_placed_before() -> None:
    placed = Place(scale=(0.1, 0.2))
    for steps in (
        {"align": Align(undoes="place"), "place": placed},
        {"place": placed, "align": Align(undoes="there")},
        {"place": Jpeg(quality=(50, 60)), "align": Align(undoes="place")},
    ):
        with pytest.raises(ConfigError, match=r"step `align`: no step `\w+` of kind `place` before it"):
            Degradation(steps=steps)
