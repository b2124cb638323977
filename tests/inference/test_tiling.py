"""Tiled equals whole where the network has a halo; windows are blended without seams where it has none."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from torch import Tensor

from facesr.inference.enlarge import _run, enlarge_pixels, piece_side
from facesr.inference.tiling import enlarge_by_tiles, enlarge_by_windows, overlap_of, plan_pieces, starts
from facesr.models import ARCHITECTURES, build_network
from facesr.models.base import Halo, SRNetwork
from tests.conftest import noise, small_args

CPU = torch.device("cpu")
sizes = st.integers(1, 40)


def network(arch: str) -> SRNetwork:
    torch.manual_seed(0)
    return build_network(arch, small_args(arch)).eval()


NETWORKS = {arch: network(arch) for arch in ARCHITECTURES}
EXACT = {arch: one.traits.view.px for arch, one in NETWORKS.items() if isinstance(one.traits.view, Halo)}


@pytest.mark.parametrize("arch", EXACT)
@given(height=sizes, width=sizes, tile=st.integers(1, 24))
@settings(max_examples=25, deadline=None)
def test_a_tiled_result_equals_the_whole_one(arch: str, height: int, width: int, tile: int) -> None:
    one = NETWORKS[arch]
    pixels = torch.tensor(noise(height, width))
    run = partial(_run, one)
    with torch.inference_mode():
        whole = run(pixels[None])[0] / 255
        bands = enlarge_by_tiles(run, pixels, tile=tile, margin=EXACT[arch], scale=one.traits.scale)
        tiled = torch.cat(list(bands)) / 255
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


@given(length=sizes, tile=st.integers(1, 24), halo=st.integers(0, 9))
def test_pieces_cover_every_pixel_once_and_stay_inside(length: int, tile: int, halo: int) -> None:
    count = torch.zeros(length, dtype=torch.int)
    for window, core in plan_pieces(length, tile=tile, margin=halo):
        count[core] += 1
        assert 0 <= window.start <= core.start
        assert core.stop <= window.stop <= length
        assert core.stop - core.start <= tile
        assert window.start == 0 or core.start - window.start == halo
        assert window.stop == length or window.stop - core.stop == halo
    assert (count == 1).all()


@given(height=sizes, width=sizes, tile=st.integers(1, 24), halo=st.integers(0, 9))
def test_tiles_lie_where_they_belong(height: int, width: int, tile: int, halo: int) -> None:
    shade.calls = 0  # type: ignore[attr-defined]
    pixels = torch.tensor(noise(height, width))
    out = torch.cat(list(enlarge_by_tiles(shade, pixels, tile=tile, margin=halo, scale=4)))
    assert torch.equal(out, shade(pixels[None])[0])
    assert shade.calls == -(-height // tile) * -(-width // tile) + 1  # type: ignore[attr-defined]


@given(length=st.integers(1, 1000), window=st.integers(4, 128))
def test_windows_cover_a_length_and_overlap(length: int, window: int) -> None:
    table = starts(length, window)
    assert table[0] == 0
    assert table[-1] == max(0, length - window)
    assert all(0 < b - a <= window - overlap_of(window) for a, b in pairwise(table))


def shade(pixels: Tensor, spread: float = 0.0) -> Tensor:
    """Enlarge by repetition, each call brighter by a little: what differs from window to window."""
    shade.calls += 1  # type: ignore[attr-defined]
    out = pixels.repeat_interleave(4, 1).repeat_interleave(4, 2).float()
    return out + spread * (shade.calls % 3)  # type: ignore[attr-defined]


@given(height=sizes, width=sizes, level=st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_a_constant_stays_constant(height: int, width: int, level: int) -> None:
    shade.calls = 0  # type: ignore[attr-defined]
    pixels = torch.full((height, width, 3), level, dtype=torch.uint8)
    out = torch.cat(list(enlarge_by_windows(shade, pixels, window=16, scale=4)))
    assert out.shape == (4 * height, 4 * width, 3)
    assert (out == level).all()


def test_without_differences_blending_changes_nothing() -> None:
    shade.calls = 0  # type: ignore[attr-defined]
    pixels = torch.tensor(noise(50, 37))
    out = torch.cat(list(enlarge_by_windows(shade, pixels, window=16, scale=4)))
    assert torch.equal(out, pixels.repeat_interleave(4, 0).repeat_interleave(4, 1))


def test_differing_windows_leave_no_step() -> None:
    shade.calls = 0  # type: ignore[attr-defined]
    pixels = torch.full((64, 64, 3), 100, dtype=torch.uint8)
    out = torch.cat(list(enlarge_by_windows(partial(shade, spread=12.0), pixels, window=32, scale=4))).int()
    assert int(out.diff(dim=0).abs().max()) <= 1
    assert int(out.diff(dim=1).abs().max()) <= 1
    assert int(out.max()) - int(out.min()) >= 12


def test_a_global_network_works_in_windows_without_seams() -> None:
    one = network("faceunet")
    with torch.no_grad():
        one.out.weight.mul_(0.05)  # type: ignore[operator, union-attr]  # as calm as a trained one
    height, width = 150, 260
    pixels = torch.tensor(data.astronaut()[:height, 96 : 96 + width])
    out = enlarge_pixels(one, pixels[None], CPU).wait()[0].int()
    assert out.shape == (600, 1040, 3)
    side = piece_side(one)
    steps = out.diff(dim=1).abs().float().mean((0, 2))
    whole = (
        enlarge_pixels(one, pixels[None], CPU, tile=0).wait()[0].int().diff(dim=1).abs().float().mean((0, 2))
    )
    for left in starts(width, side)[1:]:
        for border in (4 * left, 4 * (left + overlap_of(side))):
            assert float(steps[border - 1]) - float(whole[border - 1]) <= 1


def test_small_pictures_and_tile_zero_are_taken_whole() -> None:
    for arch, one in NETWORKS.items():
        pixels = torch.tensor(noise(30, 20))[None]
        whole = enlarge_pixels(one, pixels, CPU, tile=0).wait()
        assert torch.equal(enlarge_pixels(one, pixels, CPU).wait(), whole), arch
        large = torch.tensor(noise(60, 140))[None]
        exact, tiled = (enlarge_pixels(one, large, CPU, tile=tile).wait().int() for tile in (0, 48))
        if arch in EXACT:
            assert (exact - tiled).abs().max() <= 1
        scale = one.traits.scale
        assert tiled.shape == (1, scale * 60, scale * 140, 3)
