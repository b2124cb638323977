"""`facesr degrade`: from HQ pictures to LQ ones, or to pairs."""

from dataclasses import replace
from pathlib import Path

from facesr.config.degrade import DegradeConfig
from facesr.degradation.degrade_files import degrade_files
from facesr.errors import ConfigError
from facesr.events import Reporter
from facesr.files.jobs import check_files, plan_jobs, result_suffix
from facesr.files.listing import list_images
from facesr.files.paths import real
from facesr.results import DegradeResult


def degrade(config: DegradeConfig, reporter: Reporter | None = None) -> DegradeResult:
    """Make LQ pictures; each depends on its file, the configuration and the seed, and on nothing else.

    Raises:
        ConfigError: A missing or contradictory path, nothing to read, two inputs with one output, a file
            that cannot be written or would overwrite another.
    """
    config = config.resolved()
    if config.hq is None:
        raise ConfigError("no HQ folder given", hint="write `facesr degrade hq/ lq/`")
    if config.lq is None and config.preview is None:
        raise ConfigError("no folder for the LQ pictures given", hint="write `facesr degrade hq/ lq/`")
    if config.preview is not None and result_suffix(config.preview) != config.preview.suffix:
        raise ConfigError(f"`--preview {config.preview}` is no name of a picture", hint="let it end in .png")
    outputs = [path for path in (config.lq, config.hq_out) if path is not None]
    if len({real(path) for path in outputs}) < len(outputs):
        raise ConfigError(f"{config.lq} is given for both LQ and truth", hint="name two folders")
    reporter = reporter or Reporter()
    sources = list_images([config.hq], recursive=config.recursive, exclude=outputs, warn=reporter.warn)
    jobs, hq_jobs = (
        plan_jobs(sources, output or Path(), suffix=".png", copies=config.copies) if output else []
        for output in (config.lq, config.hq_out)
    )
    check_files(
        {"--params-out": config.params_out, "--preview": config.preview},
        inputs=[*(source.path for source in sources), *([config.replay] if config.replay else [])],
        results=[job.target for job in (*jobs, *hq_jobs)],
    )
    result = DegradeResult((), (), (), config.lq)
    if jobs:
        truths = {(job.source, job.copy): job.target for job in hq_jobs}
        result = degrade_files(config, reporter, jobs, truths)
    if config.preview is not None:
        from facesr.reports.contact_sheet import write_preview  # loads torch

        write_preview(config, [source.path for source in sources], config.preview)
        result = replace(result, preview=config.preview)
    return result
