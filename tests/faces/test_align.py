"""Similarities and sampling along them, against what must be equal and against Pillow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from facesr.faces.align import TEMPLATE, Similarity, sample

SIZES = st.floats(0.05, 20)
ANGLES = st.floats(-180, 180)
PLACES = st.floats(-500, 500)


def similarity(size: float, angle: float, x: float, y: float) -> Similarity:
    factor = size * np.exp(1j * np.deg2rad(angle))
    return Similarity.turn(factor, about=np.array([1.0, 2.0]), to=np.array([x, y]))


@given(SIZES, ANGLES, PLACES, PLACES)
def test_a_fit_finds_the_similarity_that_moved_the_points(
    size: float, angle: float, x: float, y: float
) -> None:
    known = similarity(size, angle, x, y)
    fitted = Similarity.fit(TEMPLATE, known.apply(TEMPLATE))
    assert np.allclose(fitted.matrix, known.matrix, atol=1e-9)
    assert np.allclose(fitted.shift, known.shift, atol=1e-6)
    assert np.isclose(fitted.scale, size)
    assert abs((fitted.roll - angle + 180) % 360 - 180) < 1e-6


@given(SIZES, ANGLES, PLACES, PLACES)
def test_the_inverse_leads_back_and_one_after_the_other_is_one(
    size: float, angle: float, x: float, y: float
) -> None:
    one = similarity(size, angle, x, y)
    assert np.allclose(one.inverse().apply(one.apply(TEMPLATE)), TEMPLATE, atol=1e-6)
    other = similarity(2.0, 30.0, 5.0, 6.0)
    assert np.allclose(one.then(other).apply(TEMPLATE), other.apply(one.apply(TEMPLATE)), atol=1e-6)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_quarter_turns_and_whole_shifts_lose_nothing(turns: int, deep: bool) -> None:
    pixels = data.astronaut()[:200, :200].astype(np.uint16 if deep else np.uint8)
    pixels = pixels * pixels.dtype.type(257 if deep else 1)
    middle = np.array([100.0, 100.0])
    turn = Similarity.turn(1j**turns, about=middle, to=middle)
    assert np.array_equal(sample(pixels, turn, height=200, width=200), np.rot90(pixels, -turns))
    shift = Similarity(np.eye(2), np.array([-30.0, -20.0]))
    assert np.array_equal(sample(pixels, shift, height=100, width=90), pixels[20:120, 30:120])


@pytest.mark.parametrize("factor", [2, 4, 7])
def test_what_is_reduced_has_no_aliasing(factor: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (factor * 60, factor * 60, 3), dtype=np.uint8)
    small = sample(pixels, Similarity(np.eye(2) / factor, np.zeros(2)), height=60, width=60)
    expected = np.asarray(Image.fromarray(pixels).resize((60, 60), Image.Resampling.BICUBIC))
    assert np.abs(small[2:-2, 2:-2].astype(int) - expected[2:-2, 2:-2]).max() <= 1


def test_beyond_the_image_its_border_is_continued() -> None:
    pixels = np.full((10, 12, 3), 77, np.uint8)
    far = Similarity(np.eye(2) * 1.5, np.array([300.0, -200.0]))
    assert (sample(pixels, far, height=20, width=20) == 77).all()


def test_16_bits_keep_their_depth() -> None:
    ramp = np.linspace(0, 65_535, 100).astype(np.uint16)
    pixels = np.stack([np.tile(ramp, (50, 1))] * 3, axis=2)
    drawn = sample(pixels, similarity(1.3, 10, 20, 10), height=40, width=60)
    assert drawn.dtype == np.uint16
    assert len(np.unique(drawn)) > 1000
