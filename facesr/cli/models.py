"""`facesr models`."""

from collections.abc import Iterator
from dataclasses import asdict

from facesr.cli.console import Console
from facesr.cli.options import Json, Quiet
from facesr.config.model import ModelConfig
from facesr.weights.find import bundled_models

EXAMPLES = ("facesr models", "facesr models --json")


def models(json: Json = False, quiet: Quiet = False) -> None:
    """List the models that come with facesr, with their gain in PSNR over bicubic."""
    console = Console(json=json, quiet=quiet)
    bundled = bundled_models()
    console.data([asdict(model) for model in bundled], (model.name for model in bundled))
    if not json and not quiet:
        columns = ("name", "params", "mult-\nadds", "licence", "scored on", "gain,\ndB")
        console.table(columns, (row for model in bundled for row in _rows(model)))


def _rows(model: ModelConfig) -> Iterator[tuple[str, ...]]:
    first: tuple[str, ...] = (
        model.name,
        f"{model.parameters / 1e6:.2f} M",
        f"{model.multiply_adds / 1e9:.1f} G",
        model.license,
    )
    for score in [(score.dataset, f"{score.gain:+.2f}") for score in model.scores] or [("", "")]:
        yield (*first, *score)
        first = ("", "", "", "")
