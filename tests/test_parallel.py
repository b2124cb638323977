"""The frame for folders of files: parts of several files are computed together and joined again."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesr import parallel
from facesr.errors import ImageError
from facesr.parallel import Outcome, Parts, Stages, run_files
from tests.conftest import noise


def rows(image: Any) -> list[Any]:
    return list(image)


def stack(image: Any, results: Any) -> Any:
    return np.stack(results) if results else image


def mixed(parts: Parts) -> Iterator[Outcome[Any, Any]]:
    """Compute parts of several files together, in another order than they came."""
    held = []
    for part in parts:
        held.append(part if isinstance(part.value, ImageError) else Outcome(part.item, part.value + 1))
        if len(held) == 5:
            yield from reversed(held)
            held.clear()
    yield from reversed(held)


@given(heights=st.lists(st.integers(0, 4), max_size=12), bad=st.sets(st.integers(0, 11)))
@settings(max_examples=40, deadline=None)
def test_parts_of_several_files_come_together_again(heights: list[int], bad: set[int]) -> None:
    images = [noise(max(1, size), 3, seed=index)[:size].astype(int) for index, size in enumerate(heights)]

    def decode(index: int) -> Any:
        if index in bad:
            raise ImageError(f"{index} is bad")
        return images[index]

    stages = Stages(
        decode=decode, split=rows, compute=mixed, join=stack, encode=lambda index, image: (index, image)
    )
    outcomes = list(run_files(range(len(images)), stages, threads=2, depth=3))
    assert sorted(outcome.item for outcome in outcomes) == list(range(len(images)))
    for outcome in outcomes:
        if outcome.item in bad:
            assert str(outcome.value) == f"{outcome.item} is bad"
        else:
            index, image = outcome.value
            assert index == outcome.item
            assert np.array_equal(image, images[index] + 1 if len(images[index]) else images[index])


@pytest.mark.parametrize("stage", ["split", "compute", "join", "encode"])
def test_an_error_in_a_stage_stops_its_file_alone(stage: str) -> None:
    def fail(where: str, value: Any) -> Any:
        if where == stage and value == 2:
            raise ImageError(f"in {where}")
        return value

    def compute(parts: Parts) -> Iterator[Outcome[Any, Any]]:
        for part in parts:
            try:
                yield Outcome(part.item, fail("compute", part.value))
            except ImageError as error:
                yield Outcome(part.item, error)

    stages = Stages(
        decode=lambda item: item,
        split=lambda whole: [fail("split", whole), 0],
        compute=compute,
        join=lambda whole, results: fail("join", whole) + sum(results),
        encode=lambda item, joined: fail("encode", item) + joined,
    )
    outcomes = {outcome.item: outcome.value for outcome in run_files(range(5), stages, threads=2, depth=2)}
    assert str(outcomes.pop(2)) == f"in {stage}"
    assert outcomes == {item: 3 * item for item in (0, 1, 3, 4)}


def test_files_are_decoded_no_further_ahead_than_asked() -> None:
    decoded: list[int] = []
    stages = Stages(decode=lambda item: decoded.append(item) or item, encode=lambda item, whole: whole)
    outcomes = run_files(range(100), stages, threads=2, depth=3)
    next(outcomes)
    assert len(decoded) <= 12
    outcomes.close()
    assert len(decoded) <= 12


def test_fewer_files_are_decoded_ahead_if_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_AHEAD_PX", 200)
    for pixels, most in ((1, 20), (60, 4), (1000, 2)):
        decoded: list[int] = []
        stages = Stages(
            decode=lambda item, decoded=decoded: decoded.append(item) or item,
            encode=lambda item, whole: whole,
            expected_pixels=lambda item, pixels=pixels: pixels,
        )
        outcomes = run_files(range(100), stages, threads=1, depth=9)
        next(outcomes)
        outcomes.close()
        assert len(decoded) <= most + 10  # of which ten are computed, and wait to be encoded


def test_threads_end_when_the_frame_is_left() -> None:
    before = threading.active_count()
    outcomes = run_files(range(9), Stages(decode=str, encode=lambda item, text: text), threads=3, depth=2)
    assert next(outcomes).value == "0"
    outcomes.close()
    assert threading.active_count() == before
