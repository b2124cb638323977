"""Streams and ranks: `facesr upscale` as a process."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facesr
from tests.conftest import Run, noise

FACESR = [sys.executable, "-m", "facesr"]


def encode(name: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(8, 12)).save(stream, name, **({"lossless": True} if name == "WEBP" else {}))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "result"), [("PNG", "PNG"), ("JPEG", "JPEG"), ("WEBP", "WEBP"), ("BMP", "PNG")]
)
def test_stdin_to_stdout(name: str, result: str, tiny_folder: Path) -> None:
    command = [*FACESR, "upscale", "-", "-", "-m", str(tiny_folder), "-d", "cpu"]
    done = subprocess.run(command, input=encode(name), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert (image.format, image.size) == (result, (48, 32))
        if name == "PNG":
            model = facesr.load_model(tiny_folder, device="cpu")
            assert np.array_equal(np.asarray(image), facesr.upscale_image(noise(8, 12), model))


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_bad_stream_is_one_error(content: bytes, tiny_folder: Path) -> None:
    command = [*FACESR, "upscale", "-", "-", "-m", str(tiny_folder)]
    done = subprocess.run(command, input=content, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(
        b"error: not an image in a known format" if content else b"error: an empty file"
    )


@pytest.mark.parametrize(
    "arguments", [["-", "out"], ["x.png", "-"], ["-", "x.png", "-"], ["-", "-", "--json"]]
)
def test_a_dash_goes_with_a_dash_alone(run: Run, arguments: list[str]) -> None:
    result = run("upscale", *arguments)
    assert result.exit_code == 2
    assert "hint: write `facesr upscale - -`" in result.stderr


def test_two_ranks_split_a_folder(tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in range(7):
        Image.fromarray(noise(8, 8, seed=index)).save(tmp_path / "in" / f"{index}.png")
    arguments = ["upscale", str(tmp_path / "in"), str(tmp_path / "two"), "-m", str(tiny_folder), "-d", "cpu"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launcher, "-m", "facesr", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "4 written" in done.stderr
    assert "3 written" in done.stderr
    arguments[2] = str(tmp_path / "one")
    subprocess.run([*FACESR, *arguments], env=environment, check=True, timeout=60, capture_output=True)
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "two").iterdir())) == 7
