"""The sharpness moves weights from a base to its sharp sibling; its ends are the two files themselves."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facesr.errors import ConfigError, WeightsError
from facesr.images.note import read_note
from facesr.models.base import enlarge
from facesr.weights import find
from facesr.weights.find import default_sharpness, find_model, find_weights
from facesr.weights.load import load_model
from facesr.weights.read import read_state
from tests.conftest import Run, noise, save_pair


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return save_pair(tmp_path / "pair")


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that bundles a pair, with the arguments of `save_pair`, in place of what there is."""

    def bundle(**sharp: object) -> None:
        save_pair(tmp_path / "bundled", **sharp)
        monkeypatch.setattr(find, "_BUNDLED_DIR", tmp_path / "bundled")
        monkeypatch.setattr(find, "BUNDLED", ("faceunet", "faceunet-sharp"))

    return bundle


@pytest.fixture
def upscaled(run: Run, faces: Path, tmp_path: Path) -> Callable[..., list[bytes]]:
    """Return a function that gives the files that `facesr upscale` makes of the faces."""

    def call(*options: object) -> list[bytes]:
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        result = run("upscale", faces, out, "-d", "cpu", "-q", *options)
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        return [path.read_bytes() for path in sorted(out.iterdir())]

    return call


def pixels(files: list[bytes], tmp_path: Path) -> list[bytes]:
    shown = []
    for content in files:
        (tmp_path / "x.png").write_bytes(content)
        shown.append(Image.open(tmp_path / "x.png").tobytes())
    return shown


def test_the_ends_are_the_two_models_byte_for_byte(
    upscaled: Callable[..., list[bytes]], bundled: Callable[..., None], tmp_path: Path
) -> None:
    bundled(sharpness=0.25)
    plain = upscaled()
    sharp = tmp_path / "bundled" / "faceunet-sharp"
    for model in ("faceunet", "faceunet-sharp", sharp):
        assert upscaled("-m", model, "--sharpness", 0) == plain
        ends = [upscaled("-m", model, "--sharpness", share) for share in (0.25, 1)]
        assert ends[0] == upscaled("-m", "faceunet-sharp")
        # The note apart, a bare file gives the same: it names no base.
        shutil.copy(sharp / "model.safetensors", tmp_path / "bare.safetensors")
        own = upscaled("-m", tmp_path / "bare.safetensors")
        assert pixels(ends[1], tmp_path) == pixels(own, tmp_path)
    assert pixels(plain, tmp_path) != pixels(ends[0], tmp_path) != pixels(ends[1], tmp_path)


def test_between_them_each_tensor_is_interpolated_and_what_is_new_grows_from_nothing(
    pair: tuple[Path, Path],
) -> None:
    first, second = (read_state(path / "model.safetensors") for path in pair)
    assert second.keys() - first.keys() == {"noise"}
    model = load_model(pair[1], device="cpu", sharpness=0.25)
    for key, tensor in model.network.state_dict().items():
        expected = 0.25 * second[key] + 0.75 * first.get(key, torch.zeros(1))
        torch.testing.assert_close(tensor, expected)
    assert (model.config.name, model.config.patch_px) == ("faceunet-sharp=0.25", 48)
    assert model.notes == ()
    ends = [load_model(pair[1], device="cpu", sharpness=share).sha256 for share in (0, 1)]
    assert ends == [find_weights(str(path)).config.sha256 for path in pair]  # type: ignore[union-attr]
    assert model.sha256 not in {*ends, load_model(pair[1], device="cpu", sharpness=0.5).sha256}


def test_the_default_is_in_the_configuration_of_the_sharp_sibling(
    bundled: Callable[..., None], tiny_folder: Path
) -> None:
    bundled(sharpness=0.25)
    assert find_model("faceunet-sharp") == find_model("faceunet", sharpness=0.25)
    assert find_model("faceunet") == find_weights("faceunet")
    defaults = [default_sharpness(find_weights(str(m))) for m in ("faceunet", "faceunet-sharp", tiny_folder)]
    assert defaults == [0, 0.25, None]


def test_an_end_needs_nothing_of_the_other_one(bundled: Callable[..., None], pair: tuple[Path, Path]) -> None:
    shutil.rmtree(pair[0])
    assert load_model(pair[1], device="cpu").config.name == "faceunet-sharp"
    bundled()
    tensors = find_weights("faceunet-sharp").tensors
    tensors.write_text("damaged")
    assert load_model("faceunet", device="cpu", sharpness=0).config.name == "faceunet"
    with pytest.raises(WeightsError, match="sha256"):
        load_model("faceunet", device="cpu", sharpness=0.5)


@pytest.mark.parametrize(
    "base", [{"base_sha256": "0" * 64}, {"base_sha256": ""}, {"base": "elsewhere"}], ids=str
)
def test_a_base_is_the_very_file_that_is_named(
    base: dict[str, str], run: Run, faces: Path, tmp_path: Path
) -> None:
    _, sharp = save_pair(tmp_path / "pair", **base)
    for share in (0, 0.5):
        result = run("upscale", faces, tmp_path / "out", "-m", sharp, "-d", "cpu", "--sharpness", share)
        assert result.exit_code == 1
        name = base.get("base", "faceunet")
        assert result.stderr.startswith(f"error: {sharp}: its base `{name}` with sha256 ")
        assert f"hint: put that weight folder at {sharp.parent / name}, " in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_base_that_was_changed_after_its_configuration_is_refused(pair: tuple[Path, Path]) -> None:
    shutil.copy(pair[1] / "model.safetensors", pair[0])
    with pytest.raises(WeightsError, match=r"faceunet/model.safetensors: sha256 is"):
        load_model(pair[1], device="cpu", sharpness=0.5)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["-m", "tiny"], "`--sharpness 0.5`: `tiny` has no sharp sibling"),
        (["-m", "bare.pth"], "`--sharpness 0.5`: `bare` has no sharp sibling"),
        (["-m", "faceunet-sharp", "--sharpness", "1.5"], "`--sharpness 1.5` is not from 0 to 1"),
        (["-m", "faceunet-sharp", "--sharpness", "-1"], "`--sharpness -1` is not from 0 to 1"),
        (
            ["-m", "faceunet-sharp", "--sharpness", "nan"],
            "`--sharpness`: expected a finite number, found nan",
        ),
        (["-m", "faceunet-sharp", "--blend", "tiny=0.5"], "`--sharpness` cannot be combined with `--blend`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_sharpness_that_cannot_be_is_a_usage_error(
    options: list[str],
    error: str,
    run: Run,
    faces: Path,
    pair: tuple[Path, Path],
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    shutil.copytree(tiny_folder, pair[0].parent / "tiny")
    shutil.copy(tiny_folder / "model.safetensors", pair[0].parent / "bare.pth")
    arguments = ["-m", str(pair[0].parent / options[1]), *options[2:]]
    for command in (["upscale", faces, tmp_path / "out"], ["eval", "--hq", faces, "--lq", faces]):
        result = run(*command, "--sharpness", 0.5, *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"error: {error}\nhint: "), result.stderr
    assert not (tmp_path / "out").exists()


def test_python_refuses_alike(pair: tuple[Path, Path]) -> None:
    for share in (1.5, float("nan")):
        with pytest.raises(ConfigError, match="is not from 0 to 1"):
            load_model(pair[1], device="cpu", sharpness=share)


@pytest.mark.parametrize("faces_mode", ["auto", "off"])
def test_a_result_of_another_sharpness_is_made_again(
    faces_mode: str, run: Run, faces: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    def upscale(*options: object) -> tuple[int, int]:
        arguments = ("-m", pair[1], "-d", "cpu", "--faces", faces_mode, "--json", *options)
        document = json.loads(run("upscale", faces, tmp_path / "out", *arguments).stdout)
        assert document["model"] == ("faceunet-sharp=0.5" if options else "faceunet-sharp")
        return len(document["written"]), len(document["skipped"])

    made = [upscale(), upscale("--sharpness", 0.5), upscale("--sharpness", 0.5), upscale()]
    assert made == [(3, 0), (3, 0), (0, 3), (3, 0)]
    assert " sharpness=1" in read_note(tmp_path / "out" / "0.png")
    run("upscale", faces, tmp_path / "out", "-m", pair[0], "-d", "cpu")
    assert "sharpness" not in read_note(tmp_path / "out" / "0.png")


def test_eval_compares_sharpnesses_and_names_each(
    run: Run, pair: tuple[Path, Path], tiny_folder: Path, tmp_path: Path
) -> None:
    for folder, size in (("lq", 16), ("hq", 64)):
        (tmp_path / folder).mkdir()
        Image.fromarray(noise(size, size)).save(tmp_path / folder / "a.png")
    arguments = ("eval", "--hq", tmp_path / "hq", "--lq", tmp_path / "lq", "-d", "cpu", "-m", pair[1])
    page = tmp_path / "report.html"
    options = ("--sharpness", 0, "--sharpness", 0.5, "--report", page, "--save", tmp_path / "sr")
    document = json.loads(run(*arguments, *options, "--json").stdout)
    names = ["faceunet", "faceunet-sharp=0.5"]
    assert list(document["summaries"]) == ["bicubic", *names]
    assert [method["source"] for method in document["methods"]] == ["", str(pair[1]), str(pair[1])]
    assert sorted(path.name for path in (tmp_path / "sr").iterdir()) == names
    assert all(name in page.read_text(encoding="utf-8") for name in names)
    result = run(*arguments, "-m", tiny_folder, "--sharpness", 0.5)
    assert (result.exit_code, "`tiny` has no sharp sibling" in result.stderr) == (2, True)
    result = run(*arguments, "-m", pair[1], "--sharpness", 0.5)
    assert (result.exit_code, "given twice" in result.stderr) == (2, True)


def test_a_picture_has_the_same_bytes_alone_and_beside_others(
    run: Run, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for index in range(3):
        Image.fromarray(noise(70, 90, seed=index)).save(tmp_path / "in" / f"{index}.png")  # several windows

    def upscale(source: Path, out: str, *options: object) -> None:
        arguments = ("-m", pair[1], "-d", "cpu", "--sharpness", 0.5, *options)
        assert run("upscale", source, tmp_path / out, *arguments).exit_code == 0

    upscale(tmp_path / "in", "together", "--batch", 3)
    for source in (tmp_path / "in").iterdir():
        upscale(source, "alone")
        made = [(tmp_path / out / source.name).read_bytes() for out in ("together", "alone")]
        assert made[0] == made[1]


def test_an_exported_model_is_of_the_sharpness_asked_for(
    run: Run, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the tests' own requirements")
    target = tmp_path / "sharp.onnx"
    document = json.loads(run("export", pair[1], target, "--sharpness", 0.5, "--json").stdout)
    assert document["model"] == "faceunet-sharp=0.5"
    lq = torch.from_numpy(noise(20, 35)).permute(2, 0, 1)[None] / 255
    (prediction,) = onnxruntime.InferenceSession(target).run(None, {"lq": lq.numpy()})
    with torch.inference_mode():
        results = [
            enlarge(load_model(pair[1], device="cpu", sharpness=share).network, lq).clamp(0, 1).numpy()
            for share in (0.5, 0.45)
        ]
    errors = [float(np.abs(prediction - result).max()) for result in results]
    assert errors[0] < 1e-4 < errors[1]
