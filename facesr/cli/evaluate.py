"""`facesr eval`."""

from facesr.cli.console import Console
from facesr.cli.options import config_options
from facesr.config.evaluate import EvalConfig
from facesr.reports.scores import SUMMARY_COLUMNS, EvalResult, explain_directions, json_document, summary_rows
from facesr.workflows import evaluate as workflow

EXAMPLES = (
    "facesr eval --hq val/hq --lq val/lq",
    "facesr eval --hq val/hq --lq val/lq --model faceunet --model runs/mine/best --report report.html",
    "facesr eval --hq val/hq --sr other_tool_output/ --sr-suffix _out --lq val/lq",
    "facesr eval --hq val/hq --lq val/lq --protocol basicsr-y --json > scores.json",
)


@config_options(EvalConfig)
def evaluate(config: EvalConfig, console: Console) -> None:
    """Compare restored images with the ground truth, and with bicubic."""
    with console.progress() as reporter:
        result = workflow.evaluate(config, reporter)
    console.data(json_document(result), result.written)
    if not console.json and not console.quiet:
        console.table(SUMMARY_COLUMNS, summary_rows(result))
    console.end(*_summary(result), failed=result.failed, done=len(result.images))


def _summary(result: EvalResult) -> list[str]:
    lines = [f"{result.protocol}, {len(result.images)} images, {len(result.failed)} failed"]
    for method in result.methods:
        if method.sha256:
            lines.append(f"{method.name}: sha256 {method.sha256[:16]}, {method.device}, {method.dtype}")
    lines += explain_directions(result)
    if result.worst:
        lines.append(f"worst of {result.subject}: {', '.join(result.worst)}")
    return lines
