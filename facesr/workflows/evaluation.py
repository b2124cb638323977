"""`facesr eval`: how near restored pictures are to the truth, beside bicubic and beside each other."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from facesr.cluster import cores
from facesr.config.evaluate import PROTOCOLS, EvalConfig, Protocol
from facesr.errors import ConfigError, ImageError
from facesr.files import Job, Source, check_files, check_targets, real, write_atomic
from facesr.weights.locate import locate
from facesr.workflows.events import Failure, Reporter, Silent
from facesr.workflows.statistics import Summary, summarise

if TYPE_CHECKING:
    from facesr.image import Array
    from facesr.weights.load import Model
    from facesr.workflows.report import Report

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
class Paired:
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
        differences: Paired differences in PSNR: each method over bicubic, and models over each other.
        worst: The ten files with the lowest PSNR of the first method that is not bicubic.
        failed: Files that could not be scored, and results that could not be written.
        written: Pictures, table and report.
    """

    protocol: Protocol
    methods: tuple[Method, ...]
    images: tuple[ImageScore, ...]
    summaries: dict[str, dict[str, Summary]]
    differences: tuple[Paired, ...]
    worst: tuple[str, ...]
    failed: tuple[Failure, ...]
    written: tuple[Path, ...]

    @property
    def subject(self) -> str:
        """The method that the worst files and the report are about."""
        return next(method.name for method in self.methods if method.name != BICUBIC)


@dataclass(frozen=True)
class _Pair:
    name: str
    lq: Path | None
    hq: Path
    sr: Path | None

    @property
    def subject(self) -> Path:
        """The picture that is restored, or already is."""
        path = self.sr or self.lq
        assert path is not None
        return path


@dataclass(frozen=True)
class _Scored:
    image: ImageScore
    saved: list[Path]
    unsaved: list[Failure]
    card: str


def evaluate(config: EvalConfig, reporter: Reporter | None = None) -> EvalResult:
    """Score models on LQ pictures, or pictures as they are, against their truths.

    Raises:
        ConfigError: Missing folders, pictures without a partner, sizes that do not fit, no such model,
            results that would be saved among the inputs, a file that cannot be written or would overwrite
            another.
        WeightsError: Unusable weights.
        ImageError: No picture could be scored.
    """
    reporter = reporter or Silent()
    pairs = _list_pairs(config, reporter)
    files = [] if config.sr else [locate(name) for name in config.model]
    # Imported here, so that the errors above answer without the seconds that torch takes to load.
    from facesr.workflows.pipeline import load_for

    models = [load_for(one, config.runtime) for one in files]
    methods = _methods(config, models)
    folders = _save_folders(config, methods)
    _check_outputs(config, folders, pairs, weights=[one.tensors for one in files])
    with ExitStack() as stack:
        report = None
        if config.report:
            from facesr.workflows.report import Report

            report = stack.enter_context(Report(config.report, [method.name for method in methods]))
        images, failed, written = _score(config, reporter, pairs, models, methods, folders, report)
        if not images:
            first = failed[0]
            raise ImageError(
                f"no picture could be scored, the first: {first.reason}", file=first.file, hint=first.hint
            )
        result = _summarise(config, methods, images, failed, written)
        if any(math.isnan(v) for image in images for row in image.scores.values() for v in row.values()):
            reporter.warn("SSIM needs 11 px a side; smaller pictures have none")
        if config.csv:
            result = _with_file(result, config.csv, partial(_write_csv, config.csv))
        if config.report and report:
            result = _with_file(result, config.report, report.finish)
    return result


def _list_pairs(config: EvalConfig, reporter: Reporter) -> list[_Pair]:
    from facesr.data.listing import list_pairs, list_truths  # imports Pillow

    assert config.hq is not None
    warn = cache(reporter.warn)  # a folder that is named twice is told of once
    truths = list_truths(config.hq, hint="check the path given with `--hq`", warn=warn)
    listed = partial(list_pairs, truths=truths, hint="check the path", warn=warn)
    lq = listed(config.lq, scale=4) if config.lq else None
    sr = listed(config.sr, scale=1, suffix=config.sr_suffix) if config.sr else None
    either = lq or sr
    assert either is not None
    nothing = (None,) * len(either.hq)
    columns = (either.names, lq.lq if lq else nothing, either.hq, sr.lq if sr else nothing)
    return [_Pair(*row) for row in zip(*columns, strict=True)]


def _methods(config: EvalConfig, models: "Sequence[Model]") -> list[Method]:
    methods = [Method(BICUBIC)] if config.lq else []
    if config.sr:
        name = config.sr.resolve().name
        name = f"{name} (pictures)" if name == BICUBIC else name
        return [*methods, Method(name, source=str(config.sr))]
    names = [model.config.name for model in models]
    for model, path in zip(models, config.model, strict=True):
        clash = names.count(model.config.name) > 1 or model.config.name == BICUBIC
        name = f"{model.config.name} ({path})" if clash else model.config.name
        dtype = str(model.dtype).removeprefix("torch.")
        methods.append(Method(name, path, model.sha256, str(model.device), dtype))
    if len({method.name for method in methods}) < len(methods):
        raise ConfigError("a model is given twice", hint="give each `--model` once")
    return methods


def _save_folders(config: EvalConfig, methods: list[Method]) -> dict[str, Path]:
    """Return the folder of each method's pictures; none without `--save`."""
    if config.save is None:
        return {}
    names = [method.name for method in methods if method.name != BICUBIC]
    folders = {names[0]: config.save}
    if len(names) > 1:
        # The name comes from a downloaded file or from a path, and must not lead out of the folder.
        inner = [name.replace("/", "_").replace("\\", "_").lstrip(".") or "_" for name in names]
        folders = {name: config.save / folder for name, folder in zip(names, inner, strict=True)}
    for folder in folders.values():
        if any(real(folder).is_relative_to(real(path)) for path in (config.hq, config.lq, config.sr) if path):
            raise ConfigError(
                f"results in {folder} would lie among the inputs", hint="choose another folder for `--save`"
            )
    return folders


def _check_outputs(
    config: EvalConfig, folders: dict[str, Path], pairs: list[_Pair], *, weights: list[Path]
) -> None:
    """Refuse what would take the place of something else, before anything is computed."""
    jobs = [
        Job(Source(pair.subject, Path(pair.subject.name)), folder / f"{pair.name}.png")
        for folder in folders.values()
        for pair in pairs
    ]
    inputs = [path for pair in pairs for path in (pair.lq, pair.hq, pair.sr) if path] + weights
    check_targets(jobs, inputs=inputs)
    files = {"--csv": config.csv, "--report": config.report}
    check_files(files, inputs=inputs, results=[job.target for job in jobs])


def _score(
    config: EvalConfig,
    reporter: Reporter,
    pairs: list[_Pair],
    models: "Sequence[Model]",
    methods: list[Method],
    folders: dict[str, Path],
    report: "Report | None",
) -> tuple[list[ImageScore], list[Failure], list[Path]]:
    from facesr.image import Picture, bicubic, from_pil, read_picture, to_pil, write_picture
    from facesr.metrics import measure
    from facesr.workflows.pipeline import Outcome, batch_size, enlarge_stream, map_ahead, result_px

    protocol = PROTOCOLS[config.protocol]
    names = [method.name for method in methods]

    def read(pair: _Pair) -> Picture:
        return read_picture(pair.subject)

    def score(outcome: "Outcome[_Pair, tuple[Picture, ...]]") -> _Scored:
        if isinstance(outcome.value, ImageError):
            raise outcome.value
        pair = outcome.item
        target = read_picture(pair.hq).rgb8
        # As they would be read from a file: grey ones, say, have one channel there.
        results: list[Array] = [from_pil(to_pil(picture)).rgb8 for picture in outcome.value]
        lq = read_picture(pair.lq).rgb8 if pair.lq else None
        if lq is not None:
            results.insert(0, bicubic(lq, scale=4))
        for pixels in results:
            if pixels.shape != target.shape:
                raise ImageError(f"its truth is of another size, {target.shape[1]}x{target.shape[0]}")
        crop, y_channel = protocol.crop, protocol.y_channel
        scores = {
            name: measure(pixels, target, names=config.metric, crop=crop, y_channel=y_channel)
            for name, pixels in zip(names, results, strict=True)
        }
        image = ImageScore(pair.name, scores)
        saved, unsaved = [], []
        if folders:
            for method, picture in zip(names[-len(outcome.value) :], outcome.value, strict=True):
                path = folders[method] / f"{pair.name}.png"
                try:
                    write_picture(path, picture)
                    saved.append(path)
                except ImageError as error:
                    unsaved.append(Failure.of(path, error))
        card = report.card(image, lq=lq, results=results, target=target) if report else ""
        return _Scored(image, saved, unsaved, card)

    images: list[ImageScore] = []
    failed: list[Failure] = []
    written: list[Path] = []
    reporter.begin(len(pairs), "images")
    workers = min(8, cores())
    executor = ThreadPoolExecutor(max_workers=workers)
    batch = batch_size(config.runtime, models[0].device) if models else 1
    try:
        decoded = map_ahead(executor, read, pairs, depth=2 * batch + 2)
        restored = (
            enlarge_stream(models, decoded, runtime=config.runtime, warn=reporter.warn)
            if models
            else _as_they_are(decoded)
        )
        for outcome in map_ahead(executor, score, restored, depth=batch + workers, pixels=result_px):
            if isinstance(outcome.value, ImageError):
                failed.append(Failure.of(outcome.item.item.subject, outcome.value))
            else:
                images.append(outcome.value.image)
                written += outcome.value.saved
                failed += outcome.value.unsaved
                if report:
                    report.add(outcome.value.card)
            reporter.advance()
    finally:
        executor.shutdown(cancel_futures=True)
    return sorted(images, key=lambda image: image.file), failed, written


def _as_they_are(decoded: Iterator) -> Iterator:  # type: ignore[type-arg]
    from facesr.workflows.pipeline import Outcome

    for outcome in decoded:
        value = outcome.value
        yield Outcome(outcome.item, value if isinstance(value, ImageError) else (value,))


def _summarise(
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
            Paired(first, second, summarise(_differences(columns[first, "psnr"], columns[second, "psnr"])))
            for first, second in pairs
        ),
        worst=tuple(image.file for image in order[:WORST]),
        failed=tuple(failed),
        written=tuple(written),
    )


def _differences(first: list[float], second: list[float]) -> list[float]:
    return [a - b if a != b else 0.0 for a, b in zip(first, second, strict=True)]


def _with_file(result: EvalResult, path: Path, write: Callable[[EvalResult], None]) -> EvalResult:
    """Write a file about a result, and note in the result whether that went well."""
    try:
        write(result)
    except OSError as error:
        failure = Failure(path, f"cannot be written, {error.strerror or error}")
        return replace(result, failed=(*result.failed, failure))
    return replace(result, written=(*result.written, path))


def _write_csv(path: Path, result: EvalResult) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    keys = [(method, metric) for method in result.summaries for metric in result.summaries[method]]
    writer.writerow(["file", *(f"{method} {metric}" for method, metric in keys)])
    for image in result.images:
        writer.writerow([image.file, *(image.scores[method][metric] for method, metric in keys)])
    write_atomic(path, lambda stream: stream.write(table.getvalue().encode(errors="surrogateescape")))
