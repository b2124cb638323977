"""What an evaluation finds."""

import csv
import io
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from facesr.config.evaluate import PROTOCOLS, EvalConfig, EvalProtocol
from facesr.events import Failure
from facesr.files.atomic import write_atomic
from facesr.reports.statistics import Summary, summarise

BICUBIC = "bicubic"


WORST = 10


@dataclass(frozen=True)
class Method:
    """A way of restoring, and where its numbers come from.

    Attributes:
        name: Of the model, or of the folder of pictures.
        source: Path of the weights or of the folder; empty for bicubic.
        sha256: Of the weights' file; empty for pictures.
        device: Where it ran; empty for pictures.
        dtype: In which precision.
    """

    name: str
    source: str = ""
    sha256: str = ""
    device: str = ""
    dtype: str = ""


@dataclass(frozen=True)
class ImageScore:
    """Scores of one picture: method to metric to value, infinite for the PSNR of identical pictures.

    `file` is its name without extension, or its path below the folder where names occur twice.
    """

    file: str
    scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Difference:
    """The difference of two methods' PSNR, picture by picture, first minus second."""

    first: str
    second: str
    difference: Summary


@dataclass(frozen=True)
class EvalResult:
    """What `evaluate` found.

    Attributes:
        protocol: What was compared.
        methods: Bicubic first where there are LQ pictures, then models or the folder.
        images: All scores, in the order of the files.
        summaries: Method to metric to statistics.
        differences: Difference differences in PSNR: each method over bicubic, and models over each other.
        worst: The ten files with the lowest PSNR of the first method that is not bicubic.
        failed: Files that could not be scored, and results that could not be written.
        written: Pictures, table and report.
    """

    protocol: EvalProtocol
    methods: tuple[Method, ...]
    images: tuple[ImageScore, ...]
    summaries: dict[str, dict[str, Summary]]
    differences: tuple[Difference, ...]
    worst: tuple[str, ...]
    failed: tuple[Failure, ...]
    written: tuple[Path, ...]

    @property
    def subject(self) -> str:
        """The method that the worst files and the report are about."""
        return next(method.name for method in self.methods if method.name != BICUBIC)


def summarise_scores(
    config: EvalConfig,
    methods: list[Method],
    images: list[ImageScore],
    failed: list[Failure],
    written: list[Path],
) -> EvalResult:
    names = [method.name for method in methods]
    columns = {
        (name, metric): [image.scores[name][metric] for image in images]
        for name in names
        for metric in config.metric
    }
    others = [name for name in names if name != BICUBIC]
    pairs = [(name, BICUBIC) for name in others if BICUBIC in names] + list(combinations(others, 2))
    order = sorted(images, key=lambda image: image.scores[others[0]]["psnr"])
    return EvalResult(
        protocol=PROTOCOLS[config.protocol],
        methods=tuple(methods),
        images=tuple(images),
        summaries={name: {m: summarise(columns[name, m]) for m in config.metric} for name in names},
        differences=tuple(
            Difference(
                first, second, summarise(_differences(columns[first, "psnr"], columns[second, "psnr"]))
            )
            for first, second in pairs
        ),
        worst=tuple(image.file for image in order[:WORST]),
        failed=tuple(failed),
        written=tuple(written),
    )


def _differences(first: list[float], second: list[float]) -> list[float]:
    return [a - b if a != b else 0.0 for a, b in zip(first, second, strict=True)]


def write_csv(path: Path, result: EvalResult) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    keys = [(method, metric) for method in result.summaries for metric in result.summaries[method]]
    writer.writerow(["file", *(f"{method} {metric}" for method, metric in keys)])
    for image in result.images:
        writer.writerow([image.file, *(image.scores[method][metric] for method, metric in keys)])
    write_atomic(path, lambda stream: stream.write(table.getvalue().encode(errors="surrogateescape")))
