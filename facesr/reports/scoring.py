"""Scoring files: read, restore, compare with HQ."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from facesr.config.evaluate import PROTOCOLS, EvalConfig
from facesr.errors import ConfigError, ImageError
from facesr.events import Failure, Reporter
from facesr.processes import cores
from facesr.reports.scores import (
    BICUBIC,
    EvalResult,
    ImageScore,
    Method,
)

if TYPE_CHECKING:
    from facesr.images.image import Array
    from facesr.reports.html import Report
    from facesr.weights.load import Model


@dataclass(frozen=True)
class ScoredPair:
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


def name_methods(config: EvalConfig, models: "Sequence[Model]") -> list[Method]:
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


def score_files(
    config: EvalConfig,
    reporter: Reporter,
    pairs: list[ScoredPair],
    models: "Sequence[Model]",
    methods: list[Method],
    folders: dict[str, Path],
    report: "Report | None",
) -> tuple[list[ImageScore], list[Failure], list[Path]]:
    from facesr.images.image import ImageData, bicubic, to_pil
    from facesr.images.read import from_pil, read_image
    from facesr.images.write import write_image
    from facesr.inference.stream import batch_size, enlarge_stream, result_px
    from facesr.metrics import measure
    from facesr.parallel import Outcome, map_ahead

    protocol = PROTOCOLS[config.protocol]
    names = [method.name for method in methods]

    def read(pair: ScoredPair) -> ImageData:
        return read_image(pair.subject)

    def score(outcome: "Outcome[ScoredPair, tuple[ImageData, ...]]") -> _Scored:
        if isinstance(outcome.value, ImageError):
            raise outcome.value
        pair = outcome.item
        target = read_image(pair.hq).rgb8
        # As they would be read from a file: grey ones, say, have one channel there.
        results: list[Array] = [from_pil(to_pil(picture)).rgb8 for picture in outcome.value]
        lq = read_image(pair.lq).rgb8 if pair.lq else None
        if lq is not None:
            results.insert(0, bicubic(lq, height=target.shape[0], width=target.shape[1]))
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
                    write_image(path, picture)
                    saved.append(path)
                except ImageError as error:
                    unsaved.append(Failure.of(path, error))
        card = report.card(image, lq=lq, results=results, target=target) if report else ""
        return _Scored(image, saved, unsaved, card)

    def pixels(outcome: "Outcome[ScoredPair, tuple[ImageData, ...]]") -> int:
        return 0 if isinstance(outcome.value, ImageError) else result_px([outcome.value])

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
        for outcome in map_ahead(executor, score, restored, depth=batch + workers, pixels=pixels):
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
    from facesr.parallel import Outcome

    for outcome in decoded:
        value = outcome.value
        yield Outcome(outcome.item, value if isinstance(value, ImageError) else (value,))


def with_file(result: EvalResult, path: Path, write: Callable[[EvalResult], None]) -> EvalResult:
    """Write a file about a result, and note in the result whether that went well."""
    try:
        write(result)
    except OSError as error:
        failure = Failure(path, f"cannot be written, {error.strerror or error}")
        return replace(result, failed=(*result.failed, failure))
    return replace(result, written=(*result.written, path))
