"""The page of `facesr demo` in a real browser, which may talk to this machine alone."""

import importlib.util
import io
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facesr.images.note import read_note
from tests.conftest import noise

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine", allow_module_level=True)
if importlib.util.find_spec("gradio") is None:
    pytest.skip("needs gradio, run `pip install -e '.[dev,demo]'`", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(180)]


@contextmanager
def served(folder: Path, model: Path, *, before: str = "pass") -> Iterator[str]:
    """Give the address of a page, end it with Ctrl-C, and check that it leaves no file in `folder`."""
    arguments = ["demo", "--no-browser", "--quiet", "--device", "cpu", "--max-pixels", "250000"]
    code = f"import sys; {before}; from facesr.cli.app import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--model", str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={"TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
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
def server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("uploads"), tiny_folder) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
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


def test_a_download_is_what_the_command_line_writes(
    visit: Any, photo: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    page = visit()
    drop(page, photo)
    boxes = page.get_by_role("checkbox")
    boxes.nth(1).wait_for(timeout=60_000)
    assert boxes.count() == 2
    got = restore(page, tmp_path / "got.jpg")
    # In a process with as many threads as the page has, on which the last bit of a sum depends.
    command = [sys.executable, "-m", "facesr", "upscale", photo, tmp_path / "cli.jpg", "-d", "cpu"]
    subprocess.run([*command, "--model", tiny_folder], check=True, cwd=ROOT, capture_output=True)
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


def test_the_slider_moves(visit: Any, tmp_path: Path) -> None:
    page = visit()
    Image.fromarray(noise(40, 60)).save(tmp_path / "a.png")
    drop(page, tmp_path / "a.png")
    restore(page, tmp_path / "got.png")
    page.locator("#slider img").nth(1).wait_for()
    before = page.locator("#slider").screenshot()
    handle = page.locator("#slider .outer, #slider [role=slider], #slider .inner").first.bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    page.mouse.move(handle["x"] - 100, handle["y"] + handle["height"] / 2, steps=5)
    page.mouse.up()
    assert page.locator("#slider").screenshot() != before


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


def test_old_uploads_and_results_are_deleted_while_it_runs(
    browser: Any, tiny_folder: Path, tmp_path: Path
) -> None:
    Image.fromarray(noise(30, 40)).save(tmp_path / "mine.png")
    folder = tmp_path / "uploads"
    folder.mkdir()
    before = "import facesr.demo.service as service; service.EVERY_S, service.AGE_S = 1, 2"
    with served(folder, tiny_folder, before=before) as url:
        page = browser.new_page()
        page.goto(url)
        drop(page, tmp_path / "mine.png")
        restore(page, tmp_path / "got.png")
        (served_in,) = folder.glob("facesr-demo-*")
        end = time.monotonic() + 15
        while left := [path for path in served_in.rglob("*") if path.stem in {"mine", "before", "after"}]:
            assert time.monotonic() < end, left
            time.sleep(0.2)
        page.close()
