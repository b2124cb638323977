"""Faces are found at any size and roll, none is invented, and their points are where they are."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import facesr
from facesr.errors import ImageError
from facesr.faces.align import TEMPLATE
from facesr.faces.find import Face, find_faces
from facesr.faces.paste import cut_faces
from facesr.images.image import ImageData
from facesr.images.read import from_pil
from tests.faces.sheets import POINTS, WIDTH, Placed, face_sheet, texture


def eyes(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[1] - points[0]))


def match(faces: list[Face], placed: list[Placed]) -> list[tuple[Face, Placed]]:
    """Pair what was found with what is there, all of both."""
    assert len(faces) == len(placed)
    pairs = []
    for one in placed:
        face = min(faces, key=lambda face: np.linalg.norm(face.points.mean(0) - one.points.mean(0)))
        assert np.linalg.norm(face.points.mean(0) - one.points.mean(0)) < 0.5 * eyes(one.points), one
        pairs.append((face, one))
    assert len({id(face) for face, _ in pairs}) == len(placed)
    return pairs


# The detector's own points lie up to 0.085 distances of the eyes from those found by eye, at any size.
@pytest.mark.parametrize(
    ("widths", "rolls", "mean", "worst"),
    [
        ((48, 64), (0, 45, 90, 135, 180), 0.07, 0.2),
        ((16, 24), (0, 45, 135, 180), 0.15, 0.3),
        ((160,), (-30, 20, 180), 0.07, 0.15),
    ],
)
def test_faces_of_any_size_and_roll_are_found_with_their_points(
    widths: tuple[int, ...], rolls: tuple[int, ...], mean: float, worst: float
) -> None:
    sheet, placed = face_sheet(widths, rolls)
    for face, one in match(find_faces(sheet), placed):
        away = np.linalg.norm(face.points - one.points, axis=1) / eyes(one.points)
        assert away.mean() <= mean, one
        assert away.max() <= worst, one
        assert 0.85 < face.width / one.width < 1.15
        left, top, right, bottom = face.box
        assert (face.points > (left, top)).all()
        assert (face.points < (right, bottom)).all()


def test_of_faces_that_are_too_small_none_is_invented() -> None:
    sheet, placed = face_sheet((12, 14), (0, 45, 90, 135, 180))
    faces = find_faces(sheet)
    assert len(faces) <= len(placed)
    for face in faces:
        away = [np.linalg.norm(face.points.mean(0) - one.points.mean(0)) / eyes(one.points) for one in placed]
        assert min(away) < 0.5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_large_faces_are_found_once() -> None:
    sheet, placed = face_sheet((300, 500), (0, 45, 135))
    for face, one in match(find_faces(sheet), placed):
        away = np.linalg.norm(face.points - one.points, axis=1) / eyes(one.points)
        assert away.max() <= 0.15


def test_nothing_is_found_in_texture() -> None:
    for seed in range(3):
        assert find_faces(texture(300, 400, seed=seed).round().astype(np.uint8)) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 5), (40, 900)])
def test_images_of_any_shape_can_be_searched(size: tuple[int, int]) -> None:
    assert find_faces(np.full((*size, 3), 120, np.uint8)) == []


def test_the_largest_face_comes_first() -> None:
    sheet, _ = face_sheet((40, 80), (0,))
    widths = [face.width for face in find_faces(sheet)]
    assert widths == sorted(widths, reverse=True)


def test_the_only_face_of_an_aligned_crop_is_known_quickly() -> None:
    (face,) = find_faces(data.astronaut())
    (crop,) = cut_faces(ImageData(data.astronaut()), [face], enlargement=1)
    (only,) = find_faces(crop.image, unless_filled=True)
    assert not np.array_equal(only.points, find_faces(crop.image)[0].points)  # which were looked at again
    assert np.linalg.norm(only.points - TEMPLATE * crop.image.size[0] / 512, axis=1).max() < 20
    for pixels in (data.astronaut(), face_sheet((40,), (0, 10))[0], data.astronaut()[300:, :150]):
        quick, whole = (find_faces(pixels, unless_filled=quick) for quick in (True, False))
        assert [face.box for face in quick] == [face.box for face in whole]


def test_every_kind_of_image_is_searched() -> None:
    astronaut = data.astronaut()[:220, 100:340]
    (expected,) = facesr.find_faces(astronaut)
    assert abs(expected.width - WIDTH) < 12
    assert np.abs(expected.points - (POINTS - (100, 0))).max() < 6
    for image in (Image.fromarray(astronaut), from_pil(Image.fromarray(astronaut))):
        (face,) = facesr.find_faces(image)
        assert np.array_equal(face.points, expected.points)
    turned = Image.fromarray(np.rot90(astronaut).copy())
    turned.getexif()[0x0112] = 6
    (face,) = facesr.find_faces(turned)  # upright by its orientation
    assert np.abs(face.points - expected.points).max() < 1e-6
    assert facesr.find_faces(astronaut, threshold=0.999) == []


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), "face.jpg"])
def test_other_things_are_refused(wrong: object) -> None:
    with pytest.raises(ImageError, match="expected a Pillow image or an"):
        find_faces(wrong)  # type: ignore[arg-type]


def test_points_do_not_depend_on_the_number_of_cores() -> None:
    photo = data.astronaut()[:280, 60:380]
    (one,) = find_faces(photo)
    torch.set_num_threads(2)
    try:
        (two,) = find_faces(photo)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert np.array_equal(one.points, two.points)
