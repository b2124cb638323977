"""Identity distance: how different a face recognition network finds the faces in two images.

dlib finds and describes the faces. The models are data files of the package `face_recognition_models`, or
come from a folder. No code of that package is run.
"""

import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facesr.errors import ConfigError, MissingExtra, WeightsError
from facesr.metrics.data_files import folders
from facesr.metrics.fidelity import as_8_bit

_POINTS, _NETWORK = "shape_predictor_5_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat"
_alone = threading.Lock()  # images are scored on several threads, and dlib does not say that it may be shared


def identity(
    prediction: Tensor,
    target: Tensor,
    *,
    crop: int = 0,
    y_channel: bool = False,
    weights: Path | None = None,
) -> Tensor:
    """Return the distance of dlib's face descriptors (128 numbers of a ResNet), 0 for identical images.

    The largest face of the target is described in both images, at the points found in the target.

    Args:
        prediction: (B, 3, H, W), uint8 or float RGB in [0, 1]. Floats are rounded to 8 bits.
        target: The same shape.
        crop: Pixels to ignore along each border.
        y_channel: Must be off, since the network needs colour.
        weights: Folder with the models. Without one, or if it lacks them, the installed package is used.

    Returns:
        (B,) float64 on the CPU, NaN if dlib finds no face in the target. A face needs about 80 px.

    Raises:
        MissingExtra: dlib or the models are not installed.
        WeightsError: The models cannot be read.
        ConfigError: `y_channel` is on.
    """
    if y_channel:
        raise ConfigError("the identity distance has no luma version", hint="use `--protocol challenge`")
    pairs = zip(_pixels(prediction, crop), _pixels(target, crop), strict=True)
    folder = find_identity(weights)
    with _alone:
        return torch.tensor([_distance(a, b, folder) for a, b in pairs], dtype=torch.float64)


def find_identity(weights: Path | None = None) -> Path:
    """Return the folder of the models, without reading them or running code of their package.

    Raises:
        MissingExtra: dlib or the models are not installed.
    """
    for folder in folders("face_recognition_models", "models", named=weights):
        if find_spec("dlib") and all((folder / name).is_file() for name in (_POINTS, _NETWORK)):
            return folder
    raise MissingExtra("identity")


def _pixels(images: Tensor, crop: int) -> list[Any]:
    return [np.ascontiguousarray(one) for one in as_8_bit(images, crop=crop).byte().cpu().permute(0, 2, 3, 1)]


def _distance(prediction: Any, target: Any, folder: Path) -> float:
    find, locate, describe = _models(folder)
    boxes = find(target)
    if not boxes:
        return float("nan")
    points = locate(target, max(boxes, key=lambda box: box.area()))
    a, b = (np.array(describe.compute_face_descriptor(image, points)) for image in (prediction, target))
    return float(np.linalg.norm(a - b))


@cache
def _models(folder: Path) -> tuple[Any, Any, Any]:
    import dlib

    try:
        locate = dlib.shape_predictor(str(folder / _POINTS))
        describe = dlib.face_recognition_model_v1(str(folder / _NETWORK))
    except RuntimeError as error:
        raise WeightsError(f"{folder}: cannot be read as models of dlib ({error})") from error
    return dlib.get_frontal_face_detector(), locate, describe
