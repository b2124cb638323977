"""Photographs with their faces restored: what changes, what does not, and what is said of them."""

import io
import json
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import facesr
from facesr.config.model import ModelConfig
from facesr.config.runtime import RuntimeConfig
from facesr.config.upscale import UpscaleConfig
from facesr.errors import ConfigError
from facesr.faces import paste
from facesr.faces.find import fills
from facesr.images.image import ImageData
from facesr.images.note import read_note
from facesr.images.read import read_image
from facesr.models import build_network
from facesr.results import UpscaleResult
from facesr.weights.save import save_folder
from facesr.workflows.upscale import upscale
from tests.conftest import TINY, Listener, Run, needs_posix, noise, tiny_state
from tests.faces.sheets import group_sheet
from tests.hostile.processes import assert_same_files, killed
from tests.hostile.processes import facesr as facesr_process


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
    plain, _ = run_upscale(album, tiny_folder, tmp_path / "off", faces="off")
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
    off, on = (read_image(tmp_path / name / "none.png").rgb for name in ("off", "on"))
    assert np.array_equal(off, on)
    assert listener.facts == {"faces": "3"}


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
    run_upscale(folder, tiny_folder, tmp_path / "off", faces="off")
    auto, _ = run_upscale(folder, tiny_folder, tmp_path / "auto")
    always, _ = run_upscale(folder, tiny_folder, tmp_path / "always", faces="always")
    off, searched, restored = (read_image(tmp_path / name / "a.png") for name in ("off", "auto", "always"))
    assert np.array_equal(off.rgb, searched.rgb)
    assert not np.array_equal(off.rgb, restored.rgb)
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


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a small photograph of one face that does not fill it."""
    folder = tmp_path / "photo"
    folder.mkdir()
    Image.fromarray(data.astronaut()[:280, 60:380]).resize((160, 140)).save(folder / "one.png")
    return folder


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "avif"])
def test_a_result_made_with_other_face_options_is_made_again(
    suffix: str, photo: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    target = output / f"one.{suffix}"
    options = {"format": suffix, "outscale": 1.0}
    made = []
    for faces in ({"faces": "off"}, {}, {"min_face": 90}, {"background": "bicubic"}):
        result, _ = run_upscale(photo, tiny_folder, output, **options, **faces)
        assert result.written == (target,), faces
        again, _ = run_upscale(photo, tiny_folder, output, **options, **faces)
        assert (again.written, again.skipped) == ((), (target,)), faces
        made.append(target.read_bytes())
    assert len(set(made)) == 4
    fresh, _ = run_upscale(photo, tiny_folder, tmp_path / "fresh", **options)
    run_upscale(photo, tiny_folder, output, **options)
    assert target.read_bytes() == fresh.written[0].read_bytes() == made[1]


def test_a_file_that_facesr_did_not_write_is_never_replaced(
    photo: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    Image.fromarray(noise(8, 8)).save(tmp_path / "mine.png")
    mine = (tmp_path / "mine.png").read_bytes()
    result, _ = run_upscale(photo, tiny_folder, tmp_path / "mine.png", inputs=(photo / "one.png",))
    assert result.written == ()
    assert (tmp_path / "mine.png").read_bytes() == mine


def test_the_crop_that_a_face_fills_is_skipped_whatever_made_it(tiny_folder: Path, tmp_path: Path) -> None:
    folder, output = tmp_path / "crops", tmp_path / "out"
    folder.mkdir()
    (face,) = facesr.find_faces(data.astronaut())
    (crop,) = paste.cut_faces(ImageData(data.astronaut()), [face], enlargement=1)
    Image.fromarray(crop.image.rgb8).save(folder / "a.png")
    for first, others in (("off", ("auto", "off")), ("auto", ("off", "auto"))):
        run_upscale(folder, tiny_folder, output, faces=first, overwrite=True)
        for mode in others:
            again, _ = run_upscale(folder, tiny_folder, output, faces=mode)
            assert (again.written, again.skipped) == ((), (output / "a.png",))
            assert (again.device == "") == (first == "auto" or mode == "off")  # nothing was looked at again
    changed, _ = run_upscale(folder, tiny_folder, output, faces="always")
    assert changed.written == (output / "a.png",)


def test_a_result_that_is_enlarged_again_has_its_own_note_alone(
    photo: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    run_upscale(photo, tiny_folder, small, outscale=1.0)
    assert "restored=1" in read_note(small / "one.png")
    assert read_image(small / "one.png").exif is None
    run_upscale(small, tiny_folder, large, faces="off")
    assert read_note(large / "one.png") == "whole"
    again, _ = run_upscale(small, tiny_folder, large, faces="off")
    assert again.skipped


def test_a_saved_face_takes_no_others_place(album: Path, tiny_folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "faces" / "one-01.png"
    saved.parent.mkdir()
    saved.write_bytes(b"mine")
    options = {"outscale": 1.0, "save_faces": saved.parent}
    result, _ = run_upscale(album, tiny_folder, tmp_path / "out", **options)
    assert [failure.file for failure in result.failed] == [saved]
    assert saved.read_bytes() == b"mine"
    assert not (tmp_path / "out" / "one.png").exists()
    result, _ = run_upscale(album, tiny_folder, tmp_path / "out", **options, overwrite=True)
    assert not result.failed
    assert saved.read_bytes() != b"mine"


def test_faces_are_saved_before_and_after(album: Path, tiny_folder: Path, tmp_path: Path) -> None:
    below = album / "below"
    below.mkdir()
    (album / "one.png").rename(below / "two.jpg")
    options = {"outscale": 1.0, "recursive": True, "save_faces": tmp_path / "faces"}
    output = tmp_path / "out"
    result, _ = run_upscale(album, tiny_folder, output, **options)
    names = (
        "two-01-lq.png",
        "two-01.png",
        "two-02-lq.png",
        "two-02.png",
        "below/two-01-lq.png",
        "below/two-01.png",
    )
    saved = {
        path.relative_to(tmp_path / "faces").as_posix(): path for path in (tmp_path / "faces").rglob("*.png")
    }
    assert set(saved) == set(names)
    model = facesr.load_model(tiny_folder, device="cpu")
    for name in names[1::2]:
        lq = read_image(saved[name.replace(".png", "-lq.png")])
        assert np.array_equal(facesr.upscale_image(lq.rgb8, model), read_image(saved[name]).rgb)
    assert len(result.written) == 3

    before = {path: path.read_bytes() for path in [*saved.values(), *result.written]}
    again, _ = run_upscale(album, tiny_folder, output, **options)
    assert len(again.skipped) == 3
    saved["two-02-lq.png"].unlink()
    again, _ = run_upscale(album, tiny_folder, output, **options)
    assert again.written == (output / "two.jpg",)
    assert {path: path.read_bytes() for path in before} == before


def test_faces_are_not_saved_where_other_images_lie(
    photo: Path, tiny_folder: Path, run: Run, tmp_path: Path
) -> None:
    Image.open(photo / "one.png").save(photo / "one.jpg")
    for folder, error in (
        (photo, "is also an input"),
        (tmp_path / "out", "is also the output"),
        (tmp_path / "faces", "would both be written to"),
    ):
        with pytest.raises(ConfigError, match=error):
            run_upscale(photo, tiny_folder, tmp_path / "out", save_faces=folder)
    assert not (tmp_path / "out").exists()
    off = run("upscale", photo, tmp_path / "out", "--faces", "off", "--save-faces", tmp_path / "faces")
    assert (off.exit_code, off.stderr.splitlines()[0]) == (
        2,
        "error: `--save-faces` cannot be combined with `--faces off`",
    )


@pytest.fixture
def other_folder(tmp_path: Path) -> Path:
    save_folder(
        tmp_path / "other", tiny_state(seed=5), ModelConfig(name="other", arch="msrresnet", args=TINY)
    )
    return tmp_path / "other"


def test_another_model_may_restore_the_rest(
    photo: Path, tiny_folder: Path, other_folder: Path, tmp_path: Path
) -> None:
    Image.fromarray(noise(30, 40)).save(photo / "none.png")
    run_upscale(photo, tiny_folder, tmp_path / "mixed", background=str(other_folder))
    run_upscale(photo, other_folder, tmp_path / "rest", faces="off")
    run_upscale(photo, tiny_folder, tmp_path / "same")
    run_upscale(photo, tiny_folder, tmp_path / "plain", faces="off")
    mixed, rest, same, plain = (
        {name: read_image(tmp_path / run / name).rgb.astype(int) for name in ("one.png", "none.png")}
        for run in ("mixed", "rest", "same", "plain")
    )
    assert np.array_equal(mixed["none.png"], rest["none.png"])
    changed = (mixed["one.png"] != rest["one.png"]).any(2)
    assert 0.05 < changed.mean() < 0.6
    # In the middle of the face the background counts 40 %, and both have the same face for the rest.
    (face,) = facesr.find_faces(read_image(photo / "one.png").rgb8)
    x, y = (4 * face.points[2]).astype(int)
    middle = np.s_[y - 10 : y + 10, x - 10 : x + 10]
    away = 0.4 * (plain["one.png"] - rest["one.png"])
    assert np.abs(same["one.png"] - mixed["one.png"] - away)[middle].max() <= 1


def test_a_model_of_another_scale_cannot_restore_the_rest(
    photo: Path, tiny_folder: Path, run: Run, tmp_path: Path
) -> None:
    args = {**TINY, "scale": 2}
    config = ModelConfig(name="twice", arch="msrresnet", args=args, scale=2)
    torch.manual_seed(0)
    save_folder(tmp_path / "twice", build_network("msrresnet", args).state_dict(), config)
    for background, error in (
        (tmp_path / "twice", "enlarges 2 times, but"),
        ("nothing", "no model `nothing`"),
    ):
        done = run("upscale", photo, tmp_path / "out", "-m", tiny_folder, "--background", background)
        assert done.exit_code == 2
        assert done.stderr.startswith(f"error: `--background {background}`")
        assert error in done.stderr
    # By itself it restores faces like any other.
    result, _ = run_upscale(photo, tmp_path / "twice", tmp_path / "out")
    assert result.faces_restored == 1
    assert read_image(result.written[0]).size == (280, 320)


def test_faces_on_stdin_are_listed_too(photo: Path, tiny_folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "facesr",
        "upscale",
        "-",
        tmp_path / "out.png",
        "-m",
        tiny_folder,
        "-d",
        "cpu",
    ]
    done = subprocess.run(
        [*command, "--json"],
        input=(photo / "one.png").read_bytes(),
        capture_output=True,
        timeout=120,
        check=True,
    )
    document = json.loads(done.stdout)
    assert (len(document["faces"]), document["faces_restored"]) == (1, 1)
    assert document["written"] == [str(tmp_path / "out.png")]
    assert b"1 face restored" in done.stderr


@needs_posix
def test_killed_in_the_middle_the_end_is_the_same(album: Path, tiny_folder: Path, tmp_path: Path) -> None:
    for number in range(3):
        shutil.copy(album / "one.png", album / f"copy-{number}.png")
    options = ("-m", tiny_folder, "-d", "cpu", "--outscale", "1")

    def arguments(name: str) -> list[object]:
        return ["upscale", album, tmp_path / name, "--save-faces", tmp_path / f"{name}-faces", *options]

    def count() -> int:
        return len(list((tmp_path / "cut").glob("*.*")))

    assert facesr_process(*arguments("whole"), cwd=tmp_path).code == 0
    code = killed(arguments("cut"), progress=count, more=range(1, 4), rng=random.Random(0))
    assert code == -signal.SIGKILL
    done = facesr_process(*arguments("cut"), "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["skipped"]
    for name in ("", "-faces"):
        assert_same_files(tmp_path / f"cut{name}", tmp_path / f"whole{name}")


def test_several_faces_are_restored_even_if_each_is_as_high_as_the_photograph(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pair"
    folder.mkdir()
    sheet = group_sheet(((76, 0), (76, 5)), height=130, width=300)
    Image.fromarray(sheet).save(folder / "pair.png")
    assert any(fills(face.points, (130, 300)) for face in facesr.find_faces(sheet))
    result, _ = run_upscale(folder, tiny_folder, tmp_path / "out")
    assert result.faces_restored == 2
