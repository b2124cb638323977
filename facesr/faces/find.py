"""Finding the faces of a photograph, of any size and rotation, and locating their points accurately.

The detector finds faces of about 12 to 250 px that are upright within about 25 degrees. So the photograph is
searched at several sizes and in eight rotations. Each detection is then refined: the face is cut out upright
at a fixed size and detected again, until its points no longer move.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facesr.config.upscale import FACE_THRESHOLD
from facesr.errors import ImageError
from facesr.faces.align import TEMPLATE, TEMPLATE_SIDE, Points, Similarity, sample
from facesr.faces.yunet import Cells, YuNet, load_detector, rate_cells, separate
from facesr.images.image import Array, ImageData
from facesr.images.read import from_pil

_TURNS = 8
_TURNED_PX = 1 << 20  # what is searched in turns is reduced to so many pixels
_BAND_PX = 1 << 21
_LARGEST_PX = 250  # width of a face, beyond which the detector sees faces within it
_REDUCTION = 4  # from one size to the next
_CANDIDATE = 0.4  # score of what is looked at again
_TRIALS = 3  # turns of one find that are looked at again
_SURE = 0.9  # score of a face of which no other turn is looked at
_MAX_ROLL = 40.0  # degrees, beyond which points of the detector are not to be believed
_FILLED = 0.85  # of the shorter side of an image, by the frame of the only face in it
_OVERLAP = 0.3  # intersection over union of the boxes of one face

# Looks: the side of the views and, look by look, the distances of the eyes in its views, pixels.
_VIEW_PX = 160
_LOOKS = ((20,), (20,), (20,), (20,), (16, 20, 26), (16, 20, 26))
_GLIMPSE = 0.2  # score of what is seen in a view
# What a find in a view loses in score for each distance of the eyes that it is away from the middle.
_AWAY = 0.3
_MIRRORED = [1, 0, 2, 4, 3]
_UNIT_FACE: Points = (TEMPLATE - TEMPLATE.mean(0)) / np.linalg.norm(TEMPLATE[1] - TEMPLATE[0])
# Half the sides of the detector's box about the middle of the points, where the eyes are 1 apart.
_HALF_BOX = np.array([1.13, 1.42])


@dataclass(frozen=True)
class Face:
    """A face in a photograph.

    Attributes:
        box: Left, top, right and bottom in pixels.
        points: (5, 2), x and y in pixels from the image's corner. In order: the left eye as seen on the
            upright face, the other eye, the tip of the nose and the corners of the mouth.
        score: Confidence that it is a face, 0 to 1.
    """

    box: tuple[float, float, float, float]
    points: Points
    score: float

    @property
    def width(self) -> float:
        """Width of the upright face in pixels."""
        return float(2 * _HALF_BOX[0] / Similarity.fit(self.points, _UNIT_FACE).scale)


@dataclass(frozen=True)
class _Find:
    """A detection, in pixels of the photograph."""

    width: float
    points: Points
    score: float
    roll: float  # degrees within the turn that it was found in

    @property
    def centre(self) -> Points:
        """Mean of the points, (2,)."""
        centre: Points = self.points.mean(0)
        return centre


def fills(points: Points, size: tuple[int, int]) -> bool:
    """Return whether a face's frame takes up most of the shorter side of an image of (height, width)."""
    return TEMPLATE_SIDE / Similarity.fit(points, TEMPLATE).scale >= _FILLED * min(size)


def find_faces(
    image: Image.Image | ImageData | Array,
    *,
    threshold: float = FACE_THRESHOLD,
    unless_filled: bool = False,
) -> list[Face]:
    """Find the faces of an image, from about 12 px wide to the whole image, in any rotation.

    Args:
        image: A Pillow image of any mode, what `read_image` returns, or an (h, w, 3) uint8 RGB array.
            Positions are those in the upright image.
        threshold: Smallest score of a face, 0 to 1.
        unless_filled: Whether to stop early if the only upright face fills the image, as in training images.
            This takes a hundredth of the time. That face's points are not refined.

    Returns:
        The faces, largest first.

    Raises:
        ImageError: Another type, shape or dtype, or a Pillow image that cannot be decoded.
    """
    if isinstance(image, Image.Image):
        image = from_pil(image)
    pixels = image.rgb8 if isinstance(image, ImageData) else image
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[2:] != (3,):
        raise ImageError("expected a Pillow image or an (h, w, 3) uint8 array")
    network = load_detector()
    upright = list(_search_sizes(network, pixels, Similarity.identity()))
    sure = _gather(find for find in upright if find.score >= threshold)
    if unless_filled and len(sure) == 1:
        best = max(sure[0], key=lambda find: find.score)
        if fills(best.points, pixels.shape[:2]):
            return [Face(_box(best.points), best.points, best.score)]
    faces = []
    for trials in _gather([*upright, *_search_turned(network, pixels)]):
        looked: list[Face] = []
        for find in trials:
            looked.append(_look(network, pixels, find.points))
            if looked[-1].score >= _SURE:
                break
        face = max(looked, key=lambda face: face.score)
        if face.score >= threshold:
            faces.append(face)
    if not faces:
        return []
    boxes, scores = (np.array([getattr(face, name) for face in faces]) for name in ("box", "score"))
    kept = [faces[index] for index in separate(boxes, scores, overlap=_OVERLAP)]
    return sorted(kept, key=lambda face: -face.width)


def _search_turned(network: YuNet, pixels: Array) -> Iterator[_Find]:
    """Search the image, reduced if it is large, in all rotations but upright."""
    height, width = pixels.shape[:2]
    reduced = min(1.0, math.sqrt(_TURNED_PX / (height * width)))
    middle = np.array([width, height]) / 2
    for number in range(1, _TURNS):
        factor = reduced * np.exp(2j * math.pi * number / _TURNS)
        cos, sin = abs(factor.real), abs(factor.imag)
        across, down = math.ceil(width * cos + height * sin), math.ceil(width * sin + height * cos)
        turn = Similarity.turn(factor, about=middle, to=np.array([across, down]) / 2)
        turned = sample(pixels, turn, height=down, width=across)
        yield from _search_sizes(network, turned, turn)


def _search_sizes(network: YuNet, pixels: Array, turn: Similarity) -> Iterator[_Find]:
    """Search one rotation of the photograph, at its own size and reduced until a face can fill it."""
    while True:
        height, width = pixels.shape[:2]
        is_last = max(height, width) <= _LARGEST_PX
        back = turn.inverse()
        for cells in _rate_bands(network, pixels):
            for index in separate(cells.boxes, cells.scores, overlap=_OVERLAP):
                box, points = cells.boxes[index], cells.points[index].astype(np.float64)
                face_width = float(box[2] - box[0])
                if face_width > _LARGEST_PX and not is_last:
                    continue
                roll = -Similarity.fit(points, _UNIT_FACE).roll
                if abs(roll) <= _MAX_ROLL:
                    score = float(cells.scores[index])
                    yield _Find(face_width * back.scale, back.apply(points), score, roll)
        if is_last:
            return
        smaller = Similarity.scaling(1 / _REDUCTION)
        size = {"height": -(-height // _REDUCTION), "width": -(-width // _REDUCTION)}
        pixels, turn = sample(pixels, smaller, **size), turn.then(smaller)


def _rate_bands(network: YuNet, pixels: Array) -> Iterator[Cells]:
    """Run the detector on overlapping bands of rows, so that memory does not grow with the image."""
    height, width = pixels.shape[:2]
    rows = max(_BAND_PX // width, 2 * _LARGEST_PX)
    for top in range(0, max(1, height - _LARGEST_PX), rows - _LARGEST_PX):
        (cells,) = rate_cells(network, pixels[None, top : top + rows], threshold=_CANDIDATE)
        offset = np.array([0, top], np.float32)
        yield Cells(cells.boxes + np.tile(offset, 2), cells.points + offset, cells.scores)


def _gather(finds: Iterable[_Find]) -> list[list[_Find]]:
    """Group detections of the same face, most plausible groups first, and drop surplus ones."""
    groups: list[list[_Find]] = []
    for find in sorted(finds, key=lambda find: abs(find.roll) / 180 - find.score):
        for group in groups:
            first = group[0]
            near = np.linalg.norm(find.centre - first.centre) < 0.4 * max(find.width, first.width)
            if near and 0.5 < find.width / first.width < 2:
                if len(group) < _TRIALS:
                    group.append(find)
                break
        else:
            groups.append([find])
    return groups


def _look(network: YuNet, pixels: Array, points: Points) -> Face:
    """Refine a face's points and score: cut it out upright and detect it again, several times."""
    score = 0.0
    for eyes_px in _LOOKS:
        to_unit, to_middle = Similarity.fit(points, _UNIT_FACE), Similarity.shifting((_VIEW_PX / 2,) * 2)
        upright = [to_unit.then(Similarity.scaling(eyes)).then(to_middle) for eyes in eyes_px]
        views = np.stack([sample(pixels, one, height=_VIEW_PX, width=_VIEW_PX) for one in upright])
        seen = rate_cells(network, np.concatenate([views, views[:, :, ::-1]]), threshold=_GLIMPSE)
        found = []
        for number, cells in enumerate(seen):
            view = upright[number % len(views)]
            places = cells.points.astype(np.float64)
            if number >= len(views):
                places = (np.array([_VIEW_PX, 0]) + places * (-1, 1))[:, _MIRRORED]
            if len(places):
                away = np.linalg.norm(places.mean(1) - _VIEW_PX / 2, axis=1) / eyes_px[number % len(views)]
                best = int(np.argmax(cells.scores - _AWAY * away))
                found.append((view.inverse().apply(places[best]), float(cells.scores[best])))
        if not found:
            return Face(_box(points), points, 0.0)
        points = np.mean([places for places, _ in found], axis=0)
        score = sum(rating for _, rating in found) / len(seen)
    return Face(_box(points), points, score)


def _box(points: Points) -> tuple[float, float, float, float]:
    """Return the axis-aligned rectangle around a face that may be rotated."""
    corners = np.array([(-1, -1), (1, -1), (-1, 1), (1, 1)]) * _HALF_BOX
    turned = Similarity.fit(points, _UNIT_FACE).inverse().apply(corners)
    (left, top), (right, bottom) = turned.min(0), turned.max(0)
    return float(left), float(top), float(right), float(bottom)
