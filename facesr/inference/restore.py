"""Restoring the faces of photographs: which parts go through the network, and how they are joined."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from PIL import Image

from facesr.config.upscale import FACE_THRESHOLD, FacesMode
from facesr.errors import ImageError
from facesr.faces.find import Face, fills, find_faces
from facesr.faces.paste import Crop, cut_faces, paste_faces
from facesr.images.image import Array, ImageData, bicubic, to_pil
from facesr.images.read import from_pil
from facesr.inference.enlarge import default_model, upscale_image
from facesr.weights.load import Model

Photo = TypeVar("Photo", Image.Image, ImageData, Array)

MOST_FACES = 200
NOT_CHOSEN = "not chosen"


@dataclass(frozen=True)
class Enlargement:
    """A network's scale, and the enlargement that the user wants."""

    scale: int
    outscale: float
    face_px: int | None = None  # side of the faces that the network takes, where it takes nothing else

    @classmethod
    def of(cls, model: Model, outscale: float | None) -> "Enlargement":
        traits = model.network.traits
        return cls(traits.scale, outscale or traits.scale, traits.face_px)

    def size(self, image: ImageData) -> tuple[int, int]:
        """Return (height, width) of the result for an image."""
        height, width = (max(1, round(side * self.outscale)) for side in image.size)
        return height, width


@dataclass(frozen=True)
class Photograph:
    """A photograph on its way through the network.

    Attributes:
        image: The photograph.
        crops: Faces that are restored separately.
        has_background: Whether a network also enlarges the photograph as a whole.
        is_whole: Whether the photograph is only enlarged as a whole, because one face fills it or faces were
            not searched for.
        left_alone: Faces that are not restored separately, each with the reason.
    """

    image: ImageData
    crops: tuple[Crop, ...] = ()
    has_background: bool = True
    is_whole: bool = False
    left_alone: tuple[tuple[Face, str], ...] = ()

    @property
    def parts(self) -> list[ImageData]:
        """Images that go through the network."""
        crops = [crop.image for crop in self.crops]
        return [self.image, *crops] if self.has_background else crops

    def faces_of(self, results: Sequence[ImageData]) -> Sequence[ImageData]:
        """Return the results that are faces, given the results of all parts."""
        return results[1:] if self.has_background else results

    def restricted(self, chosen: Collection[int]) -> "Photograph":
        """Keep only the faces with the chosen numbers, counted from 1 in the order of the crops."""
        numbered = list(enumerate(self.crops, start=1))
        crops = tuple(crop for number, crop in numbered if number in chosen)
        others = tuple((crop.face, NOT_CHOSEN) for number, crop in numbered if number not in chosen)
        return replace(self, crops=crops, left_alone=(*self.left_alone, *others))

    @property
    def is_restricted(self) -> bool:
        return any(why == NOT_CHOSEN for _, why in self.left_alone)

    def is_rest(self, part: int) -> bool:
        """Return whether the part with this index is the rest of the photograph, not a face."""
        return part == 0 and self.has_background and not self.is_whole


def plan_photograph(
    image: ImageData,
    size: Enlargement,
    *,
    mode: FacesMode,
    background: str = "model",
    min_face: float = 0,
    threshold: float = FACE_THRESHOLD,
    find: Callable[..., list[Face]] = find_faces,
) -> Photograph:
    """Find the faces of a photograph and cut out those to restore separately.

    `find` is `find_faces`, or a function like it that caches its results.
    """
    if mode == "off":
        return Photograph(image, is_whole=True)
    is_for_faces = size.face_px is not None
    # A network of scale 1 has nothing to enlarge, so it restores the whole.
    has_background = background != "bicubic" and (size.outscale != 1 or size.scale == 1) and not is_for_faces
    if min(image.size) < min_face:
        return Photograph(image, has_background=has_background)
    chosen: list[Face] = []
    left_alone: list[tuple[Face, str]] = []
    may_be_crop = mode == "auto" and not is_for_faces
    faces = find(image, threshold=threshold, unless_filled=may_be_crop)
    if may_be_crop and len(faces) == 1 and fills(faces[0].points, image.size):
        why = "it fills the image, which is enlarged as a whole"
        return Photograph(image, is_whole=True, left_alone=((faces[0], why),))
    for face in faces:
        if face.width < min_face:
            left_alone.append((face, f"smaller than {min_face:g} px"))
        elif len(chosen) == MOST_FACES:
            left_alone.append((face, f"{MOST_FACES} larger ones were restored"))
        else:
            chosen.append(face)
    crops = cut_faces(image, chosen, enlargement=size.outscale / size.scale, side=size.face_px)
    return Photograph(image, tuple(crops), has_background, left_alone=tuple(left_alone))


def put_together(photo: Photograph, results: Sequence[ImageData], size: Enlargement) -> ImageData:
    """Return the photograph at its final size, made of the network's results for its parts."""
    height, width = size.size(photo.image)
    if photo.has_background:
        whole = results[0] if size.outscale == size.scale else results[0].resized(height, width)
    elif size.outscale == 1:
        whole = replace(photo.image, rgb=photo.image.rgb.copy())
    else:
        whole = photo.image.enlarged(bicubic(photo.image.rgb, height=height, width=width))
    faces = photo.faces_of(results)
    return paste_faces(whole, photo.crops, faces, outscale=size.outscale, is_restored=photo.has_background)


def restore_faces(
    image: Photo,
    model: Model | None = None,
    *,
    outscale: float | None = None,
    threshold: float = FACE_THRESHOLD,
) -> Photo:
    """Enlarge a photograph, and restore each of its faces separately, upright and at the network's size.

    Args:
        image: A Pillow image of any mode, what `read_image` returns, or an (h, w, 3) uint8 RGB array.
        model: Model from `facesr.load_model`. By default the bundled model, which is loaded once.
        outscale: How many times larger the result is (default: the network's scale). At 1, everything but the
            faces stays as it is.
        threshold: Smallest score of a face, as for `find_faces`.

    Returns:
        The same kind of image as the input.

    Raises:
        ImageError: Another type, shape or dtype, a Pillow image that cannot be decoded, or memory runs out.
    """
    if isinstance(image, Image.Image):
        return to_pil(restore_faces(from_pil(image), model, outscale=outscale, threshold=threshold))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.shape[2:] != (3,):
            raise ImageError(f"expected an (h, w, 3) uint8 array, found {image.shape} {image.dtype}")
        return restore_faces(ImageData(image), model, outscale=outscale, threshold=threshold).rgb8
    model = model or default_model()
    size = Enlargement.of(model, outscale)
    photo = plan_photograph(image, size, mode="always", threshold=threshold)
    return put_together(photo, [upscale_image(part, model) for part in photo.parts], size)
