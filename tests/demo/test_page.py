"""The page of `facesr demo` in a real browser, which may talk to this machine alone."""

import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facesr.images.note import read_note
from tests.conftest import Run, noise

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine", allow_module_level=True)
if importlib.util.find_spec("gradio") is None:
    pytest.skip("needs gradio, run `pip install -e '.[dev]'`", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(180)]


# Old files are looked for often, and the image `slow` takes until there is a file `go`.
BEFORE = """
import time
from pathlib import Path
from facesr.demo import server, service

server.EVERY_S = 0.1
upscale_bytes = service.upscale_bytes

def wait(config, *arguments, **options):
    if config.inputs[0].stem == "slow":
        Path("begun").touch()
        while not Path("go").exists():
            time.sleep(0.05)
    return upscale_bytes(config, *arguments, **options)

service.upscale_bytes = wait
from facesr.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the working folder of the server, in which its own one for uploads is made."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(tiny_folder: Path, folder: Path) -> Iterator[str]:
    """Give the address of a page, end it with Ctrl-C, and check that it leaves no upload."""
    arguments = ["demo", "--no-browser", "--quiet", "--device", "cpu", "--max-pixels", "250000"]
    process = subprocess.Popen(
        [sys.executable, "-c", BEFORE, *arguments, "--model", str(tiny_folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        # With as many threads as the tests have, on which the last bit of a sum depends.
        env={"TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
        assert list(folder.glob("facesr-demo-*"))
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert errors == ""
    assert not list(folder.glob("facesr-demo-*"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, server: str) -> Iterator[Any]:
    """Return a function that opens the page as a new visitor, whose browser may ask this machine alone."""
    requests: list[str] = []
    visitors = []

    def open_page(**options: Any) -> Any:
        visitors.append(browser.new_context(**options))
        page = visitors[-1].new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.goto(server)
        page.locator("#restore").wait_for()
        return page

    yield open_page
    for visitor in visitors:
        visitor.close()
    assert requests
    assert [url for url in requests if not url.startswith((server, "data:", "blob:"))] == []


def drop(page: Any, *files: Path) -> None:
    page.locator("#images input[type=file]").set_input_files([str(file) for file in files])


def restore(page: Any, target: Path) -> bytes:
    """Press the button once it can be, and return what is downloaded."""
    page.locator("#restore:not([disabled])").click()
    return download(page, target)


def download(page: Any, target: Path) -> bytes:
    button = page.locator("#download")
    button.wait_for(state="visible", timeout=60_000)
    with page.expect_download() as waiting:
        button.click()
    waiting.value.save_as(target)
    return target.read_bytes()


def ask(url: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, bytes]:
    """Send a request without a browser, and return the status and content of the answer."""
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_download_is_what_the_command_line_writes(
    visit: Any, photo: Path, tmp_path: Path, tiny_folder: Path, run: Run
) -> None:
    page = visit()
    drop(page, photo)
    boxes = page.get_by_role("checkbox")
    boxes.nth(1).wait_for(timeout=60_000)
    assert boxes.count() == 2
    got = restore(page, tmp_path / "got.jpg")
    assert run("upscale", photo, tmp_path / "cli.jpg", "-d", "cpu", "--model", tiny_folder).exit_code == 0
    assert got == (tmp_path / "cli.jpg").read_bytes()

    for view in page.locator("#slider img").all():
        assert view.evaluate("image => image.naturalWidth") == 1600

    # Without a face, the file is another one.
    boxes.nth(1).uncheck()
    page.get_by_label("PNG").check()
    page.locator("#restore").click()
    page.get_by_text("Download two faces.png").wait_for(timeout=60_000)
    download(page, tmp_path / "one.png")
    assert read_note(tmp_path / "one.png").endswith(" chosen restored=1")


def test_the_slider_moves_by_mouse_and_by_keys(visit: Any, tmp_path: Path) -> None:
    page = visit()
    Image.fromarray(noise(40, 60)).save(tmp_path / "a.png")
    drop(page, tmp_path / "a.png")
    restore(page, tmp_path / "got.png")
    after = page.locator("#slider img").nth(1)
    after.wait_for()

    def hidden() -> float:
        """Return how many percent of the result the other image hides."""
        return float(after.evaluate("image => image.style.clipPath").split()[-1].rstrip("%)"))

    handle = page.get_by_role("slider", name="Before and after")
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 100, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert 10 < hidden() < 45

    for key, expected in (("Home", 0), ("ArrowRight", 5), ("End", 100), ("ArrowLeft", 95)):
        handle.press(key)
        assert hidden() == pytest.approx(expected, abs=2)
        assert float(handle.get_attribute("aria-valuenow")) == pytest.approx(expected, abs=2)
    assert handle.evaluate("handle => getComputedStyle(handle).outlineStyle") == "solid"


def test_a_result_vanishes_with_its_image(visit: Any, folder: Path, tmp_path: Path) -> None:
    page = visit()
    for name, width in (("slow.png", 40), ("other.png", 30)):
        Image.fromarray(noise(20, width)).save(tmp_path / name)
    drop(page, tmp_path / "slow.png")
    page.locator("#restore:not([disabled])").click()
    end = time.monotonic() + 20
    while not (folder / "begun").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    # While the first is computed, another one is chosen.
    page.get_by_label("Clear").click()
    drop(page, tmp_path / "other.png")
    (folder / "go").touch()
    with Image.open(io.BytesIO(restore(page, tmp_path / "got.png"))) as image:
        assert image.size == (120, 80)
    # What is there is not shown beside another image either.
    page.get_by_label("Clear").click()
    page.locator("#download").wait_for(state="hidden")
    assert page.locator("#slider img").count() == 0


def test_what_is_wrong_is_a_sentence_and_other_files_are_restored(visit: Any, tmp_path: Path) -> None:
    page = visit(viewport={"width": 360, "height": 740}, color_scheme="dark")
    (tmp_path / "<b>notes.png").write_text("no image")
    Image.fromarray(noise(600, 600)).save(tmp_path / "large.png")
    Image.fromarray(noise(40, 60)).save(tmp_path / "good.png")
    drop(page, tmp_path / "large.png")
    page.get_by_text("600x600 is more than 250,000 pixels").first.wait_for()
    assert str(tmp_path) not in page.inner_text("body")
    page.reload()
    drop(page, tmp_path / "<b>notes.png", tmp_path / "good.png")
    content = restore(page, tmp_path / "restored.zip")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["good.png"]
        with Image.open(io.BytesIO(archive.read("good.png"))) as image:
            assert image.size == (240, 160)
    assert "not an image in a known format" in page.locator("#notes").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert "Traceback" not in page.inner_text("body")


def test_two_visitors_at_once_get_their_own_results(visit: Any, tmp_path: Path) -> None:
    pages = [visit(), visit()]
    for number, page in enumerate(pages):
        (tmp_path / str(number)).mkdir()
        Image.fromarray(noise(30, 40 + number)).save(tmp_path / str(number) / "same.png")
        drop(page, tmp_path / str(number) / "same.png")
    for page in pages:
        page.locator("#restore:not([disabled])").click()
    for number, page in enumerate(pages):
        with Image.open(io.BytesIO(download(page, tmp_path / f"{number}.png"))) as image:
            assert image.size == (4 * (40 + number), 120)


def test_a_pasted_image_is_taken(visit: Any, tmp_path: Path) -> None:
    page = visit()
    page.evaluate(
        """async () => {
            const canvas = new OffscreenCanvas(20, 10);
            canvas.getContext("2d").fillRect(2, 2, 5, 5);
            const data = new DataTransfer();
            data.items.add(new File([await canvas.convertToBlob()], "pasted.png", {type: "image/png"}));
            document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data}));
        }"""
    )
    with Image.open(io.BytesIO(restore(page, tmp_path / "got.png"))) as image:
        assert image.size == (80, 40)


def test_a_photograph_is_taken_with_the_camera(visit: Any) -> None:
    page = visit()
    page.get_by_role("button", name="Camera").click()
    page.get_by_text("Access Webcam").click()
    page.wait_for_function("document.querySelector('#camera video')?.videoWidth")
    page.get_by_label("capture photo").click()
    page.get_by_text(re.compile(r"^image\.png: \d+x\d+ is more than 250,000 pixels")).first.wait_for()


def test_only_uploads_and_results_are_served_and_read(server: str, folder: Path) -> None:
    (folder / "mine.txt").write_text("mine")
    elsewhere = [
        "/etc/passwd",
        str(ROOT / "README.md"),
        str(folder / "mine.txt"),
        "mine.txt",
        "http://a.invalid/b",
    ]
    for path in elsewhere:
        for route in ("file=", "file/"):
            assert ask(f"{server}gradio_api/{route}{path}")[0] == 403
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        for data in ([[file], 4, "model", "png"], [[], file, "model", "png"]):
            body = json.dumps({"data": data}).encode()
            assert ask(f"{server}gradio_api/call/restore", body) == (
                400,
                b"only uploads and results can be named as files",
            )


def test_old_uploads_are_deleted_while_it_runs(server: str, folder: Path) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nhello\r\n--x--\r\n'
    status, answer = ask(f"{server}gradio_api/upload", form, "multipart/form-data; boundary=x")
    assert status == 200
    (path,) = map(Path, json.loads(answer))
    assert ask(f"{server}gradio_api/file={path}") == (200, b"hello")
    os.utime(path, (0, 0))
    end = time.monotonic() + 15
    while path.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
