"""The HTML report of an evaluation: one self-contained file that shows every image."""

import base64
import io
import math
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from PIL import Image

from facesr.files.atomic import write_atomic
from facesr.images.image import Array
from facesr.metrics import METRICS
from facesr.reports.scores import (
    BICUBIC,
    ERROR,
    GROUND_TRUTH,
    LQ,
    SUMMARY_COLUMNS,
    EvalResult,
    ImageScore,
    explain_directions,
    summary_rows,
)
from facesr.version import __version__

_TEMPLATE = Path(__file__).parent / "report.html"
_WEBP_QUALITY = 80
_ERROR_GAIN = 4
_BINS = 24


class Report:
    """Collects one card per image in a temporary file, so that memory does not grow with the images."""

    def __init__(self, path: Path, methods: Sequence[str], ranking: str = "psnr") -> None:
        self.path = path
        self.methods = list(methods)
        self.ranking = ranking
        self.subject = next(name for name in methods if name != BICUBIC)
        self._cards: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed on leaving)
        self._lost: OSError | None = None

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # of what is still to be written, and no longer needed
            self._cards.close()

    def card(
        self, image: ImageScore, *, lq: Array | None, results: Sequence[Array], target: Array | None
    ) -> str:
        """Return the HTML of one image and its results. Several threads may call it at once."""
        layers: dict[str, Array] = {} if lq is None else {LQ: lq}
        layers |= dict(zip(self.methods, results, strict=True))
        subject = results[self.methods.index(self.subject)]
        if target is not None:
            difference = np.abs(subject.astype(np.int16) - target).mean(2, keepdims=True)
            layers |= {GROUND_TRUTH: target, ERROR: np.repeat(_dim(difference), 3, axis=2)}
        images = "".join(_img(name, pixels) for name, pixels in layers.items())
        score = image.scores[self.subject][self.ranking]
        gain = score - image.scores[BICUBIC][self.ranking] if BICUBIC in image.scores else 0.0
        ratio = f"{subject.shape[1]}/{subject.shape[0]}"
        name = escape(image.file, quote=True)
        return (
            f'<figure class="card" data-file="{name}"'
            f' data-score="{_sortable(score)}" data-gain="{_sortable(gain)}">'
            f'<h3>{name}</h3><div class="view" style="--ratio:{ratio}">{images}</div>'
            f'<input type="range" min="0" max="100" value="50" aria-label="Compare {name}">'
            f"<figcaption>{_scores_table(image)}</figcaption></figure>\n"
        )

    def add(self, card: str) -> None:
        """Append a card. An error, such as a full disk, is raised later by `finish`."""
        try:
            self._cards.write(card.encode(errors="replace"))
        except OSError as error:
            self._lost = error

    def finish(self, result: EvalResult) -> None:
        """Write the file. Raise the OSError of a card that could not be stored."""
        before, after = self._page(result)

        def write(stream: BinaryIO) -> None:
            stream.write(before.encode(errors="replace"))
            self._cards.seek(0)
            shutil.copyfileobj(self._cards, stream)
            stream.write(after.encode(errors="replace"))

        if self._lost:
            raise self._lost
        write_atomic(self.path, write)

    def _page(self, result: EvalResult) -> list[str]:
        """Return the page before the cards, and the page after them."""
        has_bicubic = BICUBIC in self.methods
        subject = self.subject
        ranking = METRICS[self.ranking]
        values = [image.scores[subject][self.ranking] for image in result.images]
        title = f"{ranking.title} of {subject}"
        if has_bicubic:
            baseline = [image.scores[BICUBIC][self.ranking] for image in result.images]
            values = [a - b for a, b in zip(values, baseline, strict=True)]
            title = f"Gain of {subject} over bicubic in {ranking.title}"
        low, high = ("up", "down") if ranking.higher_is_better else ("down", "up")
        orders = {f"score:{low}": "worst first", f"score:{high}": "best first", "file:up": "by name"}
        if has_bicubic:
            orders |= {f"gain:{low}": "least gain first", f"gain:{high}": "most gain first"}
        layers = {name: name for name in [*([LQ] if has_bicubic else []), *self.methods]}
        if result.has_hq:
            error = f"error of {subject}, amplified {_ERROR_GAIN} times"
            layers |= {GROUND_TRUTH: GROUND_TRUTH, ERROR: error}
        left = BICUBIC if has_bicubic else GROUND_TRUTH if result.has_hq else subject
        fill = {
            "TITLE": escape(" / ".join(name for name in self.methods if name != BICUBIC)),
            "FACTS": _facts(result),
            "SUMMARY": _table(SUMMARY_COLUMNS, summary_rows(result)),
            "HISTOGRAM_TITLE": escape(title),
            "HISTOGRAM": histogram([value for value in values if math.isfinite(value)]),
            "ORDERS": _options(orders),
            "LEFT": _options(layers, chosen=left),
            "RIGHT": _options(layers, chosen=subject),
            "VERSION": __version__,
        }
        parts = _TEMPLATE.read_text(encoding="utf-8").split("@CARDS@")
        # All at once, since the name of a method may look like a place to fill.
        return [re.sub("@([A-Z_]+)@", lambda match: fill[match[1]], part) for part in parts]


def _options(labels: Mapping[str, str], *, chosen: str = "") -> str:
    """Return the entries of a menu, from value to label."""
    return "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(label)}</option>'
        for value, label in labels.items()
    )


def _dim(difference: Array) -> Array:
    amplified: Array = np.clip(difference[::2, ::2] * _ERROR_GAIN, 0, 255).astype(np.uint8)
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
    metrics = {name: METRICS[name] for name in next(iter(image.scores.values()))}
    arrows = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}
    head = [f"{metric.title} {arrows.get(metric.better, metric.better)}" for metric in metrics.values()]
    rows = [
        [method, *(metric.show(row[name]) for name, metric in metrics.items())]
        for method, row in image.scores.items()
    ]
    if image.hq:
        rows.append([GROUND_TRUTH, *(metric.show(image.hq.get(name)) for name, metric in metrics.items())])
    return _table(["", *head], rows)


def _facts(result: EvalResult) -> str:
    facts = [f"{result.protocol}, {len(result.images)} images"]
    if result.failed:
        facts.append(f"{len(result.failed)} files could not be scored or written")
    for method in result.methods:
        if method.sha256:
            facts.append(f"{method.name}: sha256 {method.sha256}, {method.device}, {method.dtype}")
        elif method.source:
            facts.append(f"{method.name}: images in {method.source}")
    return "".join(f"<p>{escape(fact)}</p>" for fact in [*facts, *explain_directions(result)])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def histogram(values: Sequence[float]) -> str:
    """Return a histogram as SVG. Zero is marked if it is inside the range."""
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
