"""The detector gives what OpenCV's own YuNet gives."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from skimage import data

from facesr.faces.yunet import load_detector, overlaps, rate_cells, separate
from facesr.images.image import Array

VECTORS = Path(__file__).parents[1] / "vectors"


def reduced(pixels: Array, factor: int) -> Array:
    height, width = (side // factor for side in pixels.shape[:2])
    blocks = pixels.reshape(height, factor, width, factor, 3).mean((1, 3))
    return np.floor(blocks + 0.5).astype(np.uint8)


def images() -> dict[str, Array]:
    """Return the images that the expected faces were found in, by the start of their names there."""
    astronaut = data.astronaut()
    pair = np.zeros((400, 520, 3), np.uint8)
    half = reduced(astronaut, 2)
    pair[10:266, 4:260] = half
    pair[130:386, 262:518] = half[:, ::-1]
    return {
        "astronaut": astronaut,
        "astronaut left-right": astronaut[:, ::-1],
        "astronaut crop": astronaut[0:200, 100:331],
        "astronaut reduced": reduced(astronaut, 4),
        "two faces": pair,
        "no face": astronaut[320:512, 0:160],
    }


@pytest.mark.parametrize("name", images())
def test_faces_are_those_of_opencv(name: str) -> None:
    cases = json.loads((VECTORS / "yunet.json").read_text())["cases"]
    expected = next(case["faces"] for case in cases if case["name"].partition(" rows")[0].startswith(name))
    if name == "astronaut":
        expected = cases[0]["faces"]
    (cells,) = rate_cells(load_detector(), images()[name][None], threshold=0.6)
    kept = separate(cells.boxes, cells.scores, overlap=0.3)
    found = [
        [*box[:2], *(box[2:] - box[:2]), *points.ravel(), score]
        for box, points, score in zip(cells.boxes[kept], cells.points[kept], cells.scores[kept], strict=True)
    ]
    assert len(found) == len(expected)
    for mine, reference in zip(sorted(found), sorted(expected), strict=True):
        assert np.abs(np.array(mine) - reference).max() <= 2e-3


def test_every_cell_is_as_in_the_reference() -> None:
    crop = data.astronaut()[32:192, 128:320, ::-1].copy()
    with torch.inference_mode():
        outputs = load_detector()(torch.from_numpy(crop).permute(2, 0, 1)[None].float())
    expected = load_file(VECTORS / "yunet.safetensors")
    assert len(expected) == 12
    for name, levels in outputs.items():
        for stride, level in zip((8, 16, 32), levels, strict=True):
            assert (level - expected[f"{name}_{stride}"]).abs().max() <= 1e-3


def test_a_batch_is_rated_as_its_images() -> None:
    astronaut = data.astronaut()
    batch = np.stack([astronaut[:200, 100:331], astronaut[:200, 331:100:-1]])
    together = rate_cells(load_detector(), batch, threshold=0.5)
    for image, cells in zip(batch, together, strict=True):
        (alone,) = rate_cells(load_detector(), image[None], threshold=0.5)
        assert np.allclose(alone.boxes, cells.boxes, atol=1e-3)
        assert np.allclose(alone.points, cells.points, atol=1e-3)


def test_of_boxes_that_overlap_the_best_is_kept() -> None:
    boxes = np.array([(0, 0, 10, 10), (1, 1, 11, 11), (20, 0, 30, 10), (5, 0, 15, 10)], np.float32)
    scores = np.array([0.7, 0.9, 0.8, 0.6], np.float32)
    assert separate(boxes, scores, overlap=0.3) == [1, 2]
    assert separate(boxes, scores, overlap=0.45) == [1, 2, 3]
    assert separate(boxes[:0], scores[:0], overlap=0.3) == []
    assert np.allclose(overlaps(boxes, boxes[0]), [1, 81 / 119, 0, 1 / 3])
