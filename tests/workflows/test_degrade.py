"""The command's bytes depend on the file, the configuration and the seed, and on nothing else."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import facesr
from facesr.config.degrade import DegradeConfig
from facesr.config.steps import Degradation, Fit, Resize, Shrink, degradation_preset
from facesr.errors import ConfigError
from facesr.images.read import read_image
from facesr.workflows.degrade import degrade
from tests.conftest import Listener, noise


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


def test_a_preset_or_a_degradation_is_used(hq: Path, tmp_path: Path) -> None:
    by_name = make(hq, tmp_path / "1", preset="gfpgan")
    assert make(hq, tmp_path / "2", degradation=degradation_preset("gfpgan")) == by_name
    assert make(hq, tmp_path / "3") != by_name


def test_parameters_are_written_and_replayed(hq: Path, tmp_path: Path) -> None:
    params = tmp_path / "params.jsonl"
    first = make(hq, tmp_path / "1", params_out=params, recursive=True, preset="real-esrgan", copies=2)
    lines = [json.loads(line) for line in params.read_text().splitlines()]
    assert [(line["file"], line["copy"]) for line in lines] == [
        (name, copy) for name in ("a.png", "b.jpg", "sub/a.png") for copy in (0, 1)
    ]
    replayed = make(
        hq, tmp_path / "2", replay=params, recursive=True, copies=2, seed=99,
        degradation=degradation_preset("gfpgan"),
    )  # fmt: skip
    assert replayed == first
    assert make(hq / "a.png", tmp_path / "3", replay=params)["a.png"] == first["a_0.png"]
    params.write_text(json.dumps(lines[0]) + "\n")
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "4", replay=params))
    assert [path.name for path in result.written] == ["a.png"]
    assert "no line for it in" in result.failed[0].reason


def test_a_single_file_from_a_sub_folder_is_replayed(hq: Path, tmp_path: Path) -> None:
    params = tmp_path / "params.jsonl"
    first = make(hq, tmp_path / "1", params_out=params, recursive=True)
    again = tmp_path / "again.jsonl"
    for name in ("a.png", "sub/a.png"):  # of one name
        made = make(hq / name, tmp_path / "lq" / name, replay=params, params_out=again)
        assert made == {"a.png": first[name]}
        assert json.loads(again.read_text())["file"] == "a.png"
        again.unlink()
    params.write_text(params.read_text().replace('"a.png"', '"x/a.png"').replace('"b.jpg"', '"x/b.jpg"'))
    assert make(hq / "b.jpg", tmp_path / "2", replay=params) == {"b.png": first["b.png"]}
    result = degrade(DegradeConfig(hq=hq / "a.png", lq=tmp_path / "3", replay=params))
    (failure,) = result.failed
    assert failure.reason == f"no line for it in {params}, or several of its name"


def replayed(hq: Path, lq: Path, params: Path, again: Path) -> bool:
    """Tell whether a parameter file makes the pictures that lie in a folder."""
    return make(hq, again, replay=params, recursive=True, copies=2) == contents(lq)


def test_the_lines_are_of_the_pictures_that_lie_there(hq: Path, tmp_path: Path) -> None:
    lq, params = tmp_path / "lq", tmp_path / "params.jsonl"
    options = {"params_out": params, "recursive": True, "copies": 2}
    make(hq, lq, **options)
    whole = params.read_bytes()
    make(hq, lq, **options, seed=9)  # all are there, and are not of this seed
    assert params.read_bytes() == whole
    (lq / "a_1.png").unlink()
    make(hq, lq, **options, preset="mild")
    assert params.read_bytes() != whole
    assert len(params.read_bytes().splitlines()) == 6
    assert replayed(hq, lq, params, tmp_path / "again")
    make(hq, lq, **options, preset="gfpgan", overwrite=True)
    assert replayed(hq, lq, params, tmp_path / "gfpgan")
    make(hq, lq, **options, overwrite=True)
    assert params.read_bytes() == whole


def test_the_lines_of_earlier_commands_stay_while_their_pictures_do(hq: Path, tmp_path: Path) -> None:
    lq, params = tmp_path / "lq", tmp_path / "params.jsonl"
    for copies in (1, 2):
        make(hq, lq, params_out=params, recursive=True, copies=copies)
    whole = params.read_bytes()
    make(hq / "b.jpg", lq, params_out=params)
    assert params.read_bytes() == whole
    make(hq / "b.jpg", lq, params_out=params, overwrite=True, seed=1)
    lines = params.read_bytes().splitlines()
    assert len(set(lines) & set(whole.splitlines())) == len(lines) - 1 == 5
    for name in ("a.png", "a_0.png", "b_0.png", "sub/a_1.png"):
        (lq / name).unlink()
    Image.fromarray(noise(48, 64)).save(hq / "sub" / "b.png")
    make(hq / "sub" / "b.png", lq, params_out=params, overwrite=True)  # in the place of that of b.jpg
    lines = [json.loads(line) for line in params.read_text().splitlines()]
    assert [(line["file"], line["copy"]) for line in lines] == [
        ("a.png", 1),
        ("b.jpg", 1),
        ("b.png", 0),
        ("sub/a.png", 0),
    ]


def test_a_picture_that_cannot_be_redone_keeps_its_line(hq: Path, tmp_path: Path) -> None:
    lq, params = tmp_path / "lq", tmp_path / "params.jsonl"
    make(hq, lq, params_out=params)
    whole = params.read_bytes().splitlines()
    (hq / "b.jpg").write_text("no")
    degrade(DegradeConfig(hq=hq, lq=lq, params_out=params, overwrite=True, seed=1))
    lines = params.read_bytes().splitlines()
    assert (lines[0] != whole[0], lines[1:]) == (True, whole[1:])


def test_a_file_that_holds_no_lines_is_not_replaced(hq: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"cannot read the parameters in .*notes\.txt"):
        degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", params_out=tmp_path / "notes.txt"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_skipped_picture_without_a_line_has_none_and_is_told(hq: Path, tmp_path: Path) -> None:
    lq, params, listener = tmp_path / "lq", tmp_path / "params.jsonl", Listener()
    make(hq, lq)
    (lq / "b.png").unlink()
    degrade(DegradeConfig(hq=hq, lq=lq, params_out=params), listener)
    assert [json.loads(line)["file"] for line in params.read_text().splitlines()] == ["b.jpg"]
    (warning,) = listener.warnings
    assert warning.startswith(f"1 skipped pictures have no line in {params}, such as {lq / 'a.png'}")
    assert "--overwrite" in warning


def test_the_lines_go_into_a_pipe_once(hq: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for skipped in (0, 2):
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", params_out=pipe))
        assert len(result.skipped) == skipped
        lines = os.read(reader, 65_536).decode().splitlines()
        assert [json.loads(line)["file"] for line in lines] == ["a.png", "b.jpg"][skipped:]
        os.close(reader)


def test_failures_have_no_line(hq: Path, tmp_path: Path) -> None:
    params = tmp_path / "params.jsonl"
    (hq / "b.jpg").write_text("no")
    degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", params_out=params))
    assert [json.loads(line)["file"] for line in params.read_text().splitlines()] == ["a.png"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_dies_leaves_lines_that_are_true(hq: Path, tmp_path: Path, overwrite: bool) -> None:
    lq, params = tmp_path / "lq", tmp_path / "params.jsonl"
    options = {"params_out": params, "recursive": True}
    if overwrite:
        make(hq, lq, **options, seed=1)

    class Dies(Listener):
        def advance(self, count: int = 1) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        degrade(DegradeConfig(hq=hq, lq=lq, workers=1, overwrite=overwrite, **options), Dies())
    lines = {line["file"]: line for line in map(json.loads, params.read_text().splitlines())}
    assert set(lines) == (set() if overwrite else {"a.png", "b.jpg", "sub/a.png"})
    make(hq, lq, **options, overwrite=overwrite)
    lines = {line["file"]: line for line in map(json.loads, params.read_text().splitlines())}
    assert len(lines) == 3
    assert make(hq, tmp_path / "again", replay=params, recursive=True) == contents(lq)


@pytest.mark.parametrize("content", ["[1]", "{", "{}", '{"file": "a", "copy": 0}', None])
def test_a_bad_parameter_file_is_refused(hq: Path, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "params.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"cannot read the parameters in .*params\.jsonl"):
        degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", replay=path))


@pytest.mark.parametrize(
    "steps",
    [["x"], [{}], [{"step": "a", "type": "none"}], [{"step": "a", "type": "blur"}], [{"type": "jpeg"}]],
)
def test_a_line_that_cannot_be_replayed_is_one_failure(hq: Path, tmp_path: Path, steps: list) -> None:
    good = tmp_path / "params.jsonl"
    make(hq, tmp_path / "1", params_out=good)
    lines = [json.loads(line) for line in good.read_text().splitlines()]
    lines[0]["steps"] = steps
    good.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "2", replay=good))
    assert [failure.file.name for failure in result.failed] == ["a.png"]
    assert "params.jsonl cannot be used" in result.failed[0].reason
    assert sorted(contents(tmp_path / "2")) == ["b.png"]


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
    assert "1 pictures were cropped to multiples of 4 px, such as" in listener.warnings[0]
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "2", strict=True))
    assert [(f.file.name, f.reason) for f in result.failed] == [("odd.png", "67x50 is not divisible by 4")]


def test_broken_pictures_are_reported_and_existing_results_skipped(hq: Path, tmp_path: Path) -> None:
    (hq / "broken.png").write_text("no")
    Image.fromarray(noise(3, 3)).save(hq / "dot.png")
    lq = tmp_path / "lq"
    result = degrade(DegradeConfig(hq=hq, lq=lq))
    assert {failure.file.name for failure in result.failed} == {"broken.png", "dot.png"}
    assert sorted(contents(lq)) == ["a.png", "b.png"]
    (lq / "a.png").write_bytes(b"mine")
    assert len(degrade(DegradeConfig(hq=hq, lq=lq)).skipped) == 2
    assert (lq / "a.png").read_bytes() == b"mine"
    degrade(DegradeConfig(hq=hq, lq=lq, overwrite=True))
    assert (lq / "a.png").read_bytes() != b"mine"


def test_pictures_that_cannot_be_read_by_their_names_are_told(hq: Path, tmp_path: Path) -> None:
    (hq / "c.heic").touch()
    listener = Listener()
    result = degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq"), listener)
    assert (len(result.written), result.failed) == (2, ())
    (warning,) = listener.warnings
    assert f"convert them to PNG or JPEG: {hq / 'c.heic'}" in warning


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
        with pytest.raises(ConfigError, match=rf"--preview .*{name}` is no name of a picture"):
            degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", preview=tmp_path / name))
    assert not (tmp_path / "lq").exists()
    with pytest.raises(ConfigError, match="no HQ folder given"):
        degrade(DegradeConfig())
    with pytest.raises(ConfigError, match="no folder for the LQ pictures"):
        degrade(DegradeConfig(hq=hq))
    with pytest.raises(ConfigError, match="would overwrite an input"):
        degrade(DegradeConfig(hq=hq, lq=hq))
    with pytest.raises(ConfigError, match="would overwrite an input"):
        degrade(DegradeConfig(hq=hq, lq=tmp_path / "lq", hq_out=hq))
    with pytest.raises(ConfigError, match="given for both LQ and truth"):
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
