"""The pipeline is bounded, keeps every item, and groups equal sizes."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from facesr import parallel, upscale_image
from facesr.config.runtime import RuntimeConfig
from facesr.errors import ImageError
from facesr.images.image import ImageData
from facesr.inference import enlarge as inference
from facesr.inference import stream as stream_module
from facesr.inference.enlarge import piece_side
from facesr.inference.stream import batch_size, enlarge_stream, load_for, read_ahead
from facesr.inference.tiling import starts
from facesr.models import build_network, row_strips
from facesr.parallel import Outcome, StageTimes, map_ahead
from facesr.weights.find import find_weights
from facesr.weights.load import Model, load_model
from tests.conftest import TINY, no_warning, noise
from tests.inference.short_memory import fail_above
from tests.test_device import OUT_OF_MEMORY


def test_mapping_is_ordered_bounded_and_keeps_errors() -> None:
    taken = 0
    ahead = []

    def items() -> object:
        nonlocal taken
        for index in range(50):
            taken += 1
            yield index

    def double(index: int) -> int:
        if index == 7:
            raise ImageError("seven")
        return 2 * index

    with ThreadPoolExecutor(2) as executor:
        for done, outcome in enumerate(map_ahead(executor, double, items(), depth=3)):
            ahead.append(taken - done)
            assert outcome.item == done
            if done == 7:
                assert isinstance(outcome.value, ImageError)
            else:
                assert outcome.value == 2 * done
    assert len(ahead) == 50
    assert max(ahead) <= 4


@pytest.mark.parametrize(("pixels", "most"), [(1, 10), (100, 3), (1000, 2)])
def test_mapping_is_bounded_by_pixels_too(pixels: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_AHEAD_PX", 200)
    items, ahead = iter(range(30)), []
    with ThreadPoolExecutor(1) as executor:
        for done, outcome in enumerate(map_ahead(executor, str, items, depth=9, pixels=lambda _: pixels)):
            assert outcome.value == str(done)
            ahead.append(30 - length_hint(items) - done)
    assert len(ahead) == 30
    assert max(ahead) == most


def test_other_errors_are_not_swallowed() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(ZeroDivisionError):
        list(map_ahead(executor, lambda _: 1 // 0, [1], depth=2))


def picture(height: int, width: int, value: int = 0) -> ImageData:
    return ImageData(rgb=np.full((height, width, 3), value, np.uint8))


@given(st.lists(st.sampled_from([(2, 2), (2, 3), (3, 2), None]), max_size=30), st.integers(1, 4))
def test_groups_hold_one_size_and_lose_nothing(sizes: list, batch: int) -> None:
    held = emitted = 0

    def stream() -> object:
        nonlocal held
        for index, size in enumerate(sizes):
            held = max(held, index + 1 - emitted)
            yield Outcome(index, picture(*size) if size else ImageError("bad"))

    items = []
    for group in stream_module._equal_sizes(stream(), batch=batch):  # type: ignore[arg-type]
        emitted += len(group)
        items += [outcome.item for outcome in group]
        assert 1 <= len(group) <= batch
        assert len({getattr(outcome.value, "size", None) for outcome in group}) == 1
    assert sorted(items) == list(range(len(sizes)))
    assert held <= 2 * batch


def test_large_pictures_are_not_held_back_for_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_BATCH_PX", 100)
    pictures = [Outcome(index, picture(side, side)) for index, side in enumerate([20, 20, 7, 7, 7, 5, 5, 5])]
    groups = [
        [outcome.item for outcome in group] for group in stream_module._equal_sizes(iter(pictures), batch=3)
    ]
    assert groups == [[0], [1], [2, 3], [5, 6, 7], [4]]


@pytest.mark.parametrize(("device", "batch"), [("cpu", 1), ("cuda", 32), ("cuda:1", 32), ("mps", 8)])
def test_a_batch_fits_the_device_unless_it_is_given(device: str, batch: int) -> None:
    assert batch_size(RuntimeConfig(), torch.device(device)) == batch
    assert batch_size(RuntimeConfig(batch=5), torch.device(device)) == 5


@given(batch=st.integers(1, 64), threads=st.integers(1, 128))
def test_files_are_read_ahead_for_every_thread_and_the_next_batch(batch: int, threads: int) -> None:
    assert read_ahead(batch, threads) > 2 * batch
    assert read_ahead(batch, threads) > 2 * threads


def test_a_batch_and_single_pictures_agree(tiny_folder: Path) -> None:
    model = load_model(tiny_folder, device="cpu")
    pictures = [Outcome(index, picture(4, 4 + index % 2, 30 * index)) for index in range(7)]
    singles, batched = (
        {
            outcome.item: outcome.value
            for outcome in enlarge_stream(
                [model], pictures, runtime=RuntimeConfig(batch=batch), warn=no_warning
            )
        }
        for batch in (1, 3)
    )
    assert singles.keys() == batched.keys() == set(range(7))
    for index, one in singles.items():
        other = batched[index]
        assert isinstance(one, tuple)
        assert isinstance(other, tuple)
        (one,), (other,) = one, other
        assert one.size == (16, 16 + 4 * (index % 2))
        assert np.abs(one.rgb.astype(int) - other.rgb).max() <= 1


@pytest.fixture
def two_cores() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("count", [1, 2, 7])
def test_pictures_side_by_side_equal_one_after_another(count: int, tiny_folder: Path) -> None:
    model = load_model(tiny_folder, device="cpu")
    pictures = [Outcome(index, ImageData(rgb=noise(20, 20 + index, seed=index))) for index in range(count)]
    pictures.insert(1, Outcome("bad", ImageError("bad")))  # type: ignore[arg-type]
    pictures.append(Outcome("large", ImageData(rgb=noise(260, 260))))  # type: ignore[arg-type]
    times = StageTimes()
    start = time.perf_counter()
    outcomes = {
        o.item: o.value
        for o in enlarge_stream([model], pictures, runtime=RuntimeConfig(), warn=no_warning, times=times)
    }
    elapsed = time.perf_counter() - start
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as fresh:  # a lane's setting would be the default of threads that start later
        assert fresh.submit(torch.get_num_threads).result() == 2
    assert isinstance(outcomes.pop("bad"), ImageError)
    assert outcomes.keys() == {*range(count), "large"}
    for outcome in pictures:
        if isinstance(outcome.value, ImageData):
            expected = upscale_image(outcome.value.rgb8, model)
            found = outcomes[outcome.item]
            assert isinstance(found, tuple)
            assert np.abs(found[0].rgb.astype(int) - expected).max() <= 1
    table = times.table()
    assert table["network"] > 0
    assert table["network"] + table["waiting"] == pytest.approx(2 * elapsed, rel=0.2)


@pytest.mark.usefixtures("two_cores")
def test_a_picture_has_the_same_bits_alone_and_among_others() -> None:
    model = load_model("faceunet", device="cpu", dtype="fp32")
    pixels = [noise(64, 64, seed=seed).astype(np.uint16) * 257 for seed in range(3)]
    pictures = [Outcome(index, ImageData(rgb=one)) for index, one in enumerate(pixels)]

    def results(some: list[Outcome[int, ImageData]]) -> list[np.ndarray]:
        stream = enlarge_stream([model], some, runtime=RuntimeConfig(), warn=no_warning)
        return [outcome.value[0].rgb for outcome in stream if isinstance(outcome.value, tuple)]

    together = results(pictures)
    assert together[0].dtype == np.uint16  # fine enough to show the last bits
    for picture, result in zip(pictures, together, strict=True):
        assert np.array_equal(results([picture])[0], result)


@pytest.mark.usefixtures("two_cores")
def test_an_error_in_one_lane_ends_the_run(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: object, pixels: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    monkeypatch.setattr(inference, "_run", broken)
    model = load_model(tiny_folder, device="cpu")
    pictures = [Outcome(index, picture(4, 4)) for index in range(5)]
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(enlarge_stream([model], pictures, runtime=RuntimeConfig(), warn=no_warning))
    assert threading.active_count() == before
    assert torch.get_num_threads() == 2


def test_the_ensemble_is_a_matter_of_configuration(tiny_folder: Path) -> None:
    files = find_weights(str(tiny_folder))
    plain, ensemble = (
        load_for(files, RuntimeConfig(device="cpu", self_ensemble=flag)) for flag in (False, True)
    )
    pixels = noise(10, 14)
    one, mirrored = (upscale_image(p, plain).astype(float) for p in (pixels, pixels[:, ::-1].copy()))
    found = upscale_image(pixels, ensemble).astype(float)
    assert np.abs(found - (one + mirrored[:, ::-1]) / 2).max() <= 1
    assert np.abs(found - one).max() > 1


class Watch(TorchDispatchMode):
    """Counts what is called, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.name().split(".")[0]] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("arch", ["msrresnet", "faceunet"])
def test_pieces_are_computed_without_reading_back_from_the_device(
    arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop is the same on CUDA, where each of these would wait for the device."""
    monkeypatch.setattr(row_strips, "_PIECE_PX", 1 << 30)  # on CUDA a network's end is not cut into strips
    network = build_network(arch, TINY).eval()
    pixels = torch.tensor(noise(200, 150))[None]
    with Watch() as watch:
        arrival = inference.enlarge_pixels(network, pixels, torch.device("cpu"), tile=64)
    waits = {"aten::_local_scalar_dense", "aten::item", "aten::equal", "aten::nonzero", "aten::is_nonzero"}
    assert not waits & watch.calls.keys()
    assert arrival.wait().shape == (1, 800, 600, 3)
    # One copy a band goes home; where windows are blended, one more moves what is left of the band up.
    bands, copies = (len(starts(200, piece_side(network))), 2) if arch == "faceunet" else (-(-200 // 64), 1)
    assert watch.calls["aten::copy_"] == bands * copies


def test_out_of_memory_halves_the_batch_then_the_tile(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_folder, device="cpu")
    pictures = [Outcome(index, ImageData(rgb=noise(64, 64, seed=index))) for index in range(4)]
    whole = [
        o.value for o in enlarge_stream([model], pictures, runtime=RuntimeConfig(batch=4), warn=no_warning)
    ]
    shapes = fail_above(2 * 64 * 64, monkeypatch)
    halved = [
        o.value for o in enlarge_stream([model], pictures, runtime=RuntimeConfig(batch=4), warn=no_warning)
    ]
    assert shapes == [(2, 64, 64)] * 2
    monkeypatch.undo()
    shapes = fail_above(50 * 50, monkeypatch)
    tiled = [
        o.value for o in enlarge_stream([model], pictures, runtime=RuntimeConfig(batch=4), warn=no_warning)
    ]
    assert max(height for _, height, _ in shapes) < 50
    for results in (halved, tiled):
        for one, other in zip(whole, results, strict=True):
            assert np.abs(one[0].rgb.astype(int) - other[0].rgb).max() <= 1  # type: ignore[index]


@pytest.mark.parametrize("message", OUT_OF_MEMORY)
def test_whatever_a_full_device_says_the_batch_is_halved(
    message: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_folder, device="cpu")
    shapes = fail_above(8 * 8, monkeypatch, message=message)
    lq = torch.rand(2, 3, 8, 8)
    assert upscale_image(lq, model).shape == (2, 3, 32, 32)
    assert shapes == [(1, 8, 8)] * 2


def test_what_fitted_is_tried_first_for_later_images_of_a_size(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[tuple[int, ...]] = []
    fail_above(3 * 8 * 8, monkeypatch, failed=failed)

    def run(model: Model, height: int) -> None:
        pictures = [Outcome(index, picture(height, 8)) for index in range(24)]
        outcomes = enlarge_stream([model], pictures, runtime=RuntimeConfig(batch=8), warn=no_warning)
        assert all(isinstance(outcome.value, tuple) for outcome in outcomes)

    first, second = (load_model(tiny_folder, device="cpu") for _ in range(2))
    run(first, 8)
    assert failed == [(8, 8, 8), (4, 8, 8)]
    run(first, 8)
    assert len(failed) == 2
    run(first, 4)  # another size, of which 8 are too many and 4 are not
    assert failed[2:] == [(8, 4, 8)]
    run(second, 8)
    assert failed[3:] == failed[:2]


def test_a_size_for_which_nothing_helps_is_tried_again(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_folder, device="cpu")
    with monkeypatch.context() as patch:
        fail_above(10, patch)
        with pytest.raises(ImageError, match="needs more memory"):
            upscale_image(noise(64, 64), model)
    shapes = fail_above(10**9, monkeypatch)
    upscale_image(noise(64, 64), model)
    assert shapes == [(1, 64, 64)]


@pytest.mark.parametrize("limit", [32, 5, 2, 1])
def test_windows_in_one_pass_are_as_many_as_fit(
    limit: int, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device other than the CPU; here the CPU is taken for one."""
    network = build_network("faceunet", TINY).eval()
    pixels = torch.tensor(noise(140, 600))[None]
    cpu = torch.device("cpu")
    expected = inference.enlarge_pixels(network, pixels, cpu).wait()
    at_once = len(starts(600, 128))
    monkeypatch.setattr(inference, "_windows_at_once", lambda network, pixels, device: at_once)
    shapes = fail_above(limit * 128 * 128, monkeypatch)
    found = inference.enlarge_pixels(network, pixels, cpu).wait()
    assert sum(count for count, *_ in shapes) == at_once * len(starts(140, 128))
    assert max(count for count, *_ in shapes) <= limit
    assert (found.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("tile", [0, 150])
def test_a_global_view_falls_back_to_its_windows_where_the_whole_is_too_large(
    tile: int, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network("faceunet", TINY).eval()
    model = replace(load_model(tiny_folder, device="cpu"), network=network)
    large = noise(140, 150)

    def enlarged() -> Any:
        (outcome,) = enlarge_stream(
            [model], [Outcome(0, ImageData(rgb=large))], runtime=RuntimeConfig(tile=tile), warn=no_warning
        )
        return outcome.value

    assert np.abs(enlarged()[0].rgb.astype(int) - upscale_image(large, model)).max() > 1
    shapes = fail_above(128 * 128, monkeypatch)
    assert np.array_equal(enlarged()[0].rgb, upscale_image(large, model))
    assert set(shapes) == {(1, 128, 128)}
    fail_above(100 * 100, monkeypatch)
    assert "150x140 needs more memory than cpu has" in enlarged().reason


def test_a_picture_for_which_nothing_helps_fails_alone_and_names_its_size(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_above(100, monkeypatch)
    model = load_model(tiny_folder, device="cpu")
    pictures = [Outcome("large", picture(60, 90)), Outcome("small", picture(5, 9))]
    outcomes = {
        o.item: o.value for o in enlarge_stream([model], pictures, runtime=RuntimeConfig(), warn=no_warning)
    }
    assert isinstance(outcomes["large"], ImageError)
    assert "90x60 needs more memory than cpu has" in outcomes["large"].reason
    assert isinstance(outcomes["small"], tuple)


def test_tensors_fall_back_when_memory_runs_out_too(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_folder, device="cpu")
    lq = torch.rand(3, 3, 64, 48)
    whole = upscale_image(lq, model)
    shapes = fail_above(50 * 50, monkeypatch)
    torch.testing.assert_close(upscale_image(lq, model), whole, atol=1e-5, rtol=0)
    assert max(height for _, height, _ in shapes) < 50
    fail_above(100, monkeypatch)
    with pytest.raises(ImageError, match="48x64 needs more memory than cpu has"):
        upscale_image(lq, model)


def test_what_a_model_was_loaded_with_is_told_once(tiny_folder: Path) -> None:
    warnings: list[str] = []
    model = replace(load_model(tiny_folder, device="cpu"), notes=("this", "that"))
    pictures = [Outcome(index, picture(4, 4)) for index in range(3)]
    list(enlarge_stream([model], pictures, runtime=RuntimeConfig(), warn=warnings.append))
    assert warnings == ["this", "that"]


def test_threads_end_with_the_pipeline() -> None:
    before = threading.active_count()
    with ThreadPoolExecutor(2) as executor:
        list(map_ahead(executor, str, range(5), depth=2))
    assert threading.active_count() == before
