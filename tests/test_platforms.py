"""What differs on Windows and macOS, as far as Linux can play it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from facesr import processes
from facesr.config.data import DataConfig
from facesr.config.evaluate import EvalConfig
from facesr.config.upscale import UpscaleConfig
from facesr.data.batches import Slice, batches
from facesr.data.dataset import PairDataset
from facesr.data.folders import list_training
from facesr.errors import ConfigError
from facesr.files import jobs
from facesr.files.jobs import Place, check_files, plan_jobs
from facesr.files.listing import Source, list_images
from facesr.images.image import ImageData
from facesr.images.write import encode_image
from facesr.reports.scores import Method
from facesr.workflows.evaluate import _save_folders
from tests.conftest import needs_posix, noise

pytestmark = needs_posix

COMPOSED, DECOMPOSED = "\N{LATIN SMALL LETTER E WITH ACUTE}.png", "e\N{COMBINING ACUTE ACCENT}.png"


@pytest.mark.parametrize(("source", "target"), [("a.png", "A.png"), (COMPOSED, DECOMPOSED)])
def test_names_that_macos_takes_for_one_never_overwrite_an_input(
    source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(Path("x"), Path(target).stem)
    plan = [Source(Path("x", source), Path(source))]
    monkeypatch.setattr(sys, "platform", "linux")
    assert plan_jobs(plan, place)[0][0].target == Path("x", target)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigError, match="would overwrite an input"):
        plan_jobs(plan, place)


def test_names_that_macos_takes_for_one_are_not_two_results(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = [Source(Path("x", "a.png"), Path("a.png")), Source(Path("y", "A.png"), Path("A.png"))]
    assert len({job.target for job in plan_jobs(plan, Place(Path("out")))[0]}) == 2
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigError, match=r"x/a\.png and y/A\.png would both be written to"):
        plan_jobs(plan, Place(Path("out")))


def test_the_output_is_left_out_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("in", "in/Out"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").touch()
    monkeypatch.setattr(sys, "platform", "darwin")
    found = list_images([tmp_path / "in"], recursive=True, exclude=[tmp_path / "in" / "out"])
    assert [source.relative for source in found] == [Path("a.png")]


def test_a_drive_that_does_not_exist_is_a_place_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "exists", lambda path: False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match=r"`--csv .*scores\.csv`: cannot write to /"):
        check_files({"--csv": Path("/x/scores.csv")}, inputs=[])


def test_the_name_of_a_model_leads_to_no_other_drive() -> None:
    methods = [Method("C:evil"), Method("other")]
    folder = _save_folders(EvalConfig(hq=Path("hq"), lq=Path("lq"), save=Path("out")), methods)["C:evil"]
    assert folder == Path("out", "C_evil")


def test_a_template_of_names_has_no_separator_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"inputs": (Path("a.png"),), "output": Path("out"), "name": "x\\{stem}"}
    UpscaleConfig(**options)
    monkeypatch.setattr(os, "sep", "\\")
    with pytest.raises(ConfigError, match="no slash"):
        UpscaleConfig(**options)


def test_an_encoding_without_every_character_stops_nothing() -> None:
    """As when Windows redirects: the help of `train` has an ellipsis."""
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "facesr", "train", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u2026" in done.stdout


@pytest.fixture
def posix_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "alarm", raising=False)
    for name in ("memfd_create", "sched_getaffinity", "setpgrp"):
        monkeypatch.delattr(os, name, raising=False)


@pytest.mark.usefixtures("posix_is_away")
def test_a_jpeg_is_the_same_without_files_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    image = ImageData(noise(24, 40))
    without = encode_image(image, ".jpg")
    monkeypatch.undo()
    assert without == encode_image(image, ".jpg")


@pytest.mark.usefixtures("posix_is_away")
def test_workers_need_neither_affinity_nor_groups_nor_alarms(tmp_path: Path) -> None:
    assert processes.cores() == os.cpu_count()
    Image.fromarray(noise(24, 24)).save(tmp_path / "a.png")
    config = DataConfig(train_hq=(tmp_path,), crop_px=16).resolved()
    draws = PairDataset(list_training(config), config, seed=0, scale=4)
    alone, helped = (batches(draws, part=Slice(2), start=0, workers=count) for count in (0, 1))
    assert torch.equal(next(alone).lq, next(helped).lq)
    helped.close()


def test_a_system_without_sigusr1_stops_by_the_others() -> None:
    code = (
        "import signal; vars(signal).pop('SIGUSR1', 0);"
        "from facesr.processes import STOP_SIGNALS; print(*STOP_SIGNALS)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(int(signal.SIGINT)), str(int(signal.SIGTERM))], done.stderr
