"""`facesr eval`: compares restored images with the ground truth, with bicubic and with each other."""

import re
from functools import cache, partial
from itertools import product
from pathlib import Path

from facesr.config.evaluate import EvalConfig
from facesr.errors import ConfigError
from facesr.events import Reporter
from facesr.files.jobs import Job, check_files, check_targets
from facesr.files.listing import Source
from facesr.files.paths import identity
from facesr.processes import warn_of_repetition
from facesr.reports.scores import BICUBIC, TAKEN_NAMES, EvalResult, Method, ScoredPair, misfit, refuse_all
from facesr.weights.find import WeightFiles, find_model


def evaluate(config: EvalConfig, reporter: Reporter | None = None) -> EvalResult:
    """Score models on LQ images, or images that are already restored, against their ground truth.

    Already restored images (`sr`) can also be scored without ground truth.

    Raises:
        ConfigError: Missing folders, images without a match, sizes that do not fit, no such model, results
            that would be saved among the inputs, or a file that cannot be written or would overwrite another.
        WeightsError: Unusable weights.
        DeviceError: The device or precision is not available.
        ImageError: No image could be scored.
    """
    config, reporter = config.resolved(), reporter or Reporter()
    warn_of_repetition(reporter, "scores all images")
    pairs, scale = _list_pairs(config, reporter)
    runs = [] if config.sr else list(product(config.model, config.sharpness or (None,)))
    files = [find_model(name, blend=config.blend, sharpness=sharpness) for name, sharpness in runs]
    reasons = [misfit(one.name, one.config.scale, expected=scale) for one in files if one.config]
    if files and len(reasons) == len(files) and all(reasons):
        refuse_all(reasons)
    methods = _name_methods(config, files, sources=[name for name, _ in runs])
    folders = _save_folders(config, methods)
    _check_outputs(config, folders, pairs, weights=[path for one in files for path in one.all_tensors])
    # Imported here, so that the errors above answer without the seconds that torch takes to load.
    from facesr.reports.scoring import score_files

    return score_files(config, reporter, pairs, methods, files, folders, scale=scale)


def _list_pairs(config: EvalConfig, reporter: Reporter) -> tuple[list[ScoredPair], int]:
    """Return the pairs, and how many times larger the HQ images are than the LQ images, 0 if unknown."""
    from facesr.data.pairs import Matching, list_folder, list_hq, list_pairs  # imports Pillow

    warn = cache(reporter.warn)  # once for a folder that is named twice
    hint = "give an existing folder with `{}`"
    if config.hq is None:
        assert config.sr is not None
        images = list_folder(config.sr, "images to score", hint.format("--sr"), warn)
        return [ScoredPair(one.relative.as_posix(), None, None, one.path) for one in images], 0
    hq = list_hq(config.hq, hint=hint.format("--hq"), warn=warn)
    listed = partial(list_pairs, hq=hq, warn=warn)
    of_lq = Matching(config.lq_suffix, config.crop_to_scale)
    of_sr = Matching(config.sr_suffix, config.crop_to_scale, suffix_option="--sr-suffix {}")
    lq = listed(config.lq, matching=of_lq, hint=hint.format("--lq")) if config.lq else None
    sr = listed(config.sr, matching=of_sr, scale=1, hint=hint.format("--sr")) if config.sr else None
    either = lq or sr
    assert either is not None
    nothing = (None,) * len(either.hq)
    columns = (either.names, lq.lq if lq else nothing, either.hq, sr.lq if sr else nothing)
    return [ScoredPair(*row) for row in zip(*columns, strict=True)], lq.scale if lq else 0


def _name_methods(config: EvalConfig, files: list[WeightFiles], *, sources: list[str]) -> list[Method]:
    methods = [Method(BICUBIC)] if config.lq else []
    if config.sr:
        name = config.sr.resolve().name
        name = f"{name} (images)" if name in TAKEN_NAMES else name
        return [*methods, Method(name, source=str(config.sr))]
    names = [one.name for one in files]
    for name, path in zip(names, sources, strict=True):
        clash = names.count(name) > 1 or name in TAKEN_NAMES
        methods.append(Method(f"{name} ({path})" if clash else name, source=path))
    if len({method.name for method in methods}) < len(methods):
        raise ConfigError("`--model` is given twice for the same model", hint="give each model once")
    return methods


def _save_folders(config: EvalConfig, methods: list[Method]) -> dict[str, Path]:
    """Return the folder for each method's images. Empty without `--save`."""
    if config.save is None:
        return {}
    names = [method.name for method in methods if method.name != BICUBIC]
    folders = {names[0]: config.save}
    if len(names) > 1:
        # The name comes from a downloaded file or from a path, and must not lead out of the folder, nor to
        # another drive on Windows.
        inner = [re.sub(r"[/\\:]", "_", name).lstrip(".") or "_" for name in names]
        folders = {name: config.save / folder for name, folder in zip(names, inner, strict=True)}
    for folder in folders.values():
        inputs = (path for path in (config.hq, config.lq, config.sr) if path)
        if any(identity(folder).is_relative_to(identity(path)) for path in inputs):
            raise ConfigError(
                f"`--save {config.save}` would put results among the inputs",
                hint="choose another folder for `--save`",
            )
    return folders


def _check_outputs(
    config: EvalConfig, folders: dict[str, Path], pairs: list[ScoredPair], *, weights: list[Path]
) -> None:
    """Reject outputs that would overwrite something else, before anything is computed."""
    jobs = [
        Job(Source(pair.subject, Path(pair.subject.name)), folder / f"{pair.name}.png")
        for folder in folders.values()
        for pair in pairs
    ]
    inputs = [path for pair in pairs for path in (pair.lq, pair.hq, pair.sr) if path] + weights
    check_targets(jobs, inputs=inputs)
    files = {"--csv": config.csv, "--report": config.report}
    check_files(files, inputs=inputs, results=[job.target for job in jobs])
