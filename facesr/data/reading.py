"""Reading pairs of LQ and HQ images."""

import numpy as np

from facesr.data.pairs import PairSet
from facesr.images.image import Array
from facesr.images.read import read_image


def read_pair(pairs: PairSet, index: int) -> tuple[Array, Array]:
    """Read one LQ image and its HQ image as (H, W, 3) uint8. HQ is cropped if the set asks for it."""
    lq, hq = (read_image(paths[index]).rgb8 for paths in (pairs.lq, pairs.hq))
    return lq, crop_like(hq, lq, scale=pairs.scale) if pairs.crop else hq


def crop_like(hq: Array, lq: Array, *, scale: int) -> Array:
    """Crop HQ at the right and the bottom to `scale` times the size of LQ, if it is larger."""
    height, width = (scale * side for side in lq.shape[:2])
    return np.ascontiguousarray(hq[:height, :width])
