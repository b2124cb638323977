"""Photographs with their faces restored: what changes, what does not, and what is said of them."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

import facesr
from facesr.config.runtime import RuntimeConfig
from facesr.config.upscale import UpscaleConfig
from facesr.faces import paste
from facesr.images.image import ImageData
from facesr.images.read import read_image
from facesr.results import UpscaleResult
from facesr.workflows.upscale import upscale
from tests.conftest import Listener, Run, noise


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    astronaut = Image.fromarray(data.astronaut()).crop((60, 0, 380, 280))
    astronaut.save(folder / "one.png")
    pair = Image.new("RGB", (300, 120), (90, 110, 130))
    half = astronaut.resize((130, 100))
    pair.paste(half, (10, 10))
    pair.paste(half.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (160, 10))
    pair.save(folder / "two.jpg", quality=95)
    Image.fromarray(noise(30, 40)).save(folder / "none.png")
    return folder


@pytest.fixture(autouse=True)
def _whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paste, "_strength", lambda crop, face: 1.0)


def run_upscale(album: Path, model: Path, output: Path, **changes: object) -> tuple[UpscaleResult, Listener]:
    listener = Listener()
    runtime = RuntimeConfig(device="cpu", batch=2)
    config = UpscaleConfig(
        **{"inputs": (album,), "output": output, "model": str(model), "runtime": runtime, **changes}
    )
    return upscale(config, listener), listener


def test_faces_alone_change_and_are_listed(album: Path, tiny_folder: Path, tmp_path: Path) -> None:
    plain, _ = run_upscale(album, tiny_folder, tmp_path / "off")
    result, listener = run_upscale(album, tiny_folder, tmp_path / "on", faces="always")
    assert [path.name for path in sorted(result.written)] == ["none.png", "one.png", "two.jpg"]
    assert plain.faces == ()
    assert sorted(face.file.name for face in result.faces) == ["one.png", "two.jpg", "two.jpg"]
    assert {face.left_alone for face in result.faces} == {""}
    assert [warning for warning in listener.warnings if "no face was found" in warning]
    off, on = (read_image(tmp_path / name / "one.png").rgb for name in ("off", "on"))
    changed = (off != on).any(2)
    left, top, right, bottom = (4 * side for side in next(face.box for face in result.faces))
    rows, columns = np.nonzero(changed)
    assert 0.05 < changed.mean() < 0.6
    assert left < columns.mean() < right
    assert top < rows.mean() < bottom
    assert (tmp_path / "off" / "none.png").read_bytes() == (tmp_path / "on" / "none.png").read_bytes()


@pytest.mark.parametrize("background", ["model", "bicubic"])
def test_at_its_own_size_all_but_the_faces_is_the_input(
    background: str, album: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    run_upscale(album, tiny_folder, tmp_path / "out", faces="auto", outscale=1.0, background=background)
    original, result = (read_image(folder / "one.png").rgb for folder in (album, tmp_path / "out"))
    changed = (original != result).any(2)
    assert 0.05 < changed.mean() < 0.6
    same = read_image(tmp_path / "out" / "none.png").rgb
    assert np.array_equal(same, noise(30, 40))


def test_the_rest_can_be_enlarged_by_resampling(album: Path, tiny_folder: Path, tmp_path: Path) -> None:
    run_upscale(album, tiny_folder, tmp_path / "out", faces="always", background="bicubic")
    photo = Image.open(album / "one.png")
    expected = np.asarray(photo.resize((photo.width * 4, photo.height * 4), Image.Resampling.BICUBIC))
    result = read_image(tmp_path / "out" / "one.png").rgb
    assert np.array_equal(result[-100:], expected[-100:])
    assert not np.array_equal(result, expected)


def test_auto_leaves_an_image_alone_that_one_face_fills(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    folder.mkdir()
    (face,) = facesr.find_faces(data.astronaut())
    (crop,) = paste.cut_faces(ImageData(data.astronaut()), [face], enlargement=1)
    Image.fromarray(crop.image.rgb8).save(folder / "a.png")
    run_upscale(folder, tiny_folder, tmp_path / "off")
    auto, _ = run_upscale(folder, tiny_folder, tmp_path / "auto", faces="auto")
    always, _ = run_upscale(folder, tiny_folder, tmp_path / "always", faces="always")
    assert (tmp_path / "off/a.png").read_bytes() == (tmp_path / "auto/a.png").read_bytes()
    assert (tmp_path / "off/a.png").read_bytes() != (tmp_path / "always/a.png").read_bytes()
    assert "fills the image" in auto.faces[0].left_alone
    assert always.faces[0].left_alone == ""


@pytest.mark.parametrize(("option", "count"), [({"min_face": 60}, 1), ({"face_threshold": 0.99}, 0)])
def test_what_is_small_or_doubtful_is_left_alone(
    option: dict[str, float], count: int, album: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    result, _ = run_upscale(album, tiny_folder, tmp_path / "out", faces="always", **option)
    assert len([face for face in result.faces if not face.left_alone]) == count
    reasons = {face.left_alone for face in result.faces if face.left_alone}
    assert reasons == ({"smaller than 60 px"} if count else set())


def test_a_stream_has_its_faces_restored_too(
    album: Path, tiny_folder: Path, run: Run, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "facesr", "upscale", "-", "-", "-m", str(tiny_folder), "-d", "cpu"]
    content = (album / "one.png").read_bytes()
    done = subprocess.run(
        [*command, "--faces", "always", "--outscale", "1"],
        input=content, capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    with Image.open(io.BytesIO(done.stdout)) as image, Image.open(album / "one.png") as original:
        changed = (np.asarray(image) != np.asarray(original)).any(2)
    assert changed.mean() < 0.6
    listed = run(
        "upscale", album, tmp_path / "json", "-m", tiny_folder, "-d", "cpu", "--faces", "auto", "--json"
    )
    faces = json.loads(listed.stdout)["faces"]
    assert {len(face["points"]) for face in faces} == {5}
    assert {len(face["box"]) for face in faces} == {4}


def test_the_examples_of_the_docs_run_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "faces.md").read_text(encoding="utf-8")
    blocks = re.findall("```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    Image.fromarray(data.astronaut()[:160, 120:330]).save(tmp_path / "group.jpg")
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(block, {})
    assert read_image(tmp_path / "group.png").size == (640, 840)
