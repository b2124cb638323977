from dataclasses import asdict

from facesr.cli.console import Console
from facesr.cli.options import Json, Quiet
from facesr.config import ModelConfig
from facesr.weights.locate import bundled_models

EPILOG = """Examples:

facesr models

facesr models --json"""


def models(json: Json = False, quiet: Quiet = False) -> None:
    """List the models that come with facesr."""
    console = Console(json=json, quiet=quiet)
    bundled = bundled_models()
    if console.json:
        console.document([asdict(model) for model in bundled])
    elif console.quiet:
        console.lines(model.name for model in bundled)
    else:
        columns = ("name", "parameters", "multiply-adds", "licence", "gain over bicubic")
        console.table(columns, map(_row, bundled))


def _row(model: ModelConfig) -> tuple[str, ...]:
    gains = "\n".join(f"{score.gain:+.2f} dB on {score.dataset}" for score in model.scores)
    parameters, adds = f"{model.parameters / 1e6:.2f} M", f"{model.multiply_adds / 1e9:.1f} G"
    return (model.name, parameters, adds, model.license, gains)
