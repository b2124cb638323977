"""Restoring the faces of one photograph."""

from typing import TypeVar

import numpy as np
from PIL import Image

from facesr.errors import ImageError
from facesr.faces.find import DEFAULT_THRESHOLD, find_faces
from facesr.faces.paste import cut_faces, paste_faces
from facesr.images.image import Array, ImageData, to_pil
from facesr.images.read import from_pil
from facesr.inference.enlarge import default_model, upscale_image
from facesr.weights.load import Model

Photo = TypeVar("Photo", Image.Image, ImageData, Array)


def restore_faces(
    image: Photo,
    model: Model | None = None,
    *,
    outscale: float | None = None,
    threshold: float = DEFAULT_THRESHOLD,
) -> Photo:
    """Enlarge a photograph, with each of its faces restored by itself, upright and at the network's size.

    Args:
        image: A Pillow image of any mode, what `read_image` returns, or an (h, w, 3) uint8 RGB array.
        model: From `facesr.load_model`. The bundled default is loaded once if there is none.
        outscale: How many times larger the result is, by default the network's scale. At 1 everything but the
            faces stays as it is.
        threshold: Smallest score of a face, as for `find_faces`.

    Returns:
        The same kind.

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
    scale = model.network.traits.scale
    outscale = outscale or scale
    crops = cut_faces(image, find_faces(image, threshold=threshold), enlargement=outscale / scale)
    background = image if outscale == 1 else enlarged_to(upscale_image(image, model), scale, outscale)
    restored = [upscale_image(crop.image, model) for crop in crops]
    return paste_faces(background, crops, restored, outscale=outscale)


def enlarged_to(image: ImageData, scale: int, outscale: float) -> ImageData:
    """Bring what a network enlarged to the enlargement that was asked for."""
    if outscale == scale:
        return image
    height, width = (max(1, round(side / scale * outscale)) for side in image.size)
    return image.resized(height, width)
