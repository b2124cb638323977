"""The report of an evaluation: one HTML file, complete in itself, that shows every face."""

import base64
import io
import math
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from PIL import Image

from facesr.files.atomic import write_atomic
from facesr.images.image import Array
from facesr.reports.scores import BICUBIC, Difference, EvalResult, ImageScore
from facesr.reports.statistics import Summary
from facesr.version import __version__

_TEMPLATE = Path(__file__).parent / "report.html"


_WEBP_QUALITY = 80


_ERROR_GAIN = 4


_BINS = 24


class Report:
    """Collects a card a face in a temporary file, so that memory does not grow with their number.

    Args:
        path: The HTML file.
        methods: Names, as in the scores.
    """

    def __init__(self, path: Path, methods: Sequence[str]) -> None:
        self.path = path
        self.methods = list(methods)
        self.subject = next(name for name in methods if name != BICUBIC)
        self._cards: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 (closed on leaving)
        self._lost: OSError | None = None

    def __enter__(self) -> "Report":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # of what is still to be written, and no longer needed
            self._cards.close()

    def card(self, image: ImageScore, *, lq: Array | None, results: Sequence[Array], target: Array) -> str:
        """Return the HTML of one face; may be called from several threads."""
        layers: dict[str, Array] = {} if lq is None else {"LQ": lq}
        layers |= dict(zip(self.methods, results, strict=True))
        subject = results[self.methods.index(self.subject)]
        difference = np.abs(subject.astype(np.int16) - target).mean(2, keepdims=True)
        layers |= {"truth": target, "error": np.repeat(_dim(difference), 3, axis=2)}
        pictures = "".join(_img(name, pixels) for name, pixels in layers.items())
        psnr = image.scores[self.subject]["psnr"]
        gain = psnr - image.scores[BICUBIC]["psnr"] if BICUBIC in image.scores else 0.0
        ratio = f"{target.shape[1]}/{target.shape[0]}"
        name = escape(image.file, quote=True)
        return (
            f'<figure class="card" data-file="{name}"'
            f' data-psnr="{_sortable(psnr)}" data-gain="{_sortable(gain)}">'
            f'<h3>{name}</h3><div class="view" style="--ratio:{ratio}">{pictures}</div>'
            f'<input type="range" min="0" max="100" value="50" aria-label="Compare {name}">'
            f"<figcaption>{_scores_table(image)}</figcaption></figure>\n"
        )

    def add(self, card: str) -> None:
        """Append a card; that the disk is full for it is told in the end."""
        try:
            self._cards.write(card.encode(errors="replace"))
        except OSError as error:
            self._lost = error

    def finish(self, result: EvalResult) -> None:
        """Write the file.

        Raises:
            OSError: It cannot be written, or a card could not be kept.
        """
        before, after = self._page(result).split("@CARDS@")

        def write(stream: BinaryIO) -> None:
            stream.write(before.encode(errors="replace"))
            self._cards.seek(0)
            shutil.copyfileobj(self._cards, stream)
            stream.write(after.encode(errors="replace"))

        if self._lost:
            raise self._lost
        write_atomic(self.path, write)

    def _page(self, result: EvalResult) -> str:
        has_bicubic = BICUBIC in self.methods
        subject = self.subject
        values = [image.scores[subject]["psnr"] for image in result.images]
        title = f"PSNR of {subject}, dB"
        if has_bicubic:
            baseline = [image.scores[BICUBIC]["psnr"] for image in result.images]
            values = [a - b for a, b in zip(values, baseline, strict=True)]
            title = f"PSNR of {subject} over bicubic, dB"
        orders = {"psnr:up": "worst first", "psnr:down": "best first", "file:up": "by name"}
        if has_bicubic:
            orders |= {"gain:up": "least gain first", "gain:down": "most gain first"}
        layers = [*(["LQ"] if has_bicubic else []), *self.methods, "truth", "error"]
        fill = {
            "TITLE": escape(" / ".join(name for name in self.methods if name != BICUBIC)),
            "FACTS": _facts(result),
            "SUMMARY": _summary_table(result),
            "HISTOGRAM_TITLE": escape(title),
            "HISTOGRAM": histogram([value for value in values if math.isfinite(value)]),
            "ORDERS": "".join(f'<option value="{key}">{text}</option>' for key, text in orders.items()),
            "LAYERS": "".join(
                f'<option value="{escape(x)}">{_layer_label(x, subject)}</option>' for x in layers
            ),
            "LEFT": escape(BICUBIC if has_bicubic else "truth"),
            "RIGHT": escape(subject),
            "VERSION": __version__,
        }
        page = _TEMPLATE.read_text(encoding="utf-8")
        for key, text in fill.items():
            page = page.replace(f"@{key}@", text)
        return page


def _layer_label(name: str, subject: str) -> str:
    return escape(f"error of {subject}, {_ERROR_GAIN} times" if name == "error" else name)


def _dim(difference: Array) -> Array:
    small = difference[::2, ::2]
    amplified: Array = np.clip(small * _ERROR_GAIN, 0, 255).astype(np.uint8)
    return amplified


def _img(name: str, pixels: Array) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", quality=_WEBP_QUALITY, method=4)
    data = base64.b64encode(stream.getvalue()).decode()
    label = escape(name, quote=True)
    return f'<img data-layer="{label}" alt="{label}" loading="lazy" src="data:image/webp;base64,{data}">'


def _sortable(value: float) -> str:
    return f"{min(value, 1e6):.6f}" if not math.isnan(value) else "0"


def _scores_table(image: ImageScore) -> str:
    metrics = list(next(iter(image.scores.values())))
    head = "".join(f"<th>{metric.upper()}</th>" for metric in metrics)
    rows = "".join(
        f"<tr><td>{escape(method)}</td>" + "".join(f"<td>{number(row[m], m)}</td>" for m in metrics) + "</tr>"
        for method, row in image.scores.items()
    )
    return f"<table><tr><th></th>{head}</tr>{rows}</table>"


def _facts(result: EvalResult) -> str:
    facts = [f"{result.protocol}, {len(result.images)} images"]
    if result.failed:
        facts.append(f"{len(result.failed)} files could not be scored or written")
    for method in result.methods:
        if method.sha256:
            facts.append(f"{method.name}: sha256 {method.sha256}, {method.device}, {method.dtype}")
        elif method.source:
            facts.append(f"{method.name}: pictures in {method.source}")
    return "".join(f"<p>{escape(fact)}</p>" for fact in facts)


def _summary_table(result: EvalResult) -> str:
    rows = []
    for method, summaries in result.summaries.items():
        for metric, summary in summaries.items():
            rows.append(_row(method, metric.upper(), summary, metric))
    rows += [_difference_row(paired) for paired in result.differences]
    names = ("", "metric", "mean", "95 % interval", "median", "deviation")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _difference_row(paired: Difference) -> str:
    return _row(f"{paired.first} over {paired.second}", "PSNR", paired.difference, "psnr", sign="+")


def _row(name: str, label: str, summary: Summary, metric: str, *, sign: str = "") -> str:
    cells = [number(value, metric, sign=sign) for value in (summary.mean, summary.median, summary.std)]
    interval = " to ".join(number(value, metric, sign=sign) for value in (summary.low, summary.high))
    return (
        f"<tr><td>{escape(name)}</td><td>{label}</td><td>{cells[0]}</td><td>{interval}</td>"
        f"<td>{cells[1]}</td><td>{cells[2].removeprefix('+')}</td></tr>"
    )


def number(value: float | None, metric: str, *, sign: str = "") -> str:
    """Write a score with as many digits as mean something; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "identical"
    return f"{value:{sign}.{2 if metric == 'psnr' else 4}f}"


def histogram(values: Sequence[float]) -> str:
    """Return a histogram as SVG; zero is marked where it lies inside."""
    if not values:
        return "<p>No finite values.</p>"
    width, height, base = 640, 170, 140
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    counts, _ = np.histogram(values, bins=_BINS, range=(low, low + span))
    step = width / _BINS
    bars = "".join(
        f'<rect x="{index * step + 1:.1f}" y="{base - 120 * count / counts.max():.1f}" width="{step - 2:.1f}"'
        f' height="{120 * count / counts.max():.1f}"><title>{count}</title></rect>'
        for index, count in enumerate(counts)
    )
    marks = [(low, "start"), (low + span / 2, "middle"), (low + span, "end")]
    text = "".join(
        f'<text x="{(value - low) / span * width:.0f}" y="160" text-anchor="{anchor}">{value:.2f}</text>'
        for value, anchor in marks
    )
    x = (0 - low) / span * width
    zero = (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="10" y2="{base}" stroke-dasharray="4"/>' if 0 < x < width else ""
    )
    label = f"Histogram of {len(values)} values from {low:.2f} to {high:.2f}"
    size = f'viewBox="0 0 {width} {height}" width="{width}"'
    return f'<svg {size} role="img" aria-label="{label}">{bars}{zero}{text}</svg>'
