"""`facesr models`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from facesr.cli.console import Console
from facesr.cli.options import config_options
from facesr.config.model import ModelConfig
from facesr.config.models import ModelsConfig
from facesr.results import ModelFacts
from facesr.workflows import models as workflow

EXAMPLES = (
    "facesr models",
    "facesr models RealESRGAN_x4plus.pth",
    "facesr models weights/ runs/ --json",
)


@config_options(ModelsConfig)
def models(config: ModelsConfig, console: Console) -> None:
    """List the bundled models and those in the Hub's cache, or describe the weights that you name."""
    if not config.models and not config.file:
        _show_list(workflow.list_models(), console)
        return
    with console.progress() as reporter:
        result = workflow.describe_models(config, reporter)
    console.data(asdict(result), (model.file for model in result.models))
    if result.models and not console.json and not console.quiet:
        columns = ("name", "network", "scale", "params", "mult-\nadds", "tiling", "precision", "licence")
        console.table(columns, map(_facts, result.models))
    done = len(result.models)
    console.end(f"{done} read, {len(result.failed)} failed", failed=result.failed, done=done)


def _facts(model: ModelFacts) -> Sequence[str]:
    code = f", code {model.code_license}" if model.code_license else ""
    return (
        model.name,
        model.arch,
        f"{model.scale}x",
        *_sizes(model),
        model.tiling,
        ", ".join(model.precisions),
        (model.license or "unknown") + code,
    )


def _show_list(found: Sequence[ModelConfig], console: Console) -> None:
    console.data([asdict(model) for model in found], (model.name for model in found))
    if not console.json and not console.quiet:
        columns = ("name", "params", "mult-\nadds", "licence", "scored on", "gain,\ndB")
        console.table(columns, (row for model in found for row in _rows(model)))


def _rows(model: ModelConfig) -> Iterator[tuple[str, ...]]:
    first: tuple[str, ...] = (model.name, *_sizes(model), model.license or "unknown")
    for score in [(score.dataset, f"{score.gain:+.2f}") for score in model.scores] or [("", "")]:
        yield (*first, *score)
        first = ("", "", "", "")


def _sizes(model: ModelConfig | ModelFacts) -> tuple[str, str]:
    """Return parameters and multiply-adds as text, empty if unknown."""
    parameters, multiply_adds = model.parameters, model.multiply_adds
    return (
        f"{parameters / 1e6:.2f} M" if parameters else "",
        f"{multiply_adds / 1e9:.1f} G" if multiply_adds else "",
    )
