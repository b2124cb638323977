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


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", b"error: stdin is empty\n"), (b"no picture", b"error: not an image in a known format")],
)
def test_a_bad_stream_is_one_error(content: bytes, error: bytes, tiny_folder: Path) -> None:
    command = [*FACESR, "upscale", "-", "-", "-m", str(tiny_folder)]
    done = subprocess.run(command, input=content, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(error)


def test_a_file_to_stdout_and_stdin_to_a_file(tmp_path: Path, tiny_folder: Path) -> None:
    small, large = tmp_path / "small.bmp", tmp_path / "deep" / "large.png"
    small.write_bytes(encode("BMP"))

    def facesr_upscale(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [*FACESR, "upscale", *map(str, arguments), "-m", str(tiny_folder), "-d", "cpu"]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=True)

    streamed = facesr_upscale(small, "-").stdout
    with Image.open(io.BytesIO(streamed)) as image:
        assert (image.format, image.size) == ("PNG", (48, 32))
    done = facesr_upscale("-", large, "-q", stdin=encode("BMP"))
    assert done.stdout.decode().split() == [str(large)]
    assert large.read_bytes() == streamed
    assert b"0 written, 1 skipped" in facesr_upscale("-", large, stdin=encode("PNG")).stderr
    large.write_bytes(b"mine")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        facesr_upscale("-", large, stdin=encode("PNG"))
    assert f"error: {large}: exists, and facesr did not write it".encode() in caught.value.stderr
    assert large.read_bytes() == b"mine"
    facesr_upscale("-", large, "--overwrite", stdin=encode("BMP"))
    assert large.read_bytes() == streamed


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["-", "out"], "out is not the name of an image file", "write `facesr upscale - out/out.png`"),
        (["-", "out.gif"], "cannot write out.gif", "use a name ending in .avif, .jpeg, .jpg, .png"),
        (["-", "out.png", "--format", "jpg"], "`--format jpg` contradicts", "leave out `--format`"),
        (["x.png", "-"], "no such file: x.png", "name an existing file"),
        (["docs", "-"], "`-` takes a single image", "name one file and `-`"),
        (["-", "docs", "-"], "`-` takes a single image", "name one file and `-`"),
        (["-", "-", "--json"], "`--json` cannot be combined with the output `-`", "leave out `--json`"),
        (["-", "a.png", "--save-faces", "f"], "`--save-faces` cannot be combined with `-`", "name a file"),
        (["-", "-", "--name", "{stem}_4x"], "`--name {stem}_4x` cannot be combined with `-`", "leave out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_go_with_a_dash_is_refused(
    run: Run, arguments: list[str], error: str, hint: str
) -> None:
    result = run("upscale", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"error: {error}")
    assert second.startswith(f"hint: {hint}")


def test_a_file_that_cannot_be_read_is_named(run: Run, tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "small.jpg").write_bytes(b"no picture")
    result = run("upscale", tmp_path / "small.jpg", "-", "-m", tiny_folder, "-d", "cpu")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {tmp_path / 'small.jpg'}: ")


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
