"""`facesr eval`: how near restored pictures are to the truth, beside bicubic and beside each other."""

import math
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

from facesr.config.evaluate import EvalConfig
from facesr.errors import ConfigError, ImageError
from facesr.events import Reporter
from facesr.files.jobs import Job, check_files, check_targets
from facesr.files.listing import Source
from facesr.files.paths import real
from facesr.reports.scores import BICUBIC, EvalResult, Method, summarise_scores, write_csv
from facesr.reports.scoring import ScoredPair, name_methods, score_files, with_file
from facesr.weights.find import find_weights


def evaluate(config: EvalConfig, reporter: Reporter | None = None) -> EvalResult:
    """Score models on LQ pictures, or pictures as they are, against their truths.

    Raises:
        ConfigError: Missing folders, pictures without a partner, sizes that do not fit, no such model,
            results that would be saved among the inputs, a file that cannot be written or would overwrite
            another.
        WeightsError: Unusable weights.
        ImageError: No picture could be scored.
    """
    config, reporter = config.resolved(), reporter or Reporter()
    pairs = _list_pairs(config, reporter)
    files = [] if config.sr else [find_weights(name) for name in config.model]
    # Imported here, so that the errors above answer without the seconds that torch takes to load.
    from facesr.inference.stream import load_for

    models = [load_for(one, config.runtime) for one in files]
    methods = name_methods(config, models)
    folders = _save_folders(config, methods)
    _check_outputs(config, folders, pairs, weights=[one.tensors for one in files])
    with ExitStack() as stack:
        report = None
        if config.report:
            from facesr.reports.html import Report

            report = stack.enter_context(Report(config.report, [method.name for method in methods]))
        images, failed, written = score_files(config, reporter, pairs, models, methods, folders, report)
        if not images:
            first = failed[0]
            raise ImageError(
                f"no picture could be scored, the first: {first.reason}", file=first.file, hint=first.hint
            )
        result = summarise_scores(config, methods, images, failed, written)
        if any(math.isnan(v) for image in images for row in image.scores.values() for v in row.values()):
            reporter.warn("SSIM needs 11 px a side; smaller pictures have none")
        if config.csv:
            result = with_file(result, config.csv, partial(write_csv, config.csv))
        if config.report and report:
            result = with_file(result, config.report, report.finish)
    return result


def _list_pairs(config: EvalConfig, reporter: Reporter) -> list[ScoredPair]:
    from facesr.data.pairs import list_hq, list_pairs  # imports Pillow

    assert config.hq is not None
    warn = cache(reporter.warn)  # a folder that is named twice is told of once
    truths = list_hq(config.hq, hint="check the path given with `--hq`", warn=warn)
    listed = partial(list_pairs, truths=truths, hint="check the path", warn=warn)
    lq = listed(config.lq, scale=4) if config.lq else None
    sr = listed(config.sr, scale=1, suffix=config.sr_suffix) if config.sr else None
    either = lq or sr
    assert either is not None
    nothing = (None,) * len(either.hq)
    columns = (either.names, lq.lq if lq else nothing, either.hq, sr.lq if sr else nothing)
    return [ScoredPair(*row) for row in zip(*columns, strict=True)]


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
    config: EvalConfig, folders: dict[str, Path], pairs: list[ScoredPair], *, weights: list[Path]
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
