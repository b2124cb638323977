"""`facesr eval`."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from facesr.cli.console import Console
from facesr.cli.options import config_options
from facesr.config.evaluate import EvalConfig
from facesr.reports.scores import EvalResult
from facesr.reports.statistics import Summary
from facesr.workflows import evaluate as workflow

EPILOG = """Examples:

facesr eval --hq val/hq --lq val/lq

facesr eval --hq val/hq --lq val/lq --model faceunet --model runs/mine/best --report report.html

facesr eval --hq val/hq --sr other_tool_output/ --sr-suffix _out --lq val/lq

facesr eval --hq val/hq --lq val/lq --protocol basicsr-y --json > scores.json"""


@config_options(EvalConfig)
def evaluate(config: EvalConfig, console: Console) -> None:
    """Score restored pictures against the truth, beside bicubic."""
    with console.progress() as reporter:
        result = workflow.evaluate(config, reporter)
    if console.json:
        console.document(document(result))
    elif console.quiet:
        console.lines(result.written)
    else:
        columns = ("", "metric", "mean", "95 % interval", "median", "deviation")
        console.table(columns, _rows(result))
    console.failures(result.failed)
    console.summary(_summary(result))
    console.exit_code(failed=len(result.failed), done=len(result.images))


def document(result: EvalResult) -> dict[str, Any]:
    """Return the result as JSON takes it: no infinities, identical pictures marked."""
    images = [
        {
            "file": image.file,
            "identical": any(math.isinf(row["psnr"]) for row in image.scores.values()),
            "scores": {
                method: {metric: value if math.isfinite(value) else None for metric, value in row.items()}
                for method, row in image.scores.items()
            },
        }
        for image in result.images
    ]
    return {
        "protocol": {
            **asdict(result.protocol),
            "rounding": "8-bit",
            "mean_of": "images",
            "images": len(images),
        },
        "methods": [asdict(method) for method in result.methods],
        "summaries": {
            method: {metric: asdict(summary) for metric, summary in table.items()}
            for method, table in result.summaries.items()
        },
        "differences": [asdict(paired) for paired in result.differences],
        "worst": result.worst,
        "images": images,
        "failed": [asdict(failure) for failure in result.failed],
        "written": result.written,
    }


def _rows(result: EvalResult) -> Iterator[tuple[str, ...]]:
    for method, table in result.summaries.items():
        for metric, summary in table.items():
            yield (method, metric.upper(), *_cells(summary, digits=2 if metric == "psnr" else 4))
    for paired in result.differences:
        yield (f"{paired.first} over {paired.second}", "PSNR", *_cells(paired.difference, digits=2, sign="+"))


def _cells(summary: Summary, *, digits: int, sign: str = "") -> tuple[str, ...]:
    def write(value: float | None, sign: str = sign) -> str:
        return "-" if value is None else f"{value:{sign}.{digits}f}"

    interval = f"{write(summary.low)} to {write(summary.high)}" if summary.low is not None else "-"
    return (write(summary.mean), interval, write(summary.median), write(summary.std, ""))


def _summary(result: EvalResult) -> str:
    lines = [f"{result.protocol}, {len(result.images)} images, {len(result.failed)} failed"]
    for method in result.methods:
        if method.sha256:
            lines.append(f"{method.name}: sha256 {method.sha256[:16]}, {method.device}, {method.dtype}")
    lines.append(f"worst of {result.subject}: {', '.join(result.worst)}")
    return "\n".join(lines)
