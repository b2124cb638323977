"""A record in a PNG comes back as it was, and whatever else is there is one clear error."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from facesr.config.steps import PRESETS, degradation_preset
from facesr.degradation.degrader import draw
from facesr.degradation.record import KEY, encode_record, read_record
from facesr.errors import ImageError
from facesr.images.image import ImageData
from facesr.images.write import encode_image, write_image
from tests.conftest import noise

PIXELS = ImageData(rgb=noise(8, 8))


def record(preset: str = "default") -> dict:
    steps = draw(degradation_preset(preset), 3)
    return {"file": "a/b/c.png", "copy": 1, "seed": 3, "scale": 4, "steps": steps}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_record_survives_its_png(tmp_path: Path, preset: str) -> None:
    path = tmp_path / "a.png"
    write_image(path, PIXELS, text={KEY: encode_record(record(preset))})
    assert read_record(path) == {**record(preset), "file": "c.png"}


def test_a_name_of_any_bytes_survives(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    name = "\udcff\u00e4\u4eba.png"
    write_image(path, PIXELS, text={KEY: encode_record({**record(), "file": name})})
    assert read_record(path)["file"] == name


def test_text_changes_no_pixel_and_other_formats_do_without(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", PIXELS, text={KEY: "x", "more": "y"})
    with Image.open(tmp_path / "a.png") as image:
        assert image.info == {KEY: "x", "more": "y"}
        assert np.array_equal(np.asarray(image), PIXELS.rgb)
    for suffix in (".jpg", ".webp", ".tif", ".bmp"):
        assert encode_image(PIXELS, suffix, text={KEY: "x"}) == encode_image(PIXELS, suffix)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "{}",
        "[" * 5000,
        "9" * 5000,
        " " * 100_000,
        json.dumps({**record(), "steps": 1}),
    ],
    ids=lambda text: text[:20],
)
def test_a_foreign_or_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.png"
    write_image(path, PIXELS, text={KEY: text} if text else {"Comment": "mine"})
    with pytest.raises(ImageError, match=r"a\.png: (has no degradation record|its degradation record is)"):
        read_record(path)


def test_what_is_no_png_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_image(PIXELS, ".jpg"))
    (tmp_path / "b.png").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        with pytest.raises(ImageError, match=name):
            read_record(tmp_path / name)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_file_gives_a_record_or_one_error(tmp_path: Path, compressed: bool) -> None:
    path, rng = tmp_path / "a.png", random.Random(0)
    info = PngInfo()
    info.add_text(KEY, encode_record(record()), zip=compressed)
    Image.fromarray(PIXELS.rgb).save(path, pnginfo=info)
    whole = path.read_bytes()
    errors = []
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
        try:
            assert read_record(path)["steps"]
        except ImageError as error:
            errors.append(str(error))
    assert len(errors) > 250
    assert all(error.startswith(str(path)) and "\n" not in error for error in errors)
