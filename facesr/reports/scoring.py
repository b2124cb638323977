"""Scoring files: read, restore, compare with HQ, write the table and the report."""

from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from facesr.config.evaluate import PROTOCOLS, EvalConfig, MetricChoice
from facesr.data.reading import crop_like
from facesr.errors import ImageError, MissingExtra
from facesr.events import Failure, Reporter
from facesr.images.formats import read_size
from facesr.images.image import Array, ImageData, bicubic, to_pil
from facesr.images.read import from_pil, read_image
from facesr.images.write import write_image
from facesr.inference.stream import batch_size, enlarge_stream, load_for, read_ahead, result_px
from facesr.metrics import METRICS, Metric, Scores, SetScorer, measure
from facesr.parallel import Outcome, Parts, Stages, run_files, succeeded
from facesr.processes import own_cores
from facesr.reports.html import Report
from facesr.reports.scores import (
    EvalResult,
    ImageScore,
    Method,
    ScoredPair,
    explain_missing,
    misfit,
    refuse_all,
    summarise_scores,
    write_csv,
)
from facesr.weights.find import WeightFiles
from facesr.weights.load import Model


def score_files(
    config: EvalConfig,
    reporter: Reporter,
    pairs: list[ScoredPair],
    methods: list[Method],
    files: list[WeightFiles],
    folders: dict[str, Path],
    *,
    scale: int,
) -> EvalResult:
    """Score all methods on all pairs, and write the outputs that the options ask for.

    Args:
        config: Options of the evaluation.
        reporter: Receives progress and warnings.
        pairs: Files to score.
        methods: Bicubic if there are LQ images, then the models or the folder.
        files: Weights of the models, in the order of `methods`.
        folders: Method to the folder for its images. Empty if they are not saved.
        scale: How many times larger the HQ images are, 0 if unknown.
    """
    first = len(methods) - len(files)
    models, kept, refused = [], list(methods[:first]), []
    for method, one in zip(methods[first:], files, strict=True):
        model = load_for(one, config.runtime)
        if reason := _misfit(method.name, model, scale, pairs):
            refused.append(reason)
            continue
        models.append(model)
        kept.append(_describe(method, model))
    if files and not models:
        refuse_all(refused)
    for reason in refused:
        reporter.warn(f"{reason}, so it is left out")
    methods = kept
    config = replace(config, metric=_usable(config, reporter))
    names = [one.name for one in methods]
    page = Report(config.report, names, config.ranking) if config.report else nullcontext()
    with page as report:
        result = _score_pairs(config, reporter, pairs, models, methods, folders, report)
        for message in explain_missing(result):
            reporter.warn(message)
        if config.csv:
            result = _with_file(result, config.csv, partial(write_csv, config.csv))
        if report:
            result = _with_file(result, report.path, report.finish)
    return result


def _usable(config: EvalConfig, reporter: Reporter) -> tuple[MetricChoice, ...]:
    """Return the metrics whose weights are installed, and warn about the others."""
    missing = set()
    for name in config.metric:
        find = METRICS[name].find_weights
        try:
            if find:
                find(config.metric_weights)
        except MissingExtra as error:
            missing.add(name)
            reporter.warn(f"{METRICS[name].label} is left out, {error.message}: {error.hint}")
    return tuple(name for name in config.metric if name not in missing)


def _misfit(name: str, model: Model, scale: int, pairs: Sequence[ScoredPair]) -> str:
    traits = model.network.traits
    side = traits.face_px
    if side is None:
        return misfit(name, traits.scale, expected=scale)
    for path in (pair.hq for pair in pairs if pair.hq):
        with suppress(ImageError):  # such a pair fails by itself
            height, width = read_size(path)
            if (height, width) != (side, side):
                return f"{name} restores aligned faces of {side}x{side} px, but {path} is {width}x{height}"
    return ""


def _describe(method: Method, model: Model) -> Method:
    return replace(method, sha256=model.sha256, device=str(model.device), dtype=model.precision)


@dataclass(frozen=True)
class _Scored:
    image: ImageScore
    results: list[Array]
    hq: Array | None
    saved: list[Path]
    unsaved: list[Failure]
    card: str


def _score_pairs(
    config: EvalConfig,
    reporter: Reporter,
    pairs: list[ScoredPair],
    models: Sequence[Model],
    methods: list[Method],
    folders: dict[str, Path],
    report: Report | None,
) -> EvalResult:
    protocol = PROTOCOLS[config.protocol]
    crop, y_channel = protocol.crop, protocol.y_channel
    names = [method.name for method in methods]
    alone = [name for name in config.metric if METRICS[name].kind == "no-reference"]

    def scores_of(pixels: Array, target: Array, metrics: Sequence[str]) -> Scores:
        weights = config.metric_weights
        return measure(pixels, target, names=metrics, crop=crop, y_channel=y_channel, weights=weights)

    def score(pair: ScoredPair, restored: tuple[ImageData, ...]) -> _Scored:
        hq = read_image(pair.hq).rgb8 if pair.hq else None
        # As they would be read from a file: grey ones, say, have one channel there.
        results: list[Array] = [from_pil(to_pil(image)).rgb8 for image in restored]
        if config.crop_to_scale and hq is not None:
            hq = crop_like(hq, results[0], scale=1)
        lq = read_image(pair.lq).rgb8 if pair.lq else None
        if lq is not None and hq is not None:
            results.insert(0, bicubic(lq, height=hq.shape[0], width=hq.shape[1]))
        for pixels in results:
            if hq is not None and pixels.shape != hq.shape:
                found, expected = (f"{one.shape[1]}x{one.shape[0]}" for one in (pixels, hq))
                raise ImageError(f"its result is {found}, but its HQ image is {expected}")
        scores = {
            name: scores_of(pixels, pixels if hq is None else hq, config.metric)
            for name, pixels in zip(names, results, strict=True)
        }
        image = ImageScore(pair.name, scores, {} if hq is None else scores_of(hq, hq, alone))
        saved, unsaved = [], []
        for method, result in zip(names[-len(restored) :], restored, strict=True) if folders else ():
            path = folders[method] / f"{pair.name}.png"
            try:
                write_image(path, result)
                saved.append(path)
            except ImageError as error:
                unsaved.append(Failure.of(path, error))
        card = report.card(image, lq=lq, results=results, target=hq) if report else ""
        return _Scored(image, results, hq, saved, unsaved, card)

    restore = partial(enlarge_stream, models, runtime=config.runtime, warn=reporter.warn)
    stages = Stages(
        decode=lambda pair: read_image(pair.subject),
        compute=restore if models else _as_they_are,
        encode=score,
        pixels=result_px,
    )
    batch = batch_size(config.runtime, models[0].device) if models else 1
    images: list[ImageScore] = []
    failed: list[Failure] = []
    written: list[Path] = []
    set_scorers = [SetScorer(config.metric, crop=crop, y_channel=y_channel) for _ in names]
    reporter.begin(len(pairs), "images")
    threads = own_cores()
    with closing(run_files(pairs, stages, threads=threads, depth=read_ahead(batch, threads))) as outcomes:
        for scored in succeeded(outcomes, reporter, failed, path_of=lambda pair: pair.subject):
            images.append(scored.image)
            # Here, and not on the threads, so that the order of the images never changes the value.
            for scorer, pixels in zip(set_scorers, scored.results, strict=True):
                if scored.hq is not None:
                    scorer.add(pixels, scored.hq)
            written += scored.saved
            failed += scored.unsaved
            if report:
                report.add(scored.card)
    if not images:
        raise ImageError(
            f"no image could be scored, first failure: {failed[0].reason}",
            file=failed[0].file,
            hint=failed[0].hint,
        )
    images.sort(key=lambda image: image.file)
    metrics: dict[str, Metric] = {name: METRICS[name] for name in config.metric}
    set_scores = {name: scorer.values() for name, scorer in zip(names, set_scorers, strict=True)}
    return summarise_scores(config, metrics, methods, images, set_scores, failed, written)


def _as_they_are(images: Parts) -> Parts:
    """Use images as the results of one method. This replaces `enlarge_stream` for images already restored."""
    for one in images:
        yield one if isinstance(one.value, ImageError) else Outcome(one.item, (one.value,))


def _with_file(result: EvalResult, path: Path, write: Callable[[EvalResult], None]) -> EvalResult:
    """Write a file about a result, and record in the result whether that succeeded."""
    try:
        write(result)
    except OSError as error:
        failure = Failure(path, f"cannot be written, {error.strerror or error}")
        return replace(result, failed=(*result.failed, failure))
    return replace(result, written=(*result.written, path))
