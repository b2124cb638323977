"""`facesr degrade`: makes LQ images, or pairs, from HQ images."""

from dataclasses import replace
from pathlib import Path

from facesr.config.degrade import DegradeConfig
from facesr.errors import ConfigError
from facesr.events import Reporter
from facesr.files.jobs import Place, check_files, names_file, plan_jobs, result_suffix
from facesr.files.listing import list_images
from facesr.files.paths import exists, identity
from facesr.processes import warn_of_repetition
from facesr.results import DegradeResult


def degrade(config: DegradeConfig, reporter: Reporter | None = None) -> DegradeResult:
    """Make LQ images. Each depends only on its file, the configuration and the seed.

    Raises:
        ConfigError: A missing path, contradictory options, nothing to read, two inputs with one output, or a
            file that cannot be written or would overwrite another.
    """
    config, reporter = config.resolved(), reporter or Reporter()
    warn_of_repetition(reporter, "degrades all images")
    hq, lq, preview = config.hq, config.lq, config.preview
    if hq is None:
        raise ConfigError("no HQ folder given", hint="write `facesr degrade hq/ lq/`")
    if lq is None and preview is None:
        raise ConfigError("no folder for the LQ images given", hint="write `facesr degrade hq/ lq/`")
    if preview is not None and result_suffix(preview) != preview.suffix:
        raise ConfigError(
            f"`--preview {preview}` is not the name of an image file", hint="use a name ending in .png"
        )
    outputs = [path for path in (lq, config.hq_out) if path is not None]
    if len(set(map(identity, outputs))) < len(outputs):
        raise ConfigError(f"{lq} is given for both LQ and HQ", hint="name two folders, or two files")
    sources = list_images([hq], recursive=config.recursive, exclude=outputs, warn=reporter.warn)
    places = [_place(output, hq) for output in outputs]
    plans = plan_jobs(sources, *places, copies=config.copies, overwrite=config.overwrite, warn=reporter.warn)
    jobs, hq_jobs = plans[0] if lq else [], plans[-1] if config.hq_out else []
    check_files(
        {"--params-out": config.params_out, "--preview": preview},
        inputs=[*(source.path for source in sources), *([config.replay] if config.replay else [])],
        results=[job.target for job in (*jobs, *hq_jobs)],
    )
    if config.replay is not None and not exists(config.replay):
        raise ConfigError(
            f"no such file or folder: `--replay {config.replay}`",
            hint="name a file written by `--params-out`, or a folder of PNG files made by `facesr degrade`",
        )
    result = DegradeResult((), (), (), lq)
    if lq is not None:
        from facesr.degradation.degrade_files import degrade_files  # loads torch

        hq_targets = {job: hq_job.target for job, hq_job in zip(jobs, hq_jobs, strict=False)}
        result = degrade_files(config, reporter, jobs, output=places[0].folder, hq_targets=hq_targets)
        result = replace(result, output=lq)
    if preview is not None:
        from facesr.reports.contact_sheet import write_preview  # loads torch

        write_preview(config, [source.path for source in sources], preview)
        result = replace(result, preview=preview)
    return result


def _place(output: Path, hq: Path) -> Place:
    """Return the folder of the results and their names, also if the output is a single PNG file."""
    if names_file(output, [hq], suffixes=[".png"]):
        return Place(output.parent, output.stem, output.suffix)
    return Place(output, suffix=".png")
