"""Whatever goes wrong at whatever moment: nothing is half-written, and the same command ends as it should."""

import errno
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facesr.files.listing import list_images
from tests.conftest import Run, noise
from tests.hostile.processes import (
    assert_same_files,
    assert_whole,
    contents,
    facesr,
    killed,
    leftovers,
    pictures_below,
)
from tests.weights.test_hub import Hub, hub, upscale  # noqa: F401 (a fixture)
from tests.workflows.test_train import command, equal_runs

KILLS = pytest.mark.parametrize(
    "kills", [5, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)


def faces_in(folder: Path, count: int, side: int) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        Image.fromarray(noise(side, side, seed=index)).save(folder / f"{index:04}.png")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """Return folders to train on, as `command` takes them."""
    faces_in(tmp_path / "train", 6, 48)
    for path in pictures_below(faces_in(tmp_path / "val", 2, 48)):
        with Image.open(path) as hq:
            (tmp_path / "val-lq").mkdir(exist_ok=True)
            hq.resize((12, 12), Image.Resampling.BICUBIC).save(tmp_path / "val-lq" / path.name)
    lq = [str(tmp_path / "val-lq")]
    return {"train_hq": [str(tmp_path / "train")], "val_hq": str(tmp_path / "val"), "val_lq": lq}


# Killed.


@KILLS
def test_upscale_killed_at_random_moments_finishes_later(
    kills: int, tiny_folder: Path, tmp_path: Path
) -> None:
    faces = faces_in(tmp_path / "faces", 14 * kills, 72)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options = ("-m", tiny_folder, "-d", "cpu")
    assert facesr("upscale", faces, whole, *options, cwd=tmp_path).code == 0
    rng = random.Random(0)

    def count() -> int:
        return len(list(cut.glob("*.png")))

    for _ in range(kills):
        code = killed(("upscale", faces, cut, *options), progress=count, more=range(9), rng=rng)
        assert code == -signal.SIGKILL
        assert_whole(cut)
    (cut / ".facesr-0123456789ab.tmp").write_bytes(b"half")
    done = facesr("upscale", faces, cut, *options, "--json", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["skipped"]
    assert_same_files(whole, cut)
    assert not [source for source in list_images([cut]) if source.path in leftovers(cut)]


@KILLS
def test_degrade_killed_at_random_moments_ends_with_the_same_bytes(kills: int, tmp_path: Path) -> None:
    hq = faces_in(tmp_path / "hq", 12 * kills, 192)

    def arguments(name: str) -> list[object]:
        extra = ("--params-out", tmp_path / name / "params.jsonl", "--hq-out", tmp_path / name / "truth")
        return ["degrade", hq, tmp_path / name / "lq", "--workers", 2, *extra]

    assert facesr(*arguments("whole"), cwd=tmp_path).code == 0
    rng = random.Random(0)
    cut = tmp_path / "cut"

    def count() -> int:
        return len(list((cut / "lq").glob("*.png")))

    for _ in range(kills):
        assert killed(arguments("cut"), progress=count, more=range(9), rng=rng) == -signal.SIGKILL
        assert_whole(cut)
    assert facesr(*arguments("cut"), cwd=tmp_path).code == 0
    assert contents(cut) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("kills", "workers"),
    [
        (5, 2),
        *(
            pytest.param(50, workers, marks=[pytest.mark.slow, pytest.mark.timeout(900)])
            for workers in (0, 2)
        ),
    ],
)
def test_train_killed_at_random_moments_ends_as_if_it_had_not_been(
    kills: int, workers: int, data: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"data.workers": workers, "iterations": 12 * kills}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = facesr(*command(data, whole, **settings), cwd=tmp_path, OMP_NUM_THREADS="1", limit_s=110)
    assert done.code == 0, done.stderr
    rng = random.Random(workers)
    checkpoint = cut / "last" / "checkpoint.pt"

    def count() -> int:
        path = cut / "metrics.jsonl"
        return len(path.read_text().splitlines()) if checkpoint.exists() else 0

    for index in range(kills):
        arguments = ["train", "--resume", str(cut)] if checkpoint.exists() else command(data, cut, **settings)
        number = signal.SIGTERM if index % 5 == 3 else None
        code = killed(arguments, progress=count, more=range(4, 10), rng=rng, number=number)
        assert code in {-signal.SIGKILL, 143}
        assert (code == 143) == (number == signal.SIGTERM)
        assert_whole(cut)
    (cut / "last" / ".facesr-0123456789ab.tmp").write_bytes(b"half")  # as a kill in a write leaves it
    done = facesr("train", "--resume", cut, cwd=tmp_path, OMP_NUM_THREADS="1")
    assert done.code == 0, done.stderr
    equal_runs(whole, cut)
    assert leftovers(cut) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_degrade_leaves_whole_files(number: signal.Signals, tmp_path: Path) -> None:
    hq = faces_in(tmp_path / "hq", 40, 192)
    lq = tmp_path / "lq"

    def count() -> int:
        return len(list(lq.glob("*.png")))

    code = killed(
        ("degrade", hq, lq), progress=count, more=range(3, 9), rng=random.Random(number), number=number
    )
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert 0 < count() < 40
    assert_whole(lq)
    assert leftovers(lq) == []


@pytest.mark.parametrize("delay", [0.1, 0.4, 0.8, 1.6])
def test_a_signal_while_it_starts_is_quiet(delay: float, tiny_folder: Path, tmp_path: Path) -> None:
    faces = faces_in(tmp_path / "faces", 60, 96)
    start = time.monotonic()

    def count() -> int:
        return int(time.monotonic() - start > delay)

    code = killed(
        ("upscale", faces, tmp_path / "out", "-m", tiny_folder, "-d", "cpu"),
        progress=count,
        more=range(1, 2),
        rng=random.Random(0),
        number=signal.SIGTERM,
    )
    assert code in {143, -signal.SIGTERM, 0}
    assert_whole(tmp_path)
    assert leftovers(tmp_path) == []


# Disks that are full or may not be written.


class HalfFull(io.FileIO):
    """A file that takes half of what is written, and then says that the disk is full."""

    def write(self, data: Any) -> int:
        content = data.encode() if isinstance(data, str) else bytes(data)
        super().write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Disk:
    """Lets a chosen one of all writes fail, counted from 0; and all of them until it is mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._numbers = itertools.count()
        self.failing: set[int] = set()
        self.kind = errno.ENOSPC
        self.hit = False
        real = Path.open

        def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
            if not path.name.startswith(".facesr-") and mode != "a":
                return real(path, mode, *args, **options)
            if next(self._numbers) not in self.failing:
                return real(path, mode, *args, **options)
            self.hit = True
            if self.kind == errno.ENOSPC:
                return HalfFull(path, "a" if mode == "a" else "w")
            raise OSError(self.kind, os.strerror(self.kind), str(path))

        monkeypatch.setattr(Path, "open", opened)

    def fail(self, number: int, kind: int) -> None:
        self._numbers = itertools.count()
        self.failing, self.kind, self.hit = {number}, kind, False

    def mend(self) -> None:
        self.failing = set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


Arguments = Callable[[Path], list[object]]


@pytest.fixture
def commands(faces: Path, tiny_folder: Path, data: dict[str, Any], tmp_path: Path) -> dict[str, Arguments]:
    """Return the commands that write files, as functions of the folder that they write to."""
    network = ["-m", tiny_folder, "-d", "cpu"]
    hq = faces_in(tmp_path / "hq", 3, 48)
    settings = {
        "iterations": 4, "log_every": 2, "save_every": 2, "validate_every": 2, "sample_count": 1,
        "data.workers": 0,
    }  # fmt: skip

    def train(out: Path) -> list[object]:
        started = (out / "run" / "last" / "checkpoint.pt").exists()
        return ["train", "--resume", out / "run"] if started else command(data, out / "run", **settings)

    return {
        "upscale": lambda out: ["upscale", faces, out, *network],
        "degrade": lambda out: [
            "degrade", hq, out / "lq", "--hq-out", out / "hq", "--params-out", out / "params.jsonl",
            "--preview", out / "sheet.png",
        ],
        "eval": lambda out: [
            "eval", "--hq", data["val_hq"], "--lq", data["val_lq"][0], "--save", out, "--csv", out / "t.csv",
            "--report", out / "r.html", *network,
        ],
        "train": train,
        "export": lambda out: ["export", tiny_folder, out / "net.onnx"],
    }  # fmt: skip


def results(out: Path) -> dict[str, bytes]:
    """Return what a command is asked for; a run's log and environment tell the time."""
    timed = {"metrics.jsonl", "env.json", "checkpoint.pt", "config.toml", "curve.png"}
    return {
        name: content
        for name, content in contents(out).items()
        if Path(name).name not in timed and not name.startswith("run/.")
    }


def assert_part_of(out: Path, whole: Path) -> None:
    """Assert that all pictures and weights are as they should be, and tables complete in themselves."""
    expected = results(whole)
    for name, content in results(out).items():
        if name.endswith(".jsonl"):
            assert [json.loads(line) for line in content.splitlines()]
        elif name.endswith((".csv", ".html")):
            assert content.endswith((b"\n", b"</html>\n"))
        elif name != "sheet.png":
            assert content == expected[name], name


@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EROFS], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["upscale", "degrade", "eval", "train", "export"])
def test_every_write_may_fail_and_the_next_run_makes_up_for_it(
    name: str, kind: int, commands: dict[str, Arguments], disk: Disk, run: Run, tmp_path: Path
) -> None:
    if name == "export" and kind != errno.ENOSPC:
        pytest.skip("one kind is enough for the one write of export, which takes seconds")
    # Every run has a parent of its own and the same name, which is in the card of a trained network.
    arguments = commands[name]
    whole = tmp_path / "whole" / "out"
    assert run(*arguments(whole)).exit_code == 0
    for number in itertools.count():
        out = tmp_path / str(number) / "out"
        disk.fail(number, kind)
        result = run(*arguments(out))
        disk.mend()
        if not disk.hit:
            assert (number > 0, result.exit_code) == (True, 0)
            break
        assert isinstance(result.exception, SystemExit), (number, result.exception)
        assert result.exit_code in {1, 2, 3}, result.output
        (line, *_) = [line for line in result.stderr.splitlines() if os.strerror(kind) in line]
        assert line.startswith(("error: /", "error: cannot write /"))
        assert leftovers(out) == []
        assert_whole(out)
        assert_part_of(out, whole)
        again = run(*arguments(out))
        assert again.exit_code == 0, (number, again.output)
        assert results(out) == results(whole)
        if name == "train":
            equal_runs(whole / "run", out / "run")
    assert number >= {"upscale": 3, "degrade": 8, "eval": 4, "train": 17, "export": 1}[name]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs the rights of an administrator")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_loses_nothing(
    small_disk: Path, tiny_folder: Path, run: Run, tmp_path: Path
) -> None:
    faces = faces_in(tmp_path / "faces", 5, 24)
    arguments = ("-m", tiny_folder, "-d", "cpu")
    assert run("upscale", faces, tmp_path / "whole", *arguments).exit_code == 0
    result = run("upscale", faces, small_disk, *arguments)
    assert result.exit_code == 3
    assert "cannot be written, No space left on device" in result.stderr
    assert 0 < len(pictures_below(small_disk)) < 5
    assert_whole(small_disk)
    assert leftovers(small_disk) == []
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert run("upscale", faces, small_disk, *arguments).exit_code == 0
    assert_same_files(tmp_path / "whole", small_disk)


def test_a_file_in_the_place_of_a_folder_is_named(
    run: Run, faces: Path, tiny_folder: Path, data: dict[str, Any], tmp_path: Path
) -> None:
    (faces / "sub").mkdir()
    (faces / "0.png").rename(faces / "sub" / "0.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "sub").write_text("mine")
    result = run("upscale", faces, out, "-r", "-m", tiny_folder, "-d", "cpu")
    assert result.exit_code == 3
    assert f"error: {out / 'sub' / '0.png'}: cannot be written, " in result.stderr
    assert run("degrade", faces, out, "-r", "--overwrite").exit_code == 3
    for arguments in (
        ("upscale", faces, out / "sub"),
        ("degrade", faces, out / "sub"),
        command(data, out / "sub" / "run"),
        ("eval", "--hq", data["val_hq"], "--lq", data["val_lq"][0], "--csv", out / "sub" / "x.csv",
         "-m", tiny_folder, "-d", "cpu"),
    ):  # fmt: skip
        result = run(*arguments)
        assert result.exit_code in {1, 2}, arguments
        assert result.stderr.count("error: ") == 1
    assert (out / "sub").read_text() == "mine"


# Files that go away.


@pytest.mark.parametrize("name", ["upscale", "degrade", "eval", "train"])
def test_a_file_deleted_after_it_was_listed_is_one_failure(
    name: str, commands: dict[str, Arguments], run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from facesr.data import folders as listing
    from facesr.workflows import degrade as degrading
    from facesr.workflows import evaluate as evaluation
    from facesr.workflows import upscale as upscaling

    module, function, victim = {
        "upscale": (upscaling, "plan_jobs", tmp_path / "faces" / "1.png"),
        "degrade": (degrading, "plan_jobs", tmp_path / "hq" / "0001.png"),
        "eval": (evaluation, "_list_pairs", tmp_path / "val-lq" / "0001.png"),
        "train": (listing, "list_training", tmp_path / "train" / "0001.png"),
    }[name]
    listed = getattr(module, function)

    def list_and_delete(*arguments: Any, **options: Any) -> Any:
        found = listed(*arguments, **options)
        victim.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(module, function, list_and_delete)
    out = tmp_path / "out"
    result = run(*commands[name](out))
    assert result.exit_code == (0 if name == "train" else 3), result.output
    assert f"{victim}: cannot be read, No such file or directory" in result.stderr
    assert_whole(out)
    assert pictures_below(out)


# Readers that go away.

QUICK: dict[str, list[str]] = {
    "models": ["models"],
    "models --json": ["models", "--json"],
    "degrade --print-config": ["degrade", "--print-config"],
    "upscale --json": ["upscale", "faces", "out", "-d", "cpu", "--overwrite", "--json"],
    "upscale --quiet": ["upscale", "faces", "out", "-d", "cpu", "--overwrite", "--quiet"],
    "upscale - -": ["upscale", "-", "-", "-d", "cpu"],
}
READERS = {
    **{f"{name} | true": (arguments, "| true") for name, arguments in QUICK.items()},
    "models > full": (QUICK["models"], "> /dev/full"),
    "models --json > full": (QUICK["models --json"], "> /dev/full"),
    "upscale - - > full": (QUICK["upscale - -"], "> /dev/full"),
    "models --json, closed": (QUICK["models --json"], ">&-"),
    "upscale --json, all closed": (QUICK["upscale --json"], ">&- 2>&- <&-"),
    "upscale - -, closed": (QUICK["upscale - -"], "<&-"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_that_goes_away_is_no_disaster(
    name: str, faces: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    arguments, end = READERS[name]
    first = f"exec < {faces / '0.png'}; " if "<&-" not in end else ""
    program = f'{first}"{sys.executable}" -m facesr {" ".join(arguments)} {end}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "FACESR_MODEL": str(tiny_folder), "FACESR_NO_PROGRESS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    for word in ("Traceback", "Exception ignored", "BrokenPipe"):
        assert word not in done.stderr, done.stderr
    assert done.returncode in {0, 1, 2}
    if end.startswith("> /dev/full"):
        assert (done.returncode, done.stderr.strip()) == (
            1,
            "error: cannot write to stdout: No space left on device",
        )
    if "out" in arguments:
        assert len(pictures_below(tmp_path / "out")) == 3
        assert_whole(tmp_path / "out")


# A Hub that goes away.


@pytest.mark.parametrize("part", [0.3, *(pytest.param(p, marks=pytest.mark.slow) for p in (0.0, 0.99))])
def test_a_download_that_breaks_off_is_made_up_for(
    part: float,
    hub: Any,  # noqa: F811
    tiny_folder: Path,
    faces: Path,
    tmp_path: Path,
) -> None:
    handler = hub.RequestHandlerClass
    served = handler.answer
    broken: list[str] = []

    def answer(self: Hub, *, body: bool) -> None:
        if not body or not self.path.endswith("model.safetensors") or len(broken) >= 50:
            served(self, body=body)
            return
        broken.append(self.path)
        whole = self.wfile
        self.wfile = buffered = io.BytesIO()  # type: ignore[assignment]
        served(self, body=body)
        self.wfile = whole
        head, _, content = buffered.getvalue().partition(b"\r\n\r\n")
        self.wfile.write(head + b"\r\n\r\n" + content[: int(part * len(content))])
        self.close_connection = True

    handler.answer = answer
    done = upscale(hub, tmp_path, "user/tiny")
    assert done.returncode == 1, done.stderr
    assert "the download failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache").rglob("model.safetensors"))
    broken.extend([""] * 50)
    done = upscale(hub, tmp_path, "user/tiny")
    assert done.returncode == 0, done.stderr
    expected = facesr("upscale", "in", "expected", "-m", tiny_folder, "-d", "cpu", cwd=tmp_path)
    assert expected.code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")
