"""Figures that one can trust: the same by every way, with partners checked and failures named."""

import csv
import errno
import io
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facesr.config.evaluate import EvalConfig
from facesr.config.runtime import RuntimeConfig
from facesr.config.upscale import UpscaleConfig
from facesr.errors import ConfigError, ImageError
from facesr.events import Failure
from facesr.images.image import ImageData
from facesr.images.read import read_image
from facesr.metrics import measure
from facesr.reports.scores import EvalResult, summarise
from facesr.workflows.evaluate import evaluate
from facesr.workflows.upscale import upscale
from tests.conftest import Listener, noise, tiny_state

CPU = RuntimeConfig(device="cpu")
SIZES = [(48, 64), (48, 64), (64, 48), (48, 64)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for index, (height, width) in enumerate(SIZES):
        truth = Image.fromarray(noise(height, width, seed=index))
        small = truth.resize((width // 4, height // 4), Image.Resampling.BICUBIC)
        for folder, picture in (("hq", truth), ("lq", small)):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture.save(tmp_path / folder / f"{index}.png")
    return tmp_path


def run(root: Path, tiny_folder: Path, **options: object) -> EvalResult:
    base = {"hq": root / "hq", "lq": root / "lq", "model": (str(tiny_folder),), "runtime": CPU}
    return evaluate(EvalConfig(**{**base, **options}))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_models_saved_pictures_and_upscaled_ones_score_alike(root: Path, tiny_folder: Path) -> None:
    by_model = run(root, tiny_folder, save=root / "saved")
    upscale(UpscaleConfig(inputs=(root / "lq",), output=root / "up", model=str(tiny_folder), runtime=CPU))
    for folder in ("saved", "up"):
        by_file = run(root, tiny_folder, sr=root / folder)
        assert [m.name for m in by_file.methods] == ["bicubic", folder]
        for a, b in zip(by_model.images, by_file.images, strict=True):
            assert a.scores["tiny"] == b.scores[folder]
            assert a.scores["bicubic"] == b.scores["bicubic"]


def test_grey_deep_and_transparent_pictures_score_as_they_are_saved(root: Path, tiny_folder: Path) -> None:
    for index, path in enumerate(sorted((root / "lq").iterdir())):
        lq = Image.open(path)
        deep = Image.fromarray(np.asarray(lq.convert("L")).astype(np.uint16) * 250)
        alpha = Image.fromarray(noise(*lq.size[::-1], seed=9)[..., 0] // 128 * 255)
        clear, clear_grey = lq.copy(), lq.convert("L")
        clear.putalpha(alpha)
        clear_grey.putalpha(alpha)
        (lq.convert("L"), deep, clear, clear_grey)[index].save(path)
    test_models_saved_pictures_and_upscaled_ones_score_alike(root, tiny_folder)


def test_scores_are_those_of_the_metrics(root: Path, tiny_folder: Path) -> None:
    result = run(root, tiny_folder, save=root / "saved")
    (bicubic, model) = result.methods
    assert (bicubic.name, model.name, model.device, model.dtype) == ("bicubic", "tiny", "cpu", "float32")
    assert len(model.sha256) == 64
    values = []
    for image in result.images:
        truth = read_image(root / "hq" / f"{image.file}.png").rgb
        assert image.scores["tiny"] == measure(read_image(root / "saved" / f"{image.file}.png").rgb, truth)
        lq = Image.fromarray(read_image(root / "lq" / f"{image.file}.png").rgb)
        enlarged = lq.resize((truth.shape[1], truth.shape[0]), Image.Resampling.BICUBIC)
        assert image.scores["bicubic"] == measure(np.asarray(enlarged), truth)
        values.append(image.scores["tiny"]["psnr"])
    assert result.summaries["tiny"]["psnr"].mean == pytest.approx(np.mean(values))
    (difference,) = result.differences
    assert (difference.first, difference.second) == ("tiny", "bicubic")
    expected = np.mean(values) - result.summaries["bicubic"]["psnr"].mean
    assert difference.difference.mean == pytest.approx(expected)
    order = sorted(result.images, key=lambda image: image.scores["tiny"]["psnr"])
    assert result.worst == tuple(image.file for image in order)


def test_the_protocol_decides_what_is_compared(root: Path, tiny_folder: Path) -> None:
    result = run(root, tiny_folder, save=root / "saved", protocol="basicsr-y")
    assert str(result.protocol) == "Y, crop 4, 8-bit, mean of images"
    image = result.images[0]
    pair = (read_image(root / folder / f"{image.file}.png").rgb for folder in ("saved", "hq"))
    assert image.scores["tiny"] == measure(*pair, crop=4, y_channel=True)


def test_two_models_are_compared_pairwise(root: Path, tiny_folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(tiny_state(seed=3), root / "other.safetensors")
    result = run(
        root, tiny_folder, model=(str(tiny_folder), str(root / "other.safetensors")), save=root / "s"
    )
    assert [method.name for method in result.methods] == ["bicubic", "tiny", "other"]
    pairs = [(paired.first, paired.second) for paired in result.differences]
    assert pairs == [("tiny", "bicubic"), ("other", "bicubic"), ("tiny", "other")]
    assert result.subject == "tiny"
    assert {path.parent.name for path in result.written} == {"tiny", "other"}
    with pytest.raises(ConfigError, match="given twice"):
        run(root, tiny_folder, model=(str(tiny_folder), str(tiny_folder)))


def test_batches_change_nothing_that_matters(root: Path, tiny_folder: Path) -> None:
    one, three = (
        run(root, tiny_folder, runtime=RuntimeConfig(device="cpu", batch=batch)) for batch in (1, 3)
    )
    for a, b in zip(one.images, three.images, strict=True):
        assert a.scores["tiny"]["psnr"] == pytest.approx(b.scores["tiny"]["psnr"], abs=0.02)


def test_identical_pictures_and_tiny_ones(root: Path, tiny_folder: Path) -> None:
    listener = Listener()
    result = run(root, tiny_folder, lq=None, sr=root / "hq")
    assert all(image.scores["hq"] == {"psnr": math.inf, "ssim": 1.0} for image in result.images)
    assert result.summaries["hq"]["psnr"].mean is None
    for folder in ("hq", "lq"):
        for path in (root / folder).iterdir():
            path.unlink()
    Image.fromarray(noise(8, 8)).save(root / "hq" / "a.png")
    Image.fromarray(noise(2, 2)).save(root / "lq" / "a.png")
    config = EvalConfig(hq=root / "hq", lq=root / "lq", model=(str(tiny_folder),), runtime=CPU)
    result = evaluate(config, listener)
    assert math.isnan(result.images[0].scores["tiny"]["ssim"])
    assert result.summaries["tiny"]["ssim"].mean is None
    assert listener.warnings == ["no SSIM for 1 of 1 images: it needs 11 px a side after the crop"]


def test_partners_that_do_not_fit_are_listed_before_anything_runs(root: Path, tiny_folder: Path) -> None:
    def refused(*parts: str, **options: object) -> None:
        with pytest.raises(ConfigError) as caught:
            run(root, tiny_folder, model=("no-such-model",), **options)  # it never gets to the model
        for part in parts:
            assert part in str(caught.value)

    (root / "lq" / "0.png").rename(root / "lq" / "x.png")
    refused("x.png has no matching HQ image", "0.png has no matching image")
    (root / "lq" / "x.png").rename(root / "lq" / "0.png")
    Image.fromarray(noise(13, 16)).save(root / "lq" / "1.png")
    refused("1.png: 16x13, but its HQ image is 64x48, not 4 times")
    refused("which is another size", lq=None, sr=root / "lq")
    (root / "empty").mkdir()
    refused("images to compare: no images in", lq=root / "empty")
    refused("no folder", hq=root / "nowhere")


def test_pictures_left_out_are_told_of_once(root: Path, tiny_folder: Path) -> None:
    (root / "hq" / "c.jxl").write_bytes(b"")
    listener = Listener()
    evaluate(EvalConfig(hq=root / "hq", lq=root / "lq", sr=root / "hq", runtime=CPU), listener)
    assert sum("c.jxl" in message for message in listener.warnings) == 1


@pytest.mark.parametrize("name", ["bicubic", "ground truth", "LQ", "error"])
def test_a_folder_called_like_another_row_or_layer_is_told_from_it(
    name: str, root: Path, tiny_folder: Path
) -> None:
    shutil.copytree(root / "hq", root / name)
    result = run(root, tiny_folder, sr=root / name)
    assert [method.name for method in result.methods] == ["bicubic", f"{name} (images)"]
    assert result.subject == f"{name} (images)"


def test_orientation_counts_when_sizes_are_compared(root: Path, tiny_folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in (root / "hq").iterdir():
        if path.stem != "2":
            path.unlink()
            (root / "lq" / path.name).unlink()
    Image.fromarray(noise(48, 64)).save(root / "hq" / "2.png", exif=exif)  # upright: 64 high, 48 wide
    assert len(run(root, tiny_folder).images) == 1


def test_a_suffix_is_taken_off(root: Path, tiny_folder: Path) -> None:
    (root / "sr").mkdir()
    for path in (root / "hq").iterdir():
        Image.fromarray(read_image(path).rgb // 2).save(root / "sr" / f"{path.stem}_out.png")
    result = run(root, tiny_folder, lq=None, sr=root / "sr", sr_suffix="_out")
    assert [image.file for image in result.images] == ["0", "1", "2", "3"]
    assert [method.name for method in result.methods] == ["sr"]
    assert result.differences == ()


def test_an_ending_of_lq_names_is_taken_off(root: Path, tiny_folder: Path) -> None:
    plain = run(root, tiny_folder)
    for path in (root / "lq").iterdir():
        path.rename(path.with_stem(path.stem + "x4"))
    with pytest.raises(ConfigError, match="has no matching") as caught:
        run(root, tiny_folder)
    assert caught.value.hint == "`--lq-suffix x4` matches them"
    assert run(root, tiny_folder, lq_suffix="x4").images == plain.images
    with pytest.raises(ConfigError, match="has no matching") as caught:
        run(root, tiny_folder, lq=None, sr=root / "lq")
    assert caught.value.hint == "`--sr-suffix x4` matches them"


@pytest.mark.parametrize("beside", [False, True], ids=["a folder of SR", "and LQ"])
def test_odd_hq_images_score_as_the_part_that_lq_shows(beside: bool, root: Path, tiny_folder: Path) -> None:
    plain = run(root, tiny_folder, save=root / "sr")
    for index, path in enumerate(sorted((root / "hq").iterdir())):
        edges = [(0, index), (0, 3 - index), (0, 0)]
        Image.fromarray(np.pad(read_image(path).rgb, edges, mode="wrap")).save(path)
    with pytest.raises(ConfigError, match="not 4 times") as caught:
        run(root, tiny_folder)
    assert caught.value.hint.startswith("`--crop-to-scale` crops")
    report = root / "report.html"
    assert run(root, tiny_folder, crop_to_scale=True, report=report).images == plain.images
    lq = root / "lq" if beside else None
    by_file = run(root, tiny_folder, lq=lq, sr=root / "sr", crop_to_scale=True)
    assert [image.scores["sr"] for image in by_file.images] == [one.scores["tiny"] for one in plain.images]


def test_pictures_of_one_name_in_different_folders_are_kept_apart(root: Path, tiny_folder: Path) -> None:
    flat = run(root, tiny_folder)
    for folder in ("hq", "lq"):
        for index in range(4):
            target = root / folder / f"id{index}" / "face.png"
            target.parent.mkdir()
            (root / folder / f"{index}.png").rename(target)
    result = run(root, tiny_folder, save=root / "saved", csv=root / "scores.csv")
    names = [f"id{index}/face" for index in range(4)]
    assert [image.file for image in result.images] == names
    assert [image.scores for image in result.images] == [image.scores for image in flat.images]
    with (root / "scores.csv").open() as stream:
        assert [row["file"] for row in csv.DictReader(stream)] == names
    assert result.written[:-1] == tuple(root / "saved" / f"{name}.png" for name in names)
    again = run(root, tiny_folder, sr=root / "saved")
    assert [row.scores["saved"] for row in again.images] == [row.scores["tiny"] for row in result.images]


@pytest.mark.parametrize("folder", ["hq", "lq", "sr", "hq/new"])
def test_results_are_not_saved_among_the_inputs(root: Path, tiny_folder: Path, folder: str) -> None:
    shutil.copytree(root / "hq", root / "sr")
    options = {"sr": root / "sr"} if folder == "sr" else {}
    before = contents(root)
    with pytest.raises(ConfigError, match=r"`--save .*` would put results among the inputs"):
        run(root, tiny_folder, save=root / "lq" / ".." / folder, **options)
    assert contents(root) == before


def test_a_result_does_not_replace_what_an_input_links_to(root: Path, tiny_folder: Path) -> None:
    (root / "hq").rename(root / "real")
    (root / "hq").mkdir()
    for path in (root / "real").iterdir():
        (root / "hq" / path.name).symlink_to(path)
    before = contents(root)
    with pytest.raises(ConfigError, match="would overwrite an input"):
        run(root, tiny_folder, save=root / "real")
    assert contents(root) == before


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"csv": "lq/2.png"}, "--csv .*2.png` would overwrite an input"),
        ({"report": "hq/../hq/2.png"}, "--report .*2.png` would overwrite an input"),
        ({"csv": "link"}, "--csv .*link` would overwrite an input"),
        ({"save": "saved", "csv": "saved/2.png"}, "would overwrite a result"),
        ({"csv": "both", "report": "both"}, "--report .*both` would overwrite that of `--csv`"),
    ],
)
def test_a_file_that_would_take_the_place_of_another_is_refused(
    root: Path, tiny_folder: Path, options: dict[str, str], part: str
) -> None:
    (root / "link").symlink_to(root / "hq" / "2.png")
    before = contents(root)
    with pytest.raises(ConfigError, match=part):
        run(root, tiny_folder, **{name: root / path for name, path in options.items()})
    assert contents(root) == before


def test_the_weights_are_not_overwritten(root: Path, tiny_folder: Path) -> None:
    shutil.copytree(tiny_folder, root / "net")
    with pytest.raises(ConfigError, match="would overwrite an input"):
        run(root, root / "net", csv=root / "net" / "model.safetensors")


def test_a_picture_that_cannot_be_saved_is_scored_all_the_same(root: Path, tiny_folder: Path) -> None:
    target = root / "saved" / "2.png"
    target.mkdir(parents=True)
    result = run(root, tiny_folder, save=root / "saved")
    assert [failure.file for failure in result.failed] == [target]
    assert len(result.written) == 3
    assert result.images == run(root, tiny_folder).images


def test_two_models_do_not_share_a_folder(root: Path, tiny_folder: Path) -> None:
    copies = [root / "a" / "tiny", root / "a_tiny"]
    for copy in copies:
        shutil.copytree(tiny_folder, copy)
    models = [f"{copies[0]}", f"{copies[0].parent}_tiny"]
    with pytest.raises(ConfigError, match="would both be written to"):
        run(root, tiny_folder, model=tuple(models), save=root / "saved")
    assert not (root / "saved").exists()


@pytest.mark.parametrize("folder", ["lq", "hq"])
def test_a_truncated_picture_is_reported_and_the_others_scored(
    root: Path, tiny_folder: Path, folder: str
) -> None:
    path = root / folder / "2.png"
    path.write_bytes(path.read_bytes()[:150])
    result = run(root, tiny_folder, report=root / "r.html")
    assert len(result.images) == 3
    assert "cannot be read" in result.failed[0].reason
    assert result.failed[0].file == path
    assert (root / "r.html").exists()
    for index in range(4):
        (root / "lq" / f"{index}.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="no image could be scored"):
        run(root, tiny_folder, report=root / "none.html")
    assert not (root / "none.html").exists()


def test_the_hint_of_a_failure_is_kept(
    root: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> ImageData:
        if path.parent.name == "hq" and path.stem in bad:
            raise ImageError("is wrong", file=path, hint="mend it")
        return read_image(path)

    monkeypatch.setattr("facesr.reports.scoring.read_image", refuse)
    bad = {"2"}
    (failure,) = run(root, tiny_folder).failed
    assert (failure.reason, failure.hint) == ("is wrong", "mend it")
    bad |= {"0", "1", "3"}
    with pytest.raises(ImageError, match="no image could be scored") as caught:
        run(root, tiny_folder)
    assert caught.value.hint == "mend it"


def test_the_table_has_a_line_a_picture(root: Path, tiny_folder: Path) -> None:
    result = run(root, tiny_folder, csv=root / "scores.csv")
    with (root / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == ["0", "1", "2", "3"]
    assert float(rows[2]["tiny psnr"]) == result.images[2].scores["tiny"]["psnr"]


def test_a_full_disk_for_the_cards_takes_no_figures_away(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "full")

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    options = {"csv": root / "s.csv", "report": root / "r.html"}
    result = evaluate(EvalConfig(hq=root / "hq", sr=root / "hq", runtime=CPU, **options))
    assert (len(result.images), result.written) == (4, (root / "s.csv",))
    assert result.failed == (Failure(root / "r.html", "cannot be written, full"),)
    assert not (root / "r.html").exists()


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ConfigError, match="no folder of ground-truth images given"):
        EvalConfig(lq=Path("lq"))
    with pytest.raises(ConfigError, match="nothing to score"):
        EvalConfig(hq=Path("hq"))


def test_the_bootstrap_interval_covers_what_it_should() -> None:
    rng = np.random.default_rng(1)
    hits = sum(
        (s := summarise(list(rng.normal(3, 2, 60)))).low <= 3 <= s.high  # type: ignore[operator]
        for _ in range(20)
    )
    assert 16 <= hits <= 20
    values = list(rng.normal(0, 1, 200))
    summary = summarise(values)
    assert summary.median == pytest.approx(np.median(values))
    assert summary.std == pytest.approx(np.std(values, ddof=1))
    width = summary.high - summary.low  # type: ignore[operator]
    assert width == pytest.approx(2 * 1.96 * np.std(values) / math.sqrt(200), rel=0.1)
    assert summarise(values) == summary
    assert summarise([2.0]).std == 0
    assert summarise([]).mean is None
