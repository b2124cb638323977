"""YuNet, a small network that finds faces and five points in each (Wu, Peng and Yu, 2023).

The weights come from opencv_zoo (MIT licence), with batch normalisation folded into the convolutions.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from facesr.images.image import Array

_WEIGHTS = Path(__file__).parent / "yunet.safetensors"
_STRIDES = (8, 16, 32)
_MULTIPLE = 32  # of the sides that the network takes
_COLUMNS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}

Floats = NDArray[np.float32]


class _Unit(nn.Module):
    """A 1x1 convolution, a depthwise 3x3 convolution, and a ReLU unless it is the last unit."""

    def __init__(self, inputs: int, outputs: int, *, last: bool = False) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(inputs, outputs, 1)
        self.depthwise = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.pointwise(x))
        return x if self.last else F.relu(x)


def _stage(*widths: int) -> nn.Sequential:
    first, middle, last = widths
    return nn.Sequential(OrderedDict(unit1=_Unit(first, middle), unit2=_Unit(middle, last)))


class YuNet(nn.Module):
    """Scores the cells of three grids, with strides of 8, 16 and 32 px, as faces.

    The input is (B, 3, h, w), BGR from 0 to 255. Its sides are multiples of 32.
    """

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        first = nn.Sequential(OrderedDict(stem=stem, relu=nn.ReLU(), unit2=_Unit(16, 16)))
        deep = [_stage(64, 64, 64) for _ in _STRIDES]
        self.backbone = nn.ModuleList([first, _stage(16, 16, 32), _stage(32, 32, 64), *deep])
        self.neck = nn.ModuleList(_Unit(64, 64) for _ in _STRIDES)
        self.head = nn.ModuleDict(
            {
                name: nn.ModuleList(_Unit(64, count, last=True) for _ in _STRIDES)
                for name, count in _COLUMNS.items()
            }
        )

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        """Return three tensors, (B, columns, h / stride, w / stride), for each of cls, obj, bbox and kps."""
        x = F.max_pool2d(self.backbone[0](x), 2)
        x = self.backbone[2](self.backbone[1](x))
        levels = []
        for stage in self.backbone[3:]:
            x = stage(F.max_pool2d(x, 2))
            levels.append(x)
        levels[2] = self.neck[2](levels[2])
        for index in (1, 0):
            coarser = F.interpolate(levels[index + 1], scale_factor=2.0, mode="nearest")
            levels[index] = self.neck[index](levels[index] + coarser)
        return {
            name: [self.head[name][index](level) for index, level in enumerate(levels)]  # type: ignore[index]
            for name in _COLUMNS
        }


@cache
def load_detector() -> YuNet:
    network = YuNet()
    network.load_state_dict(load_file(_WEIGHTS))
    return network.eval().requires_grad_(False)


@dataclass(frozen=True)
class Cells:
    """Cells of one image that look like a face.

    Attributes:
        boxes: (n, 4), left, top, right and bottom in pixels.
        points: (n, 5, 2), x and y in pixels of the eye on the left of the image, the other eye, the tip of
            the nose and the corners of the mouth.
        scores: (n,), confidence that each is a face, 0 to 1.
    """

    boxes: Floats
    points: Floats
    scores: Floats


@torch.inference_mode()
def rate_cells(network: YuNet, images: Array, *, threshold: float) -> list[Cells]:
    """Return the cells that score at least `threshold`, for each of (B, h, w, 3) RGB images of any size."""
    height, width = images.shape[1:3]
    x = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).float()
    x = F.pad(x, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE))
    found: list[list[Tensor]] = [[] for _ in images]
    with _one_core():
        outputs = network(x)
    for level, stride in enumerate(_STRIDES):
        grids = {name: tensors[level] for name, tensors in outputs.items()}
        scores = (grids["cls"].sigmoid() * grids["obj"].sigmoid()).sqrt()[:, 0]
        index, rows, columns = torch.nonzero(scores >= threshold, as_tuple=True)
        corner = torch.stack([columns, rows], dim=1).float()
        box = grids["bbox"][index, :, rows, columns]
        centre, half = corner + box[:, :2], box[:, 2:].exp() / 2
        points = corner.repeat(1, 5) + grids["kps"][index, :, rows, columns]
        places = torch.cat([centre - half, centre + half, points], dim=1) * stride
        table = torch.cat([places, scores[index, rows, columns, None]], dim=1)
        for number, cells in enumerate(found):
            cells.append(table[index == number])
    tables = [torch.cat(cells).numpy() for cells in found]
    return [Cells(table[:, :4], table[:, 4:14].reshape(-1, 5, 2), table[:, 14]) for table in tables]


@contextmanager
def _one_core() -> Iterator[None]:
    """Compute on one core in this thread, so that points do not depend on the number of cores.

    The last bits of the network's output do depend on it, and repeated refinement amplifies them.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def separate(boxes: Floats, scores: Floats, *, overlap: float) -> list[int]:
    """Return the indices of the boxes to keep, best first, by greedy non-maximum suppression.

    Args:
        boxes: (n, 4), left, top, right and bottom.
        scores: (n,), which decide which box is better.
        overlap: Largest intersection over union of two boxes that are both kept.
    """
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if not kept or overlaps(boxes[kept], boxes[index]).max() <= overlap:
            kept.append(int(index))
    return kept


def overlaps(boxes: Floats, box: Floats) -> Floats:
    """Return the intersection over union of each of (n, 4) boxes with one box."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    common = np.clip(high - low, 0, None).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    shared: Floats = common / (areas - common)
    return shared
