"""Faces are put back where they were, without a seam, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from facesr.faces import paste
from facesr.faces.align import TEMPLATE, Points, Similarity, sample
from facesr.faces.find import Face, find_faces
from facesr.faces.paste import Crop, cut_faces, paste_faces
from facesr.images.image import Deep, ImageData, Pixels, bicubic
from tests.conftest import noise
from tests.faces.sheets import face_sheet


def face_at(x: float, y: float, side: float, roll: float = 0.0) -> Face:
    """Return a face whose frame is a square of `side` px about a point."""
    factor = side / 512 * np.exp(1j * np.deg2rad(roll))
    points = Similarity.turn(factor, about=np.array([256.0, 256.0]), to=np.array([x, y])).apply(TEMPLATE)
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return Face((float(left), float(top), float(right), float(bottom)), points, 0.9)


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take all of each restored face."""
    monkeypatch.setattr(paste, "_strength", lambda crop, face: 1.0)


def flat(height: int, width: int, level: int) -> ImageData:
    return ImageData(np.full((height, width, 3), level, np.uint8))


def copied(image: ImageData) -> ImageData:
    """Return what faces may be put into."""
    return replace(image, rgb=image.rgb.copy())


def restored(crop: Crop, level: int, scale: int = 4) -> ImageData:
    side = crop.image.size[0] * scale
    return flat(side, side, level)


def waves(points: Points) -> Deep:
    """Return smooth colours at points, (n, 3)."""
    x, y = points[:, 0:1], points[:, 1:2]
    phases = np.array([0.0, 1.0, 2.0])
    return ((np.sin(x / 20 + phases) * np.cos(y / 17 - phases) + 1) * 30_000).round().astype(np.uint16)


def drawn(height: int, width: int, to_photo: Similarity) -> ImageData:
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).reshape(-1, 2) + 0.5
    return ImageData(waves(to_photo.apply(grid)).reshape(height, width, 3))


@pytest.mark.parametrize("side", [60, 128, 200, 900])
@pytest.mark.parametrize("enlargement", [0.25, 1.0])
def test_a_crop_is_as_large_as_what_it_becomes(side: float, enlargement: float) -> None:
    photo = ImageData(noise(64, 64))
    (crop,) = cut_faces(photo, [face_at(32, 32, side)], enlargement=enlargement)
    height, width = crop.image.size
    assert height == width
    assert height % 16 == 0
    assert height in {128, 512} or abs(height - side * enlargement) <= 8
    assert (height > 128) == (side * enlargement > 136)
    assert (height < 512) == (side * enlargement < 504)
    frame = crop.placed.apply(crop.face.points) * 512 / height
    assert np.abs(frame - TEMPLATE).max() < 1e-6


@pytest.mark.parametrize("outscale", [1, 2.5, 4])
@pytest.mark.parametrize("roll", [0, 20, 160])
def test_where_both_are_equal_the_result_is_too(outscale: float, roll: float, whole: None) -> None:
    photo = drawn(200, 240, Similarity.identity())
    (crop,) = cut_faces(photo, [face_at(120, 100, 130, roll)], enlargement=outscale / 4)
    side = crop.image.size[0]
    face = drawn(4 * side, 4 * side, Similarity.scaling(1 / 4).then(crop.placed.inverse()))
    height, width = round(200 * outscale), round(240 * outscale)
    background = drawn(height, width, Similarity.scaling(1 / outscale))
    result = paste_faces(copied(background), [crop], [face], outscale=outscale)
    assert np.abs(result.rgb8.astype(int) - background.rgb8).max() <= 1


def test_outside_the_mask_nothing_changes(whole: None) -> None:
    background = ImageData(noise(400, 480))
    (crop,) = cut_faces(ImageData(noise(100, 120)), [face_at(60, 50, 60, 30)], enlargement=1)
    result = paste_faces(copied(background), [crop], [restored(crop, 255)], outscale=4)
    changed = (result.rgb != background.rgb).any(2)
    rows, columns = np.nonzero(changed)
    frame = crop.placed.apply(np.stack([columns + 0.5, rows + 0.5], axis=1) / 4) * 512 / crop.image.size[0]
    assert (np.linalg.norm((frame - (256, 285)) / (190, 215), axis=1) <= 1).all()
    assert changed.mean() > 0.05
    assert (result.rgb[200, 240] == 255).all()


def test_the_border_of_the_mask_cannot_be_seen(whole: None) -> None:
    photo = flat(120, 120, 100)
    (crop,) = cut_faces(photo, [face_at(60, 60, 100)], enlargement=1)
    result = paste_faces(flat(480, 480, 100), [crop], [restored(crop, 150)], outscale=4).rgb.astype(float)
    steps = np.abs(np.diff(result, axis=1)).max(2)
    y, x = np.mgrid[0:480, 0:479] + 0.5
    frame = crop.placed.apply(np.stack([x.ravel() + 0.5, y.ravel()], axis=1) / 4) * 512 / crop.image.size[0]
    away = np.linalg.norm((frame - (256, 285)) / (190, 215), axis=1).reshape(480, 479)
    band = np.abs(away - 1) < 3 / (190 * 400 / 512)
    assert band.sum() > 500
    assert steps[band].mean() <= 1
    assert steps.max() <= 3


def test_a_larger_face_lies_over_a_smaller_one(whole: None) -> None:
    photo = flat(200, 200, 100)
    large, small = face_at(100, 100, 120), face_at(100, 100, 60)
    for faces in ([large, small], [small, large]):
        crops = cut_faces(photo, faces, enlargement=1)
        results = [restored(crop, 200 if crop.face is large else 50) for crop in crops]
        result = paste_faces(flat(800, 800, 100), crops, results, outscale=4)
        assert (result.rgb[400, 400] == 200).all()


@pytest.mark.parametrize(("x", "y"), [(0, 0), (99, 50), (50, -20), (-500, -500), (1000, 50)])
def test_a_face_may_be_cut_by_the_edge_or_lie_outside(x: float, y: float, whole: None) -> None:
    photo = ImageData(noise(100, 100))
    crops = cut_faces(photo, [face_at(x, y, 80)], enlargement=1)
    result = paste_faces(flat(400, 400, 100), crops, [restored(crops[0], 200)], outscale=4)
    assert result.size == (400, 400)


def test_depth_grey_and_alpha_stay(whole: None) -> None:
    deep = ImageData(
        noise(400, 400).astype(np.uint16) * 257, grey=True, alpha=np.full((400, 400), 9, np.uint16)
    )
    crops = cut_faces(ImageData(noise(100, 100)), [face_at(50, 50, 60)], enlargement=1)
    face = ImageData(np.full((512, 512, 3), 40_001, np.uint16))
    result = paste_faces(deep, crops, [face], outscale=4)
    assert (result.rgb.dtype, result.grey) == (np.uint16, True)
    assert result.alpha is deep.alpha
    assert (result.rgb[200, 200] == 40_001).all()


def test_what_was_clean_already_is_left_and_what_was_bad_is_not() -> None:
    photo = drawn(128, 128, Similarity.identity())
    (crop,) = cut_faces(photo, [face_at(64, 64, 128)], enlargement=1)
    same = ImageData(drawn(512, 512, Similarity.scaling(1 / 4).then(crop.placed.inverse())).rgb8)
    background = flat(512, 512, 10)
    assert np.array_equal(paste_faces(copied(background), [crop], [same], outscale=4).rgb, background.rgb)
    rng = np.random.default_rng(0)
    noisy = np.clip(photo.rgb8 + rng.normal(0, 12, photo.rgb.shape), 0, 255).astype(np.uint8)
    (bad,) = cut_faces(ImageData(noisy), [crop.face], enlargement=1)
    changed = paste_faces(copied(background), [bad], [same], outscale=4).rgb
    assert np.abs(changed[256, 256].astype(int) - same.rgb8[256, 256]).max() <= 1
    mixed = paste_faces(copied(background), [bad], [same], outscale=4, is_restored=True).rgb
    assert np.abs(mixed[256, 256] - (0.6 * same.rgb8[256, 256] + 0.4 * 10)).max() <= 1


def gradient(pixels: Pixels) -> NDArray[np.float64]:
    """Return the mean absolute step to the pixels on the right and below, (height, width)."""
    levels = pixels.astype(np.float64)
    across, down = (np.abs(np.diff(levels, axis=axis)).mean(2) for axis in (1, 0))
    return (np.pad(across, ((0, 0), (0, 1))) + np.pad(down, ((0, 1), (0, 0)))) / 2


def test_no_seam_on_a_photograph_whose_face_becomes_brighter(whole: None) -> None:
    sheet, _ = face_sheet((60,), (-15,))
    height, width = (4 * side for side in sheet.shape[:2])
    background = ImageData(bicubic(sheet, height=height, width=width))
    (crop,) = cut_faces(ImageData(sheet), find_faces(sheet), enlargement=1)
    side = crop.image.size[0]
    face = ImageData((bicubic(crop.image.rgb8, height=4 * side, width=4 * side) * 0.8 + 50).astype(np.uint8))
    result = paste_faces(copied(background), [crop], [face], outscale=4)
    back = crop.placed.inverse().then(Similarity.scaling(4))
    drawn = sample(face.rgb, Similarity.scaling(1 / 4).then(back), height=height, width=width)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).reshape(-1, 2) + 0.5
    frame = back.inverse().apply(grid) * 512 / side
    away = np.linalg.norm((frame - (256, 285)) / (190, 215), axis=1).reshape(height, width)
    band = np.abs(away - 1) * 200 * back.scale * side / 512 < 1.5
    assert band.sum() > 500
    assert (result.rgb != background.rgb).any(2).mean() > 0.1
    most = max(gradient(image)[band].mean() for image in (background.rgb, drawn))
    assert gradient(result.rgb)[band].mean() <= most + 1
