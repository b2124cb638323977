"""Identity distance: the wiring with a stand-in for dlib, and real faces where it is installed."""

import sys
import types
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from facesr.errors import ConfigError, MissingExtra, WeightsError
from facesr.metrics import data_files, recognition
from facesr.metrics.recognition import find_identity, identity

FILES = ("shape_predictor_5_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat")


class Box:
    """A rectangle (left, top, right, bottom)."""

    def __init__(self, *sides: int) -> None:
        self.sides = sides

    def area(self) -> int:
        left, top, right, bottom = self.sides
        return (right - left) * (bottom - top)


class Describer:
    """Describes a face by the mean colour of its box."""

    def __init__(self, path: str) -> None:
        if Path(path).read_bytes() != b"model":
            raise RuntimeError("Error deserializing object")

    def compute_face_descriptor(self, image: np.ndarray, box: Box) -> list[float]:
        left, top, right, bottom = box.sides
        return image[top:bottom, left:right].mean((0, 1)).tolist()


def detect(image: np.ndarray) -> list[Box]:
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    return [Box(0, 0, 2, 2), Box(2, 2, 8, 8)] if image.any() else []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    dlib = types.ModuleType("dlib")
    dlib.get_frontal_face_detector = lambda: detect  # type: ignore[attr-defined]
    dlib.shape_predictor = lambda path: lambda image, box: box  # type: ignore[attr-defined]
    dlib.face_recognition_model_v1 = Describer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dlib", dlib)
    monkeypatch.setattr(recognition, "find_spec", lambda name: True)
    monkeypatch.setattr(data_files, "find_spec", lambda name: None)
    recognition._models.cache_clear()
    for name in FILES:
        (tmp_path / name).write_bytes(b"model")
    return tmp_path


def test_the_largest_face_of_the_target_is_compared(folder: Path) -> None:
    target = torch.full((3, 3, 8, 8), 100, dtype=torch.uint8)
    target[2] = 0  # without a face
    prediction = target.clone()
    prediction[0, :, :2, :2] = 7  # only in the smaller box
    prediction[1, :, 2:, 2:] += torch.tensor([3, 4, 12], dtype=torch.uint8)[:, None, None]
    values = identity(prediction, target, weights=folder)
    assert values.dtype == torch.float64
    torch.testing.assert_close(values, torch.tensor([0, 13, torch.nan]).double(), equal_nan=True)
    padded = [torch.nn.functional.pad(images, (3, 3, 3, 3)) / 255 for images in (prediction, target)]
    torch.testing.assert_close(identity(*padded, crop=3, weights=folder), values, equal_nan=True)


def test_what_is_missing_or_damaged_is_reported(folder: Path) -> None:
    images = torch.full((1, 3, 8, 8), 0.5)
    with pytest.raises(ConfigError, match="no luma version"):
        identity(images, images, y_channel=True, weights=folder)
    (folder / FILES[1]).write_bytes(b"half a mod")
    with pytest.raises(WeightsError, match="cannot be read as models of dlib"):
        identity(images, images, weights=folder)
    (folder / FILES[0]).unlink()
    with pytest.raises(MissingExtra, match="the extra `identity`"):
        find_identity(folder)


@pytest.mark.skipif(
    not (find_spec("dlib") and find_spec("face_recognition_models")), reason="needs the extra `identity`"
)
def test_a_degraded_face_is_nearer_than_what_is_none() -> None:
    image = Image.fromarray(astronaut()[:256, 96:352])
    small = image.resize((64, 64), Image.Resampling.BICUBIC).resize((256, 256), Image.Resampling.BICUBIC)
    pixels = [torch.from_numpy(np.array(one)).permute(2, 0, 1) for one in (image, small, image.rotate(180))]
    same, near, far = identity(torch.stack(pixels), pixels[0].expand(3, -1, -1, -1)).tolist()
    assert same == 0
    assert near == pytest.approx(0.424, abs=0.02)
    assert far > 0.6
