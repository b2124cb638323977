"""What the page of `facesr demo` does, without a browser and without Gradio."""

import os
import socket
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from facesr.config.demo import DemoConfig
from facesr.config.runtime import RuntimeConfig
from facesr.demo import service as module
from facesr.demo.server import delete_old, serve
from facesr.demo.service import Service, Wish
from facesr.errors import FacesrError, ImageError
from facesr.images.note import read_note
from facesr.inference.stream import load_for
from facesr.weights.find import find_model, find_weights
from facesr.workflows.demo import demo
from tests.conftest import Listener, Run, noise, save_pair
from tests.demo.conftest import FACE


@pytest.fixture
def service(tiny_folder: Path, tmp_path: Path) -> Service:
    config = DemoConfig(model=str(tiny_folder), runtime=RuntimeConfig(device="cpu"), max_pixels=250_000)
    folder = tmp_path / "served"
    folder.mkdir()
    return Service(config, load_for(find_weights(config.model), config.runtime), folder)


@pytest.mark.parametrize(
    ("wish", "options"),
    [
        (Wish(), ()),
        (Wish(format="png", outscale=1), ("--format", "png", "--outscale", "1")),
        (Wish(background="bicubic", outscale=2), ("--background", "bicubic", "--outscale", "2")),
    ],
)
def test_a_result_has_the_bytes_of_the_command_line(
    service: Service,
    photo: Path,
    tmp_path: Path,
    tiny_folder: Path,
    run: Run,
    wish: Wish,
    options: tuple[str],
) -> None:
    made = service.restore([photo], wish, chosen={1, 2})
    out = tmp_path / "out"
    assert run("upscale", photo, out, "--model", tiny_folder, "-d", "cpu", *options).exit_code == 0
    assert made.file.name == next(out.iterdir()).name
    assert made.file.read_bytes() == next(out.iterdir()).read_bytes()
    with Image.open(made.file) as image:
        assert image.getexif()[271] == "a camera"


def test_a_visitor_chooses_the_sharpness(tmp_path: Path, run: Run) -> None:
    image = tmp_path / "a.png"
    Image.fromarray(noise(12, 16)).save(image)
    _, sharp = save_pair(tmp_path / "pair", sharpness=0.25)
    config = DemoConfig(model=str(sharp), runtime=RuntimeConfig(device="cpu"))
    service = Service(config, load_for(find_model(config.model), config.runtime), tmp_path)
    assert service.sharpness == 0.25
    results = []
    for number, share in enumerate((None, 0, 0.75)):
        out = tmp_path / f"{number}.png"
        options = () if share is None else ("--sharpness", share)
        assert run("upscale", image, out, "-m", sharp, "-d", "cpu", *options).exit_code == 0
        results.append(out.read_bytes())
        assert service.restore([image], Wish(sharpness=share)).file.read_bytes() == results[-1]
    assert len(set(results)) == 3


def test_faces_left_alone_keep_the_pixels_of_the_rest(
    service: Service, photo: Path, tmp_path: Path, tiny_folder: Path, run: Run
) -> None:
    assert len(service.find(photo)) == 2
    files = [service.restore([photo], Wish(format="png"), chosen=chosen).file for chosen in ({1}, None, ())]
    target = tmp_path / "off.png"
    assert run("upscale", photo, target, "--model", tiny_folder, "-d", "cpu", "--faces", "off").exit_code == 0
    one, both, none, rest = (np.asarray(Image.open(path).convert("RGB")) for path in (*files, target))
    assert (one[:, :900] == both[:, :900]).all()
    assert (one[:, 900:] == rest[:, 900:]).all()
    assert (both[:, 900:] != rest[:, 900:]).any()
    assert (none == rest).all()
    assert [read_note(path).partition("0.75")[2] for path in files] == [
        " chosen restored=1",
        " restored=2",
        " chosen restored=0",
    ]
    # The command line does not take it for its own result, and makes it again.
    copy = tmp_path / "one.png"
    copy.write_bytes(files[0].read_bytes())
    assert run("upscale", photo, copy, "--model", tiny_folder, "-d", "cpu").exit_code == 0
    assert copy.read_bytes() == files[1].read_bytes()


def test_faces_are_looked_for_once(service: Service, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service.find(photo)
    monkeypatch.setattr(module, "find_faces", lambda *_, **__: pytest.fail("looked again"))
    service.restore([photo], Wish(outscale=2))


def test_an_image_that_one_face_fills_offers_no_choice(service: Service) -> None:
    assert service.find(FACE) == []
    assert read_note(service.restore([FACE], Wish(), chosen=()).file).startswith("whole ")


def test_several_files_become_a_zip_without_the_broken_ones(service: Service, tmp_path: Path) -> None:
    files = []
    for number, name in enumerate(("a/x.png", "b/x.png", "c/bad.png")):
        files.append(tmp_path / name)
        files[-1].parent.mkdir()
        Image.fromarray(noise(10 + number, 12)).save(files[-1])
    files[2].write_text("no image")
    counted: list[tuple[int, int]] = []
    made = service.restore(files, Wish(), progress=lambda *done: counted.append(done))
    with zipfile.ZipFile(made.file) as archive:
        assert archive.testzip() is None
        sizes = {name: Image.open(archive.open(name)).size for name in archive.namelist()}
    assert sizes == {"x.png": (48, 40), "x-2.png": (48, 44)}
    assert counted == [(0, 3), (1, 3), (2, 3)]
    assert made.notes == (
        "bad.png: not an image in a known format. facesr reads PNG, JPEG, WebP, TIFF, BMP, AVIF and HEIC.",
    )
    with pytest.raises(FacesrError, match=r"bad\.png"):
        service.restore([files[2]] * 2, Wish())


def test_errors_name_the_file_without_its_folder(service: Service, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.fromarray(noise(600, 600)).save(large)
    for call in (lambda: service.find(large), lambda: service.restore([large], Wish())):
        with pytest.raises(ImageError) as caught:
            call()
        assert caught.value.message == "large.png: 600x600 is more than 250,000 pixels"
    with pytest.raises(FacesrError, match="no image yet"):
        service.restore([], Wish())


def test_a_request_has_limits(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file in files:
        Image.fromarray(noise(10, 10)).save(file)
    monkeypatch.setattr(module, "MAX_FILES", 2)
    with pytest.raises(FacesrError, match="3 images are more than 2"):
        service.restore(files, Wish())
    monkeypatch.setattr(module, "MAX_FILES", 3)
    assert service.restore(files, Wish()).file.name == "restored.zip"
    monkeypatch.setattr(module, "MAX_BYTES", files[0].stat().st_size)
    service.restore(files[:1], Wish())
    with pytest.raises(FacesrError, match="the images have more than 0 MiB"):
        service.restore(files, Wish())


def test_old_files_and_the_folders_that_held_them_are_deleted(tmp_path: Path) -> None:
    for name in ("old/a.png", "old/kept.png", "gone/b.png", "new/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    old = [tmp_path / name for name in ("old/a.png", "old/kept.png", "gone/b.png")]
    for path in (*old, tmp_path / "gone"):
        os.utime(path, (time.time() - 100,) * 2)
    delete_old(tmp_path, 90, keep=[old[1]])
    os.utime(tmp_path / "gone", (0, 0))  # deleting its file made it new
    delete_old(tmp_path, 90, keep=[old[1]])
    left = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))]
    assert left == ["new", "new/c.png", "old", "old/kept.png"]


def test_what_the_slider_shows_is_small(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.fromarray(noise(20, 500)).save(path)
    made = service.restore([path], Wish())
    assert made.before is not None
    assert made.after is not None
    for view in (made.before, made.after):
        with Image.open(view) as image:
            assert image.size == (1600, 64)


def test_without_gradio_the_error_names_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("demo")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: this needs the extra `demo`",
        "hint: run `pip install 'facesr[demo]'`",
    ]


@pytest.mark.parametrize(
    ("host", "warns"),
    [("127.0.0.1", 0), ("::1", 0), ("localhost", 0), ("0.0.0.0", 1), ("::", 1), ("10.0.0.1", 1), ("a.b", 1)],
)
def test_an_address_that_others_reach_is_warned_of_once(
    host: str, warns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ModuleType("facesr.demo.server")
    served: list[str] = []
    server.serve = lambda config, *_: served.append(config.host)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "facesr.demo.server", server)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: server)
    listener = Listener()
    demo(DemoConfig(host=host), print, listener)
    assert served == [host]
    assert len(listener.warnings) == warns


def test_an_address_of_another_machine_is_refused_at_once(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", 0))  # reserved for documentation
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [nowhere])
    monkeypatch.setattr("facesr.demo.server.load_for", lambda *_: pytest.fail("the model was loaded first"))
    with pytest.raises(FacesrError, match=r"cannot listen on `--host a\.b`: ") as caught:
        serve(DemoConfig(host="a.b"), find_weights(str(tiny_folder)), print)
    assert "--host 127.0.0.1" in caught.value.hint
