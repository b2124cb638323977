"""Folder to folder: every good picture is written once, whole, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facesr
from facesr.config.runtime import RuntimeConfig
from facesr.config.upscale import UpscaleConfig
from facesr.errors import ConfigError, DeviceError
from facesr.files.jobs import Job
from facesr.images.read import read_image
from facesr.results import UpscaleResult
from facesr.workflows.upscale import upscale
from tests.conftest import Listener, noise


class Recorder:
    def __init__(self) -> None:
        self.total = self.done = 0

    def begin(self, total: int, unit: str, *, done: int = 0) -> None:
        assert unit == "images"
        self.total = total

    def advance(self, count: int = 1) -> None:
        self.done += count

    def warn(self, message: str) -> None:
        raise AssertionError(message)


@pytest.fixture
def config(faces: Path, tiny_folder: Path, tmp_path: Path) -> UpscaleConfig:
    runtime = RuntimeConfig(device="cpu", batch=2)
    return UpscaleConfig(inputs=(faces,), output=tmp_path / "out", model=str(tiny_folder), runtime=runtime)


def change(config: UpscaleConfig, **changes: object) -> UpscaleConfig:
    return UpscaleConfig(**{**vars(config), **changes})


def test_every_picture_is_enlarged(config: UpscaleConfig, faces: Path, tiny_folder: Path) -> None:
    recorder = Recorder()
    result = upscale(config, recorder)
    assert recorder.done == recorder.total == 3
    assert sorted(path.name for path in result.written) == ["0.png", "1.png", "2.png"]
    assert (result.model, result.device, result.dtype) == ("tiny", "cpu", "float32")
    model = facesr.load_model(tiny_folder, device="cpu")
    assert result.sha256 == model.sha256
    for path in result.written:
        expected = facesr.upscale_image(read_image(faces / path.name).rgb, model)
        assert np.abs(read_image(path).rgb.astype(int) - expected).max() <= 1
    assert sorted(path.name for path in config.output.iterdir()) == ["0.png", "1.png", "2.png"]


def test_pictures_of_other_formats_are_told_of_and_failures_keep_their_hint(
    config: UpscaleConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jxl").touch()
    Image.fromarray(noise(1, 5000)).save(folder / "wide.webp")
    listener = Listener()
    result = upscale(change(config, inputs=(folder,)), listener)
    assert any("a.jxl" in warning for warning in listener.warnings)
    (failure,) = result.failed
    assert (failure.file.name, "--format png" in failure.hint) == ("wide.webp", True)


@pytest.mark.parametrize("done", [0, 200])
def test_many_pictures_are_looked_through_once(
    done: int, config: UpscaleConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{index}.png" for index in range(200)]
    for folder, count in (("in", 200), ("out", done)):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in names[:count]:
            (tmp_path / folder / name).touch()
    monkeypatch.setattr(
        "facesr.inference.upscale_files.upscale_files", lambda *_: UpscaleResult((), (), (), tmp_path, "")
    )
    hashed = 0
    original = Job.__hash__

    def count_hash(job: Job) -> int:
        nonlocal hashed
        hashed += 1
        return original(job)

    monkeypatch.setattr(Job, "__hash__", count_hash)
    upscale(change(config, inputs=[tmp_path / "in"], output=tmp_path / "out"))
    assert hashed <= 4 * len(names)


def test_existing_results_are_skipped_or_redone(config: UpscaleConfig) -> None:
    upscale(config)
    (config.output / "1.png").unlink()
    (config.output / "0.png").write_bytes(b"mine")
    again = upscale(config)
    assert [path.name for path in again.written] == ["1.png"]
    assert [path.name for path in again.skipped] == ["0.png", "2.png"]
    assert (config.output / "0.png").read_bytes() == b"mine"
    idle = upscale(config)
    assert (idle.written, len(idle.skipped), idle.device, idle.sha256) == ((), 3, "", "")
    redone = upscale(change(config, overwrite=True))
    assert (len(redone.written), redone.skipped) == (3, ())
    with Image.open(config.output / "0.png") as image:
        assert image.size == (64, 48)


def test_a_folder_of_its_name_is_no_result(config: UpscaleConfig) -> None:
    first = upscale(config).written[0]
    first.unlink()
    first.mkdir()
    result = upscale(config)
    assert len(result.failed) == 1
    assert (len(result.written), len(result.skipped)) == (0, 2)


def test_a_broken_picture_is_reported_and_the_others_go_on(config: UpscaleConfig, faces: Path) -> None:
    (faces / "0a.png").write_bytes((faces / "0.png").read_bytes()[:200])
    (faces / "text.jpg").write_text("no picture")
    result = upscale(config)
    assert len(result.written) == 3
    assert {failure.file.name for failure in result.failed} == {"0a.png", "text.jpg"}
    assert not (config.output / "0a.png").exists()


@pytest.mark.parametrize(("format_", "suffix"), [("auto", ".webp"), ("png", ".png"), ("jpg", ".jpg")])
def test_the_format_is_kept_or_chosen(config: UpscaleConfig, faces: Path, format_: str, suffix: str) -> None:
    Image.fromarray(noise(8, 8)).save(faces / "w.webp", lossless=True)
    result = upscale(change(config, inputs=(faces / "w.webp",), format=format_))
    assert [path.name for path in result.written] == [f"w{suffix}"]
    with Image.open(result.written[0]) as image:
        assert image.format == {".webp": "WEBP", ".png": "PNG", ".jpg": "JPEG"}[suffix]


def test_a_conflict_stops_before_anything_runs(config: UpscaleConfig, faces: Path) -> None:
    Image.fromarray(noise(8, 8)).save(faces / "0.jpg")
    with pytest.raises(ConfigError, match="both be written"):
        upscale(change(config, format="png"))
    assert not config.output.exists()
    assert len(upscale(config).written) == 4


def test_a_result_too_large_for_its_format_fails_before_the_network(
    config: UpscaleConfig, faces: Path
) -> None:
    Image.new("RGB", (5000, 1)).save(faces / "wide.webp")
    result = upscale(change(config, inputs=(faces / "wide.webp",)))
    assert "more than WEBP can hold" in result.failed[0].reason


def test_the_precision_that_half_precision_gave_way_to_is_told(
    config: UpscaleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesr.weights.load._is_usable", lambda *_: False)
    listener = Listener()
    result = upscale(change(config, runtime=RuntimeConfig(device="cpu", dtype="bf16")), listener)
    assert result.dtype == "float32"
    assert listener.warnings == ["bfloat16 gives no usable picture on cpu, going on in fp32"]


def test_precision_that_the_network_lacks_is_refused(config: UpscaleConfig) -> None:
    runtime = RuntimeConfig(device="cuda:99")
    with pytest.raises(DeviceError):
        upscale(change(config, runtime=runtime))
