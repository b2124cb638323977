"""A photograph with its faces restored, in Python."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

import facesr
from facesr.errors import ImageError
from facesr.faces import paste
from facesr.images.image import Array, ImageData
from tests.faces.sheets import texture


@pytest.fixture(scope="module")
def photo() -> Array:
    pixels: Array = data.astronaut()[:160, 120:330]
    return pixels


@pytest.mark.parametrize("outscale", [None, 1, 2.5])
def test_the_face_alone_differs_from_the_enlarged_photograph(
    photo: Array, outscale: float | None, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paste, "_strength", lambda crop, face: 1.0)
    model = facesr.load_model(tiny_folder, device="cpu")
    result = facesr.restore_faces(photo, model, outscale=outscale)
    factor = outscale or 4
    assert result.shape == (160 * factor, 210 * factor, 3)
    plain = photo
    if factor != 1:
        whole = ImageData(facesr.upscale_image(photo, model))
        plain = whole.rgb8 if factor == 4 else whole.resized(*result.shape[:2]).rgb8
    changed = (result != plain).any(2)
    rows, columns = np.nonzero(changed)
    (face,) = facesr.find_faces(photo)
    assert changed.mean() > 0.05
    middle = np.array([columns.mean(), rows.mean()]) / factor
    assert np.linalg.norm(middle - face.points.mean(0)) < 0.5 * face.width
    assert np.ptp(columns) / factor < 3 * face.width


def test_without_faces_it_is_the_enlarged_image(tiny_folder: Path) -> None:
    model = facesr.load_model(tiny_folder, device="cpu")
    pixels = texture(60, 70, seed=1).round().astype(np.uint8)
    assert np.array_equal(facesr.restore_faces(pixels, model), facesr.upscale_image(pixels, model))
    assert np.array_equal(facesr.restore_faces(pixels, model, outscale=1), pixels)


def test_every_kind_comes_back_as_it_came(photo: Array, tiny_folder: Path) -> None:
    model = facesr.load_model(tiny_folder, device="cpu")
    expected = facesr.restore_faces(photo, model, outscale=1)
    pil = facesr.restore_faces(Image.fromarray(photo), model, outscale=1)
    assert isinstance(pil, Image.Image)
    assert np.array_equal(np.asarray(pil), expected)
    read = facesr.restore_faces(ImageData(photo, icc=b"profile"), model, outscale=1)
    assert isinstance(read, ImageData)
    assert (np.array_equal(read.rgb, expected), read.icc) == (True, b"profile")
    with pytest.raises(ImageError, match="expected an"):
        facesr.restore_faces(photo.astype(np.float32), model)


def test_the_default_model_is_loaded_once(photo: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    small = photo[60:100, 60:110]
    first = facesr.upscale_image(small)
    monkeypatch.setattr("facesr.inference.enlarge.load_model", None)  # not called again
    assert np.array_equal(facesr.upscale_image(small), first)
    model = facesr.load_model("faceunet", device="auto")
    assert np.array_equal(facesr.upscale_image(small, model), first)
