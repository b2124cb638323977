"""The report in a real browser."""

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facesr.config.evaluate import EvalConfig
from facesr.config.runtime import RuntimeConfig
from facesr.reports.html import Report, histogram
from facesr.workflows.evaluate import evaluate
from tests.conftest import noise

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]
NAMES = ["a", "b", "c & <d>"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    root = tmp_path_factory.mktemp("report")
    for index, name in enumerate(NAMES):
        truth = Image.fromarray(noise(128, 128, seed=index))
        for folder, picture in (("hq", truth), ("lq", truth.resize((32, 32), Image.Resampling.BICUBIC))):
            (root / folder).mkdir(exist_ok=True)
            picture.save(root / folder / f"{name}.png")
    target = root / "report.html"
    config = EvalConfig(
        hq=root / "hq", lq=root / "lq", model=(str(tiny_folder),), report=target,
        runtime=RuntimeConfig(device="cpu"),
    )  # fmt: skip
    evaluate(config)
    return target


def test_the_file_is_complete_in_itself(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "@" not in re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+|@media", "", page)
    assert page.count('<figure class="card"') == 3
    assert "c &amp; &lt;d&gt;" in page
    assert "<d>" not in page


class Layers(HTMLParser):
    """Collects the layers of the first card, and the layer that each menu starts with."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.shown: list[str | None] = []
        self.chosen: dict[str | None, str | None] = {}
        self.menu: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "select":
            self.menu = found["id"]
        elif tag == "option" and "selected" in found:
            self.chosen[self.menu] = found["value"]
        elif tag == "img":
            self.shown.append(found["data-layer"])


@pytest.mark.parametrize("name", ["R&D's", "@CARDS@", "@SUMMARY@"])
def test_any_name_of_a_folder_can_be_compared(name: str, tmp_path: Path) -> None:
    for folder in ("hq", name):
        (tmp_path / folder).mkdir()
        Image.fromarray(noise(32, 32)).save(tmp_path / folder / "a.png")
    target = tmp_path / "report.html"
    evaluate(EvalConfig(hq=tmp_path / "hq", sr=tmp_path / name, report=target))
    layers = Layers(target.read_text(encoding="utf-8"))
    assert layers.shown == [name, "ground truth", "error"]
    assert layers.chosen == {"left": "ground truth", "right": name}


def test_four_hundred_faces_stay_under_60_mb(tmp_path: Path) -> None:
    # Real faces are smoother than noise of this grain, so this is an upper bound.
    rng = np.random.default_rng(0)
    base = np.asarray(Image.fromarray(noise(64, 64)).resize((512, 512), Image.Resampling.BICUBIC))
    face = np.clip(base + rng.normal(0, 4, base.shape), 0, 255).astype(np.uint8)
    with Report(tmp_path / "r.html", ["bicubic", "model"]) as writer:
        from facesr.reports.scores import ImageScore

        score = ImageScore("x", {"bicubic": {"psnr": 1.0}, "model": {"psnr": 2.0}})
        card = writer.card(score, lq=face[::4, ::4], results=[base, base], target=face)
    assert 400 * len(card) < 60e6


def test_a_histogram_counts_every_value() -> None:
    svg = histogram([-1.0, 0.0, 0.5, 0.5, 2.0])
    assert sum(map(int, re.findall(r"<title>(\d+)</title>", svg))) == 5
    assert "<line" in svg
    assert "<line" not in histogram([1.0, 2.0])
    assert histogram([3.0]).count("<rect") == 24
    assert "No finite values" in histogram([])


@pytest.fixture
def page(report: Path) -> Iterator["Page"]:  # type: ignore[name-defined]  # noqa: F821
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.requests = []
        page.errors = []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(report.as_uri())
        yield page
        assert page.errors == []
        assert [url for url in page.requests if not url.startswith(("data:", "file:"))] == []
        browser.close()


def order(page: "Page") -> list[str]:  # type: ignore[name-defined]  # noqa: F821
    return page.eval_on_selector_all(".card", "cards => cards.map(card => card.dataset.file)")


def test_it_sorts_slides_and_shows_layers(page: "Page", tmp_path: Path) -> None:  # type: ignore[name-defined]  # noqa: F821
    scores = page.eval_on_selector_all(".card", "cards => cards.map(card => Number(card.dataset.score))")
    assert scores == sorted(scores)  # worst first
    worst = order(page)
    page.select_option("#order", "score:down")
    assert order(page) == worst[::-1]
    page.select_option("#order", "file:up")
    assert order(page) == NAMES

    card = page.locator(".card").first
    view, slider = card.locator(".view"), card.locator("input")

    def cut() -> str:
        return view.evaluate("view => getComputedStyle(view).getPropertyValue('--cut').trim()")

    assert cut() == "50%"
    slider.focus()  # by keyboard
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert cut() == "60%"
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)  # by mouse, on the picture
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert cut() == "25%"
    assert slider.input_value() == "25"

    def visible() -> list[str]:
        return view.evaluate("v => [...v.children].filter(i => i.offsetParent).map(i => i.dataset.layer)")

    assert visible() == ["bicubic", "tiny"]
    page.select_option("#left", "LQ")
    page.select_option("#right", "error")
    assert visible() == ["LQ", "error"]
    loaded = view.evaluate("v => [...v.children].filter(i => i.offsetParent).every(i => i.naturalWidth > 0)")
    assert loaded

    shot = tmp_path / "shot.png"
    page.screenshot(path=shot)
    with Image.open(shot) as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 500  # pictures are on it


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_colour_scheme_and_fits_a_phone(page: "Page", scheme: str) -> None:  # type: ignore[name-defined]  # noqa: F821
    page.emulate_media(color_scheme=scheme)
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", colour)[:3])) > 384) == (scheme == "light")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator(".card").first.bounding_box()["width"] > 300
