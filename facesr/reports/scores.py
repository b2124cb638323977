"""Results of an evaluation, as a Python object, a table, CSV and JSON. Free of torch."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from facesr.config.evaluate import PROTOCOLS, RANKING_METRIC, EvalConfig, EvalProtocol
from facesr.errors import ConfigError, shorten
from facesr.events import Failure
from facesr.files.atomic import write_atomic

if TYPE_CHECKING:
    from facesr.metrics import Metric

BICUBIC = "bicubic"
GROUND_TRUTH = "ground truth"
LQ, ERROR = "LQ", "error"  # images of the report besides those of methods
TAKEN_NAMES = {BICUBIC, GROUND_TRUTH, LQ, ERROR}  # which no method may have
_WORST = 10
_RESAMPLES = 10_000
_SEED = 0
SUMMARY_COLUMNS = ("", "metric", "mean", "95 % interval", "median", "deviation")


@dataclass(frozen=True)
class ScoredPair:
    """Files of one image to score. `sr` is already restored. Without it, `lq` is restored first."""

    name: str  # without extension, or path below the folder where names occur twice
    lq: Path | None
    hq: Path | None
    sr: Path | None

    @property
    def subject(self) -> Path:
        path = self.sr or self.lq
        assert path is not None
        return path


@dataclass(frozen=True)
class Method:
    """A restoration method, and what produced its results. A folder of images has only name and source."""

    name: str
    source: str = ""  # path of the weights or of the folder, empty for bicubic
    sha256: str = ""
    device: str = ""
    dtype: str = ""


@dataclass(frozen=True)
class ImageScore:
    """Scores of one image, method to metric to value. Infinite for identical images, NaN if missing."""

    file: str  # the name of its pair
    scores: dict[str, dict[str, float]]
    hq: dict[str, float] = field(default_factory=dict)  # of its ground truth, by no-reference metrics


@dataclass(frozen=True)
class Summary:
    """Statistics of one metric over images, None if they are not finite.

    A metric of the whole set has its value as the mean, and no other statistics.
    """

    mean: float | None
    median: float | None = None
    std: float | None = None
    low: float | None = None  # of the 95 % bootstrap interval of the mean
    high: float | None = None


@dataclass(frozen=True)
class Difference:
    """Difference of two methods in the ranking metric, image by image, first minus second."""

    first: str
    second: str
    difference: Summary


@dataclass(frozen=True)
class EvalResult:
    """The result of `evaluate`.

    Attributes:
        protocol: What was compared.
        metrics: Name to unit, direction and kind of each metric.
        methods: Bicubic first if there are LQ images, then models or the folder.
        summaries: Method to metric to statistics.
        ranking: Metric of `differences` and `worst`: PSNR, or NIQE without ground truth.
        hq: No-reference metric to statistics of the ground truth. Empty without such a metric.
        differences: Each method minus bicubic, and models compared with each other.
        worst: Up to ten files with the worst values of the first method that is not bicubic.
        images: Scores of each image, in the order of the files.
        failed: Files that could not be scored, and results that could not be written.
        written: Images, table and report.
    """

    protocol: EvalProtocol
    metrics: "Mapping[str, Metric]"
    methods: tuple[Method, ...]
    summaries: dict[str, dict[str, Summary]]
    ranking: str
    hq: dict[str, Summary]
    differences: tuple[Difference, ...]
    worst: tuple[str, ...]
    images: tuple[ImageScore, ...]
    failed: tuple[Failure, ...]
    written: tuple[Path, ...]

    @property
    def has_hq(self) -> bool:
        """Whether there is ground truth."""
        return self.ranking == RANKING_METRIC

    @property
    def subject(self) -> str:
        """Method that the worst files and the report are about."""
        return next(method.name for method in self.methods if method.name != BICUBIC)


def summarise_scores(
    config: EvalConfig,
    metrics: "Mapping[str, Metric]",
    methods: Iterable[Method],
    images: Iterable[ImageScore],
    set_scores: Mapping[str, Mapping[str, float]],
    failed: Iterable[Failure],
    written: Iterable[Path],
) -> EvalResult:
    """Return the scores of at least one image with their statistics.

    `metrics` are those of `config`. `set_scores` is method to metric to value, for metrics of a whole set.
    """
    methods, images, ranking = tuple(methods), tuple(images), config.ranking

    def column(method: str, metric: str) -> list[float]:
        return [image.scores[method][metric] for image in images]

    def summary(method: str, metric: str) -> Summary:
        if metric not in set_scores[method]:
            return summarise(column(method, metric))
        value = set_scores[method][metric]
        return Summary(value if math.isfinite(value) else None)

    def difference(first: str, second: str) -> Difference:
        pairs = zip(column(first, ranking), column(second, ranking), strict=True)
        # Two infinite values are equal, but their difference is not a number.
        return Difference(first, second, summarise([a - b if a != b else 0.0 for a, b in pairs]))

    names = [method.name for method in methods]
    others = [name for name in names if name != BICUBIC]
    compared = [(name, BICUBIC) for name in others if BICUBIC in names] + list(combinations(others, 2))

    def value(image: ImageScore) -> float:
        return image.scores[others[0]][ranking]

    ranked = [image for image in images if not math.isnan(value(image))]
    ranked.sort(key=lambda image: metrics[ranking].merit(value(image)))
    return EvalResult(
        protocol=PROTOCOLS[config.protocol],
        metrics=metrics,
        methods=methods,
        summaries={name: {metric: summary(name, metric) for metric in metrics} for name in names},
        ranking=ranking,
        hq={metric: summarise([image.hq[metric] for image in images]) for metric in images[0].hq},
        differences=tuple(difference(*pair) for pair in compared),
        worst=tuple(image.file for image in ranked[:_WORST]),
        images=images,
        failed=tuple(failed),
        written=tuple(written),
    )


def summarise(values: Sequence[float]) -> Summary:
    """Summarise values, with a confidence interval from 10,000 bootstrap resamples with a fixed seed."""
    import numpy as np  # 0.1 s, which --help need not pay

    table = np.asarray(values, dtype=np.float64)
    if not len(table) or not np.isfinite(table).all():
        finite = table[~np.isnan(table)]
        median = float(np.median(finite)) if len(finite) else math.nan
        return Summary(None, median if math.isfinite(median) else None)
    rng = np.random.default_rng(_SEED)
    means = np.array([rng.choice(table, len(table)).mean() for _ in range(_RESAMPLES)])
    low, high = np.percentile(means, [2.5, 97.5])
    std = float(table.std(ddof=1)) if len(table) > 1 else 0.0
    return Summary(float(table.mean()), float(np.median(table)), std, float(low), float(high))


def explain_missing(result: EvalResult) -> list[str]:
    """Return how many values are missing and why. Metrics with the same reason share one line."""
    labels: dict[str, list[str]] = {}
    for name, metric in result.metrics.items():
        if metric.kind == "set":
            lacking = [method for method, table in result.summaries.items() if table[name].mean is None]
            where = ", ".join(lacking)
        else:
            count = sum(any(math.isnan(row[name]) for row in one.scores.values()) for one in result.images)
            where = f"{count} of {len(result.images)} images" if count else ""
        if where:
            labels.setdefault(f"for {where}: {metric.missing}", []).append(metric.label)
    return [f"no {', '.join(names)} {reason}" for reason, names in labels.items()]


def explain_directions(result: EvalResult) -> list[str]:
    """Return which values are better, with the metrics and units for each direction."""
    titles: dict[str, list[str]] = {}
    for metric in result.metrics.values():
        titles.setdefault(metric.better, []).append(metric.title)
    return [f"{better} is better: {', '.join(names)}" for better, names in titles.items()]


def summary_rows(result: EvalResult) -> list[tuple[str, ...]]:
    """Return the rows of the summary as text, for `SUMMARY_COLUMNS`."""
    rows = [
        (method, metric.label, *_cells(table[name], metric))
        for method, table in result.summaries.items()
        for name, metric in result.metrics.items()
    ]
    rows += [
        (GROUND_TRUTH, result.metrics[name].label, *_cells(summary, result.metrics[name]))
        for name, summary in result.hq.items()
    ]
    for one in result.differences:
        metric = result.metrics[result.ranking]
        cells = _cells(one.difference, metric, sign="+")
        rows.append((f"{one.first} over {one.second}", metric.label, *cells))
    return rows


def _cells(summary: Summary, metric: "Metric", *, sign: str = "") -> tuple[str, ...]:
    mean, median, low, high = (
        metric.show(value, sign=sign) for value in (summary.mean, summary.median, summary.low, summary.high)
    )
    interval = "-" if summary.low is None else f"{low} to {high}"
    return mean, interval, median, metric.show(summary.std)


def write_csv(path: Path, result: EvalResult) -> None:
    """Write a CSV table: one row for each image, one column for each method and metric of single images."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    metrics = [name for name, metric in result.metrics.items() if metric.kind != "set"]
    keys = [(method.name, metric) for method in result.methods for metric in metrics]
    titles = [f"{method} {metric}" for method, metric in keys]
    writer.writerow(["file", *titles, *(f"{GROUND_TRUTH} {metric}" for metric in result.hq)])
    for image in result.images:
        values = [image.scores[method][metric] for method, metric in keys]
        writer.writerow([image.file, *values, *image.hq.values()])
    write_atomic(path, lambda stream: stream.write(table.getvalue().encode(errors="surrogateescape")))


def json_document(result: EvalResult) -> dict[str, Any]:
    """Return the result as JSON allows it: no infinities, identical images marked."""
    images = [
        {
            "file": image.file,
            "identical": any(math.isinf(row.get("psnr", 0.0)) for row in image.scores.values()),
            "scores": {method: _finite(row) for method, row in image.scores.items()},
            "hq": _finite(image.hq),
        }
        for image in result.images
    ]
    protocol = {"rounding": "8-bit", "mean_of": "images", "images": len(images)}
    metrics = {
        name: {"unit": metric.unit, "higher_is_better": metric.higher_is_better, "kind": metric.kind}
        | ({"ideal": metric.ideal} if metric.ideal else {})
        for name, metric in result.metrics.items()
    }
    document = asdict(result)  # whose order stays
    return document | {"protocol": document["protocol"] | protocol, "metrics": metrics, "images": images}


def _finite(row: Mapping[str, float]) -> dict[str, float | None]:
    return {metric: value if math.isfinite(value) else None for metric, value in row.items()}


def misfit(name: str, scale: int, *, expected: int) -> str:
    """Return why a model cannot be scored on pairs of another scale, empty if it can. Scale 0 is unknown."""
    if scale and expected and scale != expected:
        return f"{name} enlarges {scale} times, but the HQ images are {expected} times as large as LQ"
    return ""


def refuse_all(reasons: Sequence[str]) -> NoReturn:
    """Raise an error when no model can be scored."""
    hint = "give pairs of its scale with `--hq` and `--lq`, or leave the model out"
    raise ConfigError(shorten(reasons), hint=hint)
