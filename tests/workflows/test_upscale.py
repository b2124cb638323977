"""Folder to folder: every good picture is written once, whole, and nothing else."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image

import facesr
from facesr.config.runtime import RuntimeConfig
from facesr.config.upscale import FORMATS, UpscaleConfig
from facesr.errors import ConfigError, DeviceError
from facesr.files.jobs import WRITTEN_SUFFIXES, Job
from facesr.images.image import ImageData
from facesr.images.read import read_image
from facesr.images.write import write_image
from facesr.inference.enlarge import enlarge_pixels, take
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


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_colour_of_16_bits_goes_through_the_network_at_its_depth(
    config: UpscaleConfig, suffix: str, tmp_path: Path
) -> None:
    ramp = np.linspace(20_000, 22_000, 40).astype(np.uint16)
    pixels = np.stack([np.tile(ramp, (30, 1)), np.tile(ramp[::-1], (30, 1)), np.tile(ramp, (30, 1))], axis=2)
    source = tmp_path / f"ramp{suffix}"
    write_image(source, ImageData(pixels))
    (result,) = upscale(change(config, inputs=(source,))).written
    read = imagecodecs.png_decode if suffix == ".png" else imagecodecs.tiff_decode
    enlarged = read(result.read_bytes())
    assert (enlarged.shape, enlarged.dtype) == ((120, 160, 3), np.uint16)
    assert len(np.unique(enlarged)) > 256
    network = facesr.load_model(config.model, device="cpu").network
    values = torch.from_numpy(pixels[None].astype(np.int32))
    expected = take(enlarge_pixels(network, values, torch.device("cpu")))[0]
    assert np.abs(enlarged.astype(int) - expected).max() <= 1


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
        "facesr.inference.upscale_files.upscale_files",
        lambda *_, **__: UpscaleResult((), (), (), tmp_path, ""),
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
    assert [path.name for path in again.skipped] == ["2.png"]
    assert (config.output / "0.png").read_bytes() == b"mine"
    idle = upscale(config)
    assert (idle.written, len(idle.skipped), idle.device, idle.sha256) == ((), 2, "", "")
    for result in (again, idle):
        (failure,) = result.failed
        assert (failure.file, failure.reason) == (
            config.output / "0.png",
            "exists, and facesr did not write it",
        )
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


@pytest.mark.parametrize("name", ["one.png", "one.jpg", "one.jpeg", "one.WEBP", "deep/one.tif", "one.tiff"])
def test_a_file_goes_to_a_file_in_the_format_of_its_name(
    config: UpscaleConfig, faces: Path, tmp_path: Path, name: str
) -> None:
    changed = change(config, inputs=(faces / "0.png",), output=tmp_path / name)
    result = upscale(changed)
    assert (result.written, result.output) == ((tmp_path / name,), tmp_path / name)
    with Image.open(tmp_path / name) as image:
        assert image.size == (64, 48)
        assert Image.EXTENSION[Path(name).suffix.lower()] == image.format
    assert upscale(changed).skipped == (tmp_path / name,)
    before = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(b"mine")
    assert upscale(changed).failed[0].file == tmp_path / name
    assert (tmp_path / name).read_bytes() == b"mine"
    upscale(change(changed, overwrite=True))
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize(
    ("inputs", "output", "options", "error"),
    [
        (["0.png"], "0.png", {}, "would overwrite an input"),
        (["0.png"], "0.png", {"overwrite": True}, "would overwrite an input"),
        (["0.png"], "new.gif", {}, "cannot write .*new.gif"),
        (["0.png"], "new.png", {"name": "{stem}_4x"}, "`--name {stem}_4x` cannot be combined with"),
        (["0.png"], "new.png", {"format": "jpg"}, "`--format jpg` contradicts the output file"),
        (["0.png", "1.png"], "new.png", {}, "new.png is the name of an image file"),
        ([""], "new.png", {}, "new.png is the name of an image file"),
        (["nowhere.png"], "new.png", {}, "no such file or folder"),
    ],
)
def test_a_file_that_cannot_be_the_result_is_refused(
    config: UpscaleConfig, faces: Path, inputs: list[str], output: str, options: dict, error: str
) -> None:
    before = {path.name: path.read_bytes() for path in faces.iterdir()}
    paths = tuple(faces / name for name in inputs)
    with pytest.raises(ConfigError, match=error):
        upscale(change(config, inputs=paths, output=faces / output, **options))
    assert {path.name: path.read_bytes() for path in faces.iterdir()} == before


def test_a_format_that_agrees_with_the_file_is_accepted(config: UpscaleConfig, faces: Path) -> None:
    agreeing = change(config, inputs=(faces / "0.png",), output=faces / "new.jpeg", format="jpg")
    assert upscale(agreeing).written == (faces / "new.jpeg",)


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("", {"name": "{stem}_4x"}),
        ("", {"name": "{stem}_4x", "format": "png"}),
        ("", {"name": "{ext}-{stem}", "recursive": True}),
        ("", {"format": "tiff", "recursive": True}),
        ("out", {"recursive": True}),
        ("sub", {"name": "{stem}_4x", "recursive": True}),
    ],
)
def test_the_same_command_again_does_nothing(
    config: UpscaleConfig, tmp_path: Path, output: str, options: dict
) -> None:
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.jpg", "lone_4x.png", "sub/a.webp")):
        Image.fromarray(noise(8, 8, seed=index)).save(photos / name)
    config = change(config, inputs=(photos,), output=photos / output, **options)
    written = upscale(config).written
    assert len(written) == (4 if config.recursive and output != "sub" else 3)
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    again = upscale(config)
    assert (again.written, sorted(again.skipped)) == ((), sorted(written))
    assert {path: path.read_bytes() for path in photos.rglob("*.*")} == before


def test_files_named_one_by_one_are_not_enlarged_twice_either(config: UpscaleConfig, faces: Path) -> None:
    config = change(config, output=faces, name="{stem}_4x")
    assert len(upscale(config).written) == 3
    again = upscale(change(config, inputs=tuple(sorted(faces.iterdir()))))
    assert (again.written, len(again.skipped)) == ((), 3)


@pytest.mark.parametrize(("outscale", "shown"), [(None, "4"), (2.0, "2"), (2.5, "2.5"), (1 / 3, "0.333333")])
def test_names_hold_the_extension_and_the_scale(
    config: UpscaleConfig, faces: Path, tiny_folder: Path, outscale: float | None, shown: str
) -> None:
    (faces / "1.png").rename(faces / "1.PNG")
    config = change(config, name="{stem}-{ext}-{scale}x", outscale=outscale)
    for model in (tiny_folder, tiny_folder / "model.safetensors"):
        result = upscale(change(config, model=str(model), overwrite=True))
        names = sorted(path.name for path in result.written)
        assert names == [f"0-png-{shown}x.png", f"1-PNG-{shown}x.PNG", f"2-png-{shown}x.png"]


@pytest.mark.parametrize("name", ["{stem}_{size}", "{stem}{}", "{Stem}"])
def test_an_unknown_placeholder_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown placeholder") as caught:
        UpscaleConfig(inputs=(Path("in"),), output=Path("out"), name=name)
    assert f"`--name {name}`" in caught.value.message
    assert "{stem}, {ext}, {scale}" in caught.value.hint


@pytest.mark.parametrize(("name", "suffix"), [("jpeg", ".jpg"), ("TIF", ".tiff"), ("Png", ".png")])
def test_a_format_has_other_names(config: UpscaleConfig, name: str, suffix: str) -> None:
    assert {path.suffix for path in upscale(change(config, format=name)).written} == {suffix}
    with pytest.raises(ConfigError, match="expected one of auto, png, jpg, webp, tiff, avif, found gif"):
        upscale(change(config, format="gif"))


def test_every_file_that_can_be_written_is_of_a_known_format() -> None:
    assert {suffix[1:] for suffix in WRITTEN_SUFFIXES} == FORMATS.keys() - {"auto"}


def test_files_that_cannot_be_read_are_failures_and_not_rivals(
    config: UpscaleConfig, faces: Path, tmp_path: Path
) -> None:
    unreadable = [tmp_path / "0.heic", tmp_path / "0.jxl"]
    for path in unreadable:
        path.write_bytes(b"in a format of its own")
    for inputs in (unreadable, [*unreadable, faces / "0.png"], [faces / "0.png", *unreadable]):
        result = upscale(
            change(config, inputs=tuple(inputs), output=tmp_path / str(len(inputs)), overwrite=True)
        )
        assert sorted(failure.file for failure in result.failed) == unreadable
        assert len(result.written) == len(inputs) - len(unreadable)


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
    assert listener.warnings == ["bfloat16 gives no usable image on cpu, so fp32 is used"]


def test_tf32_is_refused_without_cuda(config: UpscaleConfig) -> None:
    with pytest.raises(DeviceError, match="`tf32` needs a CUDA device, found cpu"):
        upscale(change(config, runtime=RuntimeConfig(device="cpu", dtype="tf32")))


@pytest.mark.parametrize("depth", [8, 16])
def test_stronger_compression_makes_smaller_files_of_the_same_pixels(
    depth: int, config: UpscaleConfig, tmp_path: Path
) -> None:
    y, x = np.mgrid[0:60, 0:80]
    smooth = np.stack([x, y, x + y], axis=2)
    pixels = smooth.astype(np.uint8) if depth == 8 else (smooth * 99).astype(np.uint16)
    write_image(tmp_path / "smooth.png", ImageData(rgb=pixels))
    sizes, results = [], []
    for level in (0, 1, 9):
        (path,) = upscale(
            change(config, inputs=(tmp_path / "smooth.png",), compression=level, overwrite=True)
        ).written
        sizes.append(path.stat().st_size)
        results.append(read_image(path).rgb)
    assert sizes[0] > sizes[1] > sizes[2]
    assert all(np.array_equal(result, results[0]) for result in results)


def test_precision_that_the_network_lacks_is_refused(config: UpscaleConfig) -> None:
    runtime = RuntimeConfig(device="cuda:99")
    with pytest.raises(DeviceError):
        upscale(change(config, runtime=runtime))


def test_the_tasks_of_a_slurm_step_share_the_images_and_say_so(
    config: UpscaleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, written = Listener(), []
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    for task in ("0", "1"):
        monkeypatch.setenv("SLURM_PROCID", task)
        written.append([path.name for path in upscale(config, listener).written])
    assert written == [["0.png", "2.png"], ["1.png"]]
    assert listener.warnings == [
        "each of the 2 SLURM tasks processes its share of the images, `--shard 0/1` processes all"
    ]
