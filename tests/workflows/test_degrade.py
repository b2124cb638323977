"""The command's bytes depend on the file, the configuration and the seed, and on nothing else."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import facesr
from facesr.config.degrade import DegradeConfig
from facesr.config.steps import Degradation, Fit, Resize, Shrink, degradation_preset
from facesr.degradation.record import KEY, read_record
from facesr.errors import ConfigError
from facesr.images.image import ImageData
from facesr.images.read import read_image
from facesr.images.write import write_image
from facesr.workflows.degrade import degrade
from tests.conftest import Listener, needs_posix, noise


@pytest.fixture
def hq(tmp_path: Path) -> Path:
    folder = tmp_path / "hq"
    (folder / "sub").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.jpg", "sub/a.png")):
        Image.fromarray(noise(48, 64, seed=index)).save(folder / name)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make(hq: Path, lq: Path, **options: object) -> dict[str, bytes]:
    result = degrade(DegradeConfig(hq=hq, lq=lq, **options))
    assert not result.failed
    return contents(lq)


def test_the_bytes_do_not_depend_on_workers_or_order_or_company(hq: Path, tmp_path: Path) -> None:
    one = make(hq, tmp_path / "1", workers=1, recursive=True)
    assert sorted(one) == ["a.png", "b.png", "sub/a.png"]
    assert make(hq, tmp_path / "2", workers=3, recursive=True) == one
    assert make(hq / "b.jpg", tmp_path / "3") == {"b.png": one["b.png"]}
    assert one["a.png"] != one["sub/a.png"]
    assert make(hq, tmp_path / "4", recursive=True, seed=1).items().isdisjoint(one.items())


def test_the_command_and_the_library_agree(hq: Path, tmp_path: Path) -> None:
    params = tmp_path / "params.jsonl"
    make(hq, tmp_path / "lq", params_out=params)
    line = json.loads(params.read_text().splitlines()[0])
    expected = facesr.degrade_image(noise(48, 64), "default", line["seed"])
    assert np.array_equal(read_image(tmp_path / "lq" / "a.png").rgb, expected)


def test_copies_have_draws_of_their_own_and_the_first_is_the_only_one(hq: Path, tmp_path: Path) -> None:
    single = make(hq, tmp_path / "1")
    several = make(hq, tmp_path / "3", copies=3)
    assert sorted(several) == sorted(f"{stem}_{copy}.png" for stem in "ab" for copy in range(3))
    assert several["a_0.png"] == single["a.png"]
    assert len(set(several.values())) == 6


def test_pairs_from_one_command(hq: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    lq = make(hq, tmp_path / "lq", hq_out=truth, size_px=40, copies=2)
    assert contents(truth).keys() == lq.keys()
    for name in lq:
        assert read_image(truth / name).size == (40, 40)
        assert read_image(tmp_path / "lq" / name).size == (10, 10)
    degrade(DegradeConfig(hq=hq, lq=tmp_path / "plain", hq_out=tmp_path / "plain-truth"))
    assert np.array_equal(read_image(tmp_path / "plain-truth" / "a.png").rgb, noise(48, 64))


def test_a_file_goes_to_a_file(hq: Path, tmp_path: Path) -> None:
    expected = make(hq, tmp_path / "folder", hq_out=tmp_path / "hq-folder")
    low, high = tmp_path / "low.png", tmp_path / "high.PNG"
    result = degrade(DegradeConfig(hq=hq / "a.png", lq=low, hq_out=high))
    assert (result.written, result.output) == ((low,), low)
    assert low.read_bytes() == expected["a.png"]
    assert high.read_bytes() == (tmp_path / "hq-folder" / "a.png").read_bytes()
    assert degrade(DegradeConfig(hq=hq / "a.png", lq=low, hq_out=high)).skipped == (low,)
    make(hq / "a.png", tmp_path / "mixed", hq_out=tmp_path / "mixed-hq.png")
    assert (tmp_path / "mixed-hq.png").read_bytes() == high.read_bytes()


def test_copies_for_a_file_are_numbered_and_replayed_from_their_folder(hq: Path, tmp_path: Path) -> None:
    def files(folder: str, **options: object) -> dict[str, bytes]:
        result = degrade(
            DegradeConfig(hq=hq / "a.png", lq=tmp_path / folder / "low.png", copies=2, **options)
        )
        assert not result.failed
        return contents(tmp_path / folder)

    several = files("1")
    assert sorted(several) == ["low_0.png", "low_1.png"]
    assert files("2", replay=tmp_path / "1", seed=9) == several


@pytest.mark.parametrize(
    ("source", "outputs", "error"),
    [
        ("a.png", {"lq": "low.jpg"}, "cannot write .*low.jpg"),
        ("a.png", {"lq": "low.gif"}, "cannot write .*low.gif"),
        ("a.png", {"lq": "lq", "hq_out": "high.jpg"}, "cannot write .*high.jpg"),
        ("a.png", {"lq": "hq/a.png"}, "would overwrite an input"),
        ("a.png", {"lq": "low.png", "hq_out": "low.png"}, "given for both LQ and HQ"),
        ("a.png", {"lq": "lq", "hq_out": "lq/a.png"}, "would both be written"),
        ("", {"lq": "low.png"}, "low.png is the name of an image file"),
        ("", {"lq": "lq", "hq_out": "high.png"}, "high.png is the name of an image file"),
    ],
)
def test_a_file_that_cannot_be_the_result_is_refused(
    hq: Path, tmp_path: Path, source: str, outputs: dict[str, str], error: str
) -> None:
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=error):
        degrade(DegradeConfig(hq=hq / source, **{name: tmp_path / path for name, path in outputs.items()}))
    assert contents(tmp_path) == before


def test_the_same_command_again_does_nothing_beside_the_originals(hq: Path, tmp_path: Path) -> None:
    for options in ({"lq": hq}, {"lq": tmp_path / "lq", "hq_out": hq}):
        config = DegradeConfig(hq=hq, recursive=True, copies=2, **options)
        written = degrade(config).written
        assert len(written) == 6
        before = contents(tmp_path)
        again = degrade(config)
        assert (again.written, again.skipped) == ((), written)
        assert contents(tmp_path) == before
        for path in hq.rglob("*_[01].png"):
            path.unlink()


def test_a_preset_or_a_degradation_is_used(hq: Path, tmp_path: Path) -> None:
    by_name = make(hq, tmp_path / "1", preset="gfpgan")
    assert make(hq, tmp_path / "2", degradation=degradation_preset("gfpgan")) == by_name
    assert make(hq, tmp_path / "3") != by_name


def read_lines(params: Path) -> list[dict]:
    return [json.loads(line) for line in params.read_text().splitlines()]


def test_parameters_are_written_and_replayed(hq: Path, tmp_path: Path) -> None:
    params = tmp_path / "params.jsonl"
    first = make(hq, tmp_path / "1", params_out=params, recursive=True, preset="real-esrgan", copies=2)
    lines = read_lines(params)
    assert [(line["file"], line["copy"]) for line in lines] == [
        (name, copy) for name in ("a.png", "b.jpg", "sub/a.png") for copy in (0, 1)
    ]
    for replay in (params, tmp_path / "1"):
        replayed = make(
            hq, tmp_path / f"again-{replay.name}", replay=replay, recursive=True, copies=2, seed=99,
            degradation=degradation_preset("gfpgan"),
        )  # fmt: skip
        assert replayed == first
    assert make(hq / "a.png", tmp_path / "3", replay=params)["a.png"] == first["a_0.png"]
    params.write_text(json.dumps(lines[0]) + "\n")
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "4", replay=params))
    assert [path.name for path in result.written] == ["a.png"]
    assert result.failed[0].reason == f"`--replay {params}` has no line for it"


def test_each_png_holds_what_was_drawn_for_it_and_no_path(hq: Path, tmp_path: Path) -> None:
    params = tmp_path / "params.jsonl"
    make(hq, tmp_path / "lq", params_out=params, recursive=True, copies=2)
    lines = read_lines(params)
    for line in lines:
        path = Path(line["file"])
        record = read_record(tmp_path / "lq" / path.parent / f"{path.stem}_{line['copy']}.png")
        assert record == {**line, "file": path.name}
    assert len({line["seed"] for line in lines}) == 6
    assert {line["scale"] for line in lines} == {4}


def test_a_png_of_a_folder_is_replayed_for_the_result_of_its_name(hq: Path, tmp_path: Path) -> None:
    lq = tmp_path / "lq"
    first = make(hq, lq, recursive=True)
    assert make(hq / "sub", tmp_path / "1", replay=lq / "sub") == {"a.png": first["sub/a.png"]}
    (lq / "a.png").unlink()
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "2", replay=lq, recursive=True))
    assert [(one.file, one.reason) for one in result.failed] == [
        (hq / "a.png", f"`--replay {lq}` has no a.png for it")
    ]
    assert contents(tmp_path / "2") == {name: first[name] for name in ("b.png", "sub/a.png")}


def test_one_png_is_replayed_for_every_input(hq: Path, tmp_path: Path) -> None:
    first = make(hq, tmp_path / "1")
    again = make(hq, tmp_path / "2", replay=tmp_path / "1" / "a.png")
    assert again["a.png"] == first["a.png"]
    record = read_record(tmp_path / "1" / "a.png")
    assert read_record(tmp_path / "2" / "b.png") == {**record, "file": "b.jpg"}


def test_a_folder_can_be_made_again_in_its_place(hq: Path, tmp_path: Path) -> None:
    lq = tmp_path / "lq"
    first = make(hq, lq, seed=5)
    assert make(hq, lq, replay=lq, overwrite=True) == first


def test_the_file_lists_all_planned_results_that_are_there(hq: Path, tmp_path: Path) -> None:
    lq, params, listener = tmp_path / "lq", tmp_path / "params.jsonl", Listener()
    make(hq, lq, recursive=True, seed=1)
    (lq / "a.png").unlink()
    params.write_text("of another run")
    make(hq, lq, params_out=params, recursive=True)  # the others are of another seed
    assert make(hq, tmp_path / "again", replay=params, recursive=True) == contents(lq)
    (hq / "b.jpg").write_text("no")
    (lq / "b.png").unlink()
    degrade(DegradeConfig(hq=hq, lq=lq, params_out=params), listener)
    assert [line["file"] for line in read_lines(params)] == ["a.png"]
    assert not listener.warnings


def test_results_without_a_record_are_named_in_one_warning(hq: Path, tmp_path: Path) -> None:
    lq, params, listener = tmp_path / "lq", tmp_path / "params.jsonl", Listener()
    make(hq, lq)
    damaged = PngInfo()
    damaged.add_text(KEY, "{}")
    Image.fromarray(noise(12, 16)).save(lq / "a.png", pnginfo=damaged)
    degrade(DegradeConfig(hq=hq, lq=lq, params_out=params), listener)
    assert [line["file"] for line in read_lines(params)] == ["b.jpg"]
    (warning,) = (one for one in listener.warnings if "not listed" in one)
    assert warning.startswith(f"1 results are not listed in {params}: {lq / 'a.png'}: its degradation record")


@needs_posix
def test_the_lines_go_into_a_pipe(hq: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for skipped in (0, 2):
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", params_out=pipe))
        assert len(result.skipped) == skipped
        lines = os.read(reader, 65_536).decode().splitlines()
        assert [json.loads(line)["file"] for line in lines] == ["a.png", "b.jpg"]
        os.close(reader)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_dies_and_is_started_again_lists_what_is_there(
    hq: Path, tmp_path: Path, overwrite: bool
) -> None:
    lq, params = tmp_path / "lq", tmp_path / "params.jsonl"
    if overwrite:
        make(hq, lq, recursive=True, seed=1)

    class Dies(Listener):
        def advance(self, count: int = 1) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        degrade(DegradeConfig(hq=hq, lq=lq, workers=1, overwrite=overwrite, recursive=True), Dies())
    make(hq, lq, params_out=params, recursive=True)
    assert len(read_lines(params)) == 3
    assert make(hq, tmp_path / "again", replay=params, recursive=True) == contents(lq)


@pytest.mark.parametrize("content", ["[1]", "{", "{}", "[" * 5000, '{"file": "a", "copy": 0}', None])
def test_a_bad_parameter_file_is_refused(hq: Path, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "params.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"`--replay .*params\.jsonl`"):
        degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", replay=path))


@pytest.mark.parametrize(
    "steps",
    [["x"], [{}], [{"step": "a", "type": "none"}], [{"step": "a", "type": "blur"}], [{"type": "jpeg"}]],
)
def test_a_line_that_cannot_be_replayed_is_one_failure(hq: Path, tmp_path: Path, steps: list) -> None:
    good = tmp_path / "params.jsonl"
    make(hq, tmp_path / "1", params_out=good)
    lines = read_lines(good)
    lines[0]["steps"] = steps
    good.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "2", replay=good))
    assert [failure.file.name for failure in result.failed] == ["a.png"]
    assert "params.jsonl` cannot be used" in result.failed[0].reason
    assert sorted(contents(tmp_path / "2")) == ["b.png"]


def test_a_damaged_record_is_the_failure_of_its_file(hq: Path, tmp_path: Path) -> None:
    lq = tmp_path / "lq"
    make(hq, lq)
    write_image(lq / "a.png", ImageData(rgb=noise(12, 16)), text={KEY: "{"})
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "2", replay=lq))
    assert [failure.file for failure in result.failed] == [lq / "a.png"]
    assert sorted(contents(tmp_path / "2")) == ["b.png"]


def test_a_record_of_another_scale_is_the_failure_of_its_file(hq: Path, tmp_path: Path) -> None:
    params = tmp_path / "params.jsonl"
    make(hq, tmp_path / "1", params_out=params)
    lines = read_lines(params)
    lines[0]["scale"] = 2
    params.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "2", replay=params))
    (failure,) = result.failed
    assert failure.file == hq / "a.png"
    assert failure.reason == "its degradation was drawn for `--scale 2`, not 4"
    assert "`--scale`" in failure.hint


@pytest.mark.parametrize("folder", ["lq", "truth"])
def test_a_result_that_cannot_be_written_is_named(hq: Path, tmp_path: Path, folder: str) -> None:
    target = tmp_path / folder / "a.png"
    target.mkdir(parents=True)
    options = {"hq_out": tmp_path / "truth", "overwrite": True}
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", **options))
    assert [failure.file for failure in result.failed] == [target]


@pytest.mark.parametrize(
    "step",
    [
        Resize(scale=(1e6, 1e6), up=1, down=0, keep=0),
        Resize(scale=(1e6, 1e6), up=1, down=0, keep=0, of="lq"),
        Shrink(divisor=(1e-6, 1e-6)),
    ],
)
def test_a_step_that_needs_enormous_memory_is_refused(
    hq: Path, tmp_path: Path, step: Resize | Shrink
) -> None:
    steps = {"big": step, "fit": Fit(to="lq")}
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", degradation=Degradation(steps=steps)))
    assert [failure.file for failure in result.failed] == [hq / "a.png", hq / "b.jpg"]
    for failure in result.failed:
        assert "more than 357,913,940 pixels" in failure.reason
        assert "`scale`" in failure.hint


def test_odd_sizes_are_cropped_with_a_note_or_refused(hq: Path, tmp_path: Path) -> None:
    Image.fromarray(noise(50, 67)).save(hq / "odd.png")
    listener = Listener()
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "1", hq_out=tmp_path / "t"), listener)
    assert read_image(tmp_path / "1" / "odd.png").size == (12, 16)
    assert read_image(tmp_path / "t" / "odd.png").size == (48, 64)
    assert len(result.written) == 3
    assert len(listener.warnings) == 1
    assert "1 images were cropped to multiples of 4 px, such as" in listener.warnings[0]
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "2", strict=True))
    assert [(f.file.name, f.reason) for f in result.failed] == [("odd.png", "67x50 is not divisible by 4")]


def test_results_of_other_options_are_kept_with_a_warning(hq: Path, tmp_path: Path) -> None:
    lq, other = tmp_path / "lq", tmp_path / "other"
    before = make(hq, lq, seed=1)
    make(hq, other, seed=2)
    unchanged: list[dict[str, object]] = [{"seed": 1}, {"replay": lq}, {"seed": 5, "replay": lq}]
    changed: list[dict[str, object]] = [
        {"seed": 2}, {"seed": 1, "preset": "mild"}, {"seed": 1, "scale": 2}, {"seed": 1, "replay": other},
    ]  # fmt: skip
    for options in [*unchanged, *changed]:
        listener = Listener()
        result = degrade(DegradeConfig(hq=hq, lq=lq, **options), listener)
        assert (len(result.skipped), contents(lq)) == (2, before)
        said = "2 existing results were made with other options" in " ".join(listener.warnings)
        assert said == (options in changed), options
    assert make(hq, lq, seed=2, overwrite=True) == contents(other)


def test_broken_pictures_are_reported_and_existing_results_skipped(hq: Path, tmp_path: Path) -> None:
    (hq / "broken.png").write_text("no")
    Image.fromarray(noise(3, 3)).save(hq / "dot.png")
    lq = tmp_path / "lq"
    result = degrade(DegradeConfig(hq=hq, lq=lq))
    assert {failure.file.name for failure in result.failed} == {"broken.png", "dot.png"}
    assert sorted(contents(lq)) == ["a.png", "b.png"]
    assert len(degrade(DegradeConfig(hq=hq, lq=lq)).skipped) == 2
    (lq / "a.png").write_bytes(b"mine")
    result = degrade(DegradeConfig(hq=hq, lq=lq))
    assert (len(result.skipped), result.failed[0].file) == (1, lq / "a.png")
    assert "facesr did not write it" in result.failed[0].reason
    assert (lq / "a.png").read_bytes() == b"mine"
    degrade(DegradeConfig(hq=hq, lq=lq, overwrite=True))
    assert (lq / "a.png").read_bytes() != b"mine"


def test_pictures_that_cannot_be_read_by_their_names_are_told(hq: Path, tmp_path: Path) -> None:
    (hq / "c.jxl").touch()
    listener = Listener()
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq"), listener)
    assert (len(result.written), result.failed) == (2, ())
    (warning,) = listener.warnings
    assert f"convert them to PNG or JPEG: {hq / 'c.jxl'}" in warning


def test_outputs_inside_the_input_are_not_taken_for_inputs(hq: Path) -> None:
    for _ in range(2):
        result = degrade(DegradeConfig(hq=hq, lq=hq / "lq", hq_out=hq / "truth", recursive=True))
        assert len(result.written) + len(result.skipped) == 3


def test_the_number_of_threads_is_left_as_it_was(hq: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    make(hq, tmp_path / "lq")
    assert torch.get_num_threads() == before


def test_contradictory_paths_are_refused(hq: Path, tmp_path: Path) -> None:
    for name in ("sheet", "sheet.txt", "sheet.jfif", ".png"):
        with pytest.raises(ConfigError, match=rf"--preview .*{name}` is not the name of an image"):
            degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", preview=tmp_path / name))
    assert not (tmp_path / "lq").exists()
    with pytest.raises(ConfigError, match="no HQ folder given"):
        degrade(DegradeConfig())
    with pytest.raises(ConfigError, match="no folder for the LQ images"):
        degrade(DegradeConfig(hq=hq))
    with pytest.raises(ConfigError, match="would overwrite an input"):
        degrade(DegradeConfig(hq=hq, lq=hq))
    with pytest.raises(ConfigError, match="would overwrite an input"):
        degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", hq_out=hq))
    with pytest.raises(ConfigError, match="given for both LQ and HQ"):
        degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", hq_out=tmp_path / "x" / ".." / "lq"))
    Image.fromarray(noise(8, 8)).save(hq / "a.jpg")
    with pytest.raises(ConfigError, match="both be written"):
        degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq"))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"preview": "hq/a.png"}, "--preview .*a.png` would overwrite an input"),
        ({"preview": "link.png"}, "--preview .*link.png` would overwrite an input"),
        ({"lq": "lq", "params_out": "hq/sub/../b.jpg"}, "--params-out .*b.jpg` would overwrite an input"),
        ({"lq": "lq", "params_out": "p.jsonl", "replay": "p.jsonl"}, "would overwrite an input"),
        ({"lq": "lq", "preview": "lq/b.png"}, "would overwrite a result"),
        ({"lq": "lq", "hq_out": "t", "params_out": "t/b.png"}, "would overwrite a result"),
        ({"lq": "lq", "params_out": "x.png", "preview": "x.png"}, "would overwrite that of `--params-out`"),
    ],
)
def test_a_file_that_would_take_the_place_of_another_is_refused(
    hq: Path, tmp_path: Path, options: dict[str, str], part: str
) -> None:
    (tmp_path / "link.png").symlink_to(hq / "a.png")
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=part):
        degrade(DegradeConfig(hq=hq, **{name: tmp_path / path for name, path in options.items()}))
    assert contents(tmp_path) == before


def test_a_preview_shows_inputs_beside_draws(hq: Path, tmp_path: Path) -> None:
    (hq / "broken.png").write_text("no")
    sheets = []
    for seed in (0, 0, 1):
        path = tmp_path / "sheet.png"
        result = degrade(DegradeConfig(hq=hq, preview=path, seed=seed))
        assert (result.preview, result.written) == (path, ())
        sheets.append(path.read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]
    sheet = read_image(path).rgb
    assert sheet.shape[1] > 5 * 256
    assert (sheet[256:300, 260:500] < 128).any()  # captions
