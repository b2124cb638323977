"""Making training pairs. Each pair depends only on the seed and its number."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from facesr.config.data import DataConfig
from facesr.data.augment import jitter, zoom
from facesr.data.folders import Folder
from facesr.data.reading import crop_like
from facesr.degradation.degrader import degrade_pixels, derive_seed, draw
from facesr.errors import FacesrError, ImageError
from facesr.images.image import Array
from facesr.images.read import read_image

_TRIES = 8


@dataclass(frozen=True)
class TrainingPair:
    """A training pair at 8 bits."""

    lq: Array | Tensor  # (h, w, 3) uint8; empty if nothing could be read
    hq: Array | Tensor  # (scale h, scale w, 3) uint8
    name: str  # the HQ file, for messages
    failed: tuple[str, ...] = ()  # messages about files that could not be read and were passed over
    error: FacesrError | None = None  # why no pair at all can be made so
    seconds: tuple[float, float] = (0.0, 0.0)  # that reading and varying it took, and degrading it


class PairDataset(Dataset[TrainingPair]):
    """Numbered training pairs: a number decides the image, its variation and its degradation.

    A folder of N images repeats none of them within N consecutive numbers.
    """

    def __init__(self, folders: Sequence[Folder], config: DataConfig, *, seed: int, scale: int) -> None:
        self.folders = list(folders)
        self.config = config
        self.degradations = {
            name: replace(one, usm_source=one.usm_source or config.usm_source)
            for name, one in config.degradations.items()
        }
        self.seed = seed
        self.scale = scale

    def __getitem__(self, number: int) -> TrainingPair:
        nothing = np.empty((0, 0, 3), np.uint8)
        failed: list[str] = []
        for attempt in range(_TRIES):
            random, index, position = self.pick(number, attempt)
            folder = self.folders[index]
            try:
                lq, hq, seconds = self._make(folder, position, random)
            except ImageError as error:
                failed.append(error.message)
                continue
            except FacesrError as error:  # raised in a worker, it would reach the user as a traceback
                return TrainingPair(nothing, nothing, "", error=error)
            return TrainingPair(lq, hq, str(folder.hq[position]), tuple(failed), seconds=seconds)
        return TrainingPair(nothing, nothing, "", tuple(failed))

    def pick(self, number: int, attempt: int = 0) -> tuple[Random, int, int]:
        """Choose folder and position of an image. The returned generator draws everything that follows."""
        random = Random(derive_seed(self.seed, f"draw {number}", attempt))  # noqa: S311
        shares = [folder.share for folder in self.folders]
        index = random.choices(range(len(self.folders)), shares)[0]
        size = len(self.folders[index].hq)
        epoch, place = divmod(number, size)
        # A broken file is replaced by another, so that one of thousands does not end a run of days.
        return (
            random,
            index,
            random.randrange(size) if attempt else _order(self.seed, index, size, epoch)[place],
        )

    def pick_degradation(self, random: Random) -> str:
        shares = self.config.degradation_shares
        return random.choices(list(shares), list(shares.values()))[0]

    def read_hq(self, folder: Folder, position: int, lq: Array | None = None) -> Array:
        """Read an HQ image, cropped to match its LQ image if `crop_to_scale` is set.

        Raises:
            ImageError: The image cannot be read or used.
        """
        hq = read_image(folder.hq[position]).rgb8
        if lq is not None and self.config.crop_to_scale:
            hq = crop_like(hq, lq, scale=self.scale)
        size = (hq.shape[0], hq.shape[1])
        # Its header may have said something else, and it may have been replaced since.
        if min(size) < max(self.config.crop_px, self.scale) or folder.size not in (None, size):
            raise ImageError(f"is {size[1]}x{size[0]} now", file=folder.hq[position])
        return hq

    def _make(
        self, folder: Folder, position: int, random: Random
    ) -> tuple[Array, Array, tuple[float, float]]:
        start = time.perf_counter()
        lq = read_image(folder.lq[position]).rgb8 if folder.lq else None
        hq = self.read_hq(folder, position, lq)
        if lq is not None:
            if tuple(self.scale * side for side in lq.shape[:2]) != hq.shape[:2]:
                raise ImageError(f"is {lq.shape[1]}x{lq.shape[0]} now", file=folder.lq[position])
            return lq, hq, (time.perf_counter() - start, 0.0)
        hq = zoom(hq, self.config, random)
        hq = jitter(hq, self.config, random)
        name = self.pick_degradation(random)
        steps = draw(self.degradations[name], random.getrandbits(48))
        height, width = (side - side % self.scale for side in hq.shape[:2])
        hq = np.ascontiguousarray(hq[:height, :width])
        middle = time.perf_counter()
        lq = degrade_pixels(hq, steps, scale=self.scale)
        return lq, hq, (middle - start, time.perf_counter() - middle)


@lru_cache(maxsize=64)
def _order(seed: int, folder: int, size: int, epoch: int) -> list[int]:
    order = list(range(size))
    Random(derive_seed(seed, f"order {folder}", epoch)).shuffle(order)  # noqa: S311
    return order
