"""`facesr models`: lists the models on this machine, and describes weights of any kind."""

from pathlib import Path

from facesr.config.model import ModelConfig
from facesr.config.models import ModelsConfig
from facesr.errors import FacesrError, WeightsError
from facesr.events import Failure, Reporter
from facesr.results import ModelFacts, ModelsResult
from facesr.weights.find import WeightFiles, bundled_models, cached_models, find_weights, list_weights


def list_models() -> list[ModelConfig]:
    """Return the configurations of the bundled models and of those in the Hub's cache."""
    return bundled_models() + cached_models()


def describe_models(config: ModelsConfig, reporter: Reporter | None = None) -> ModelsResult:
    """Read weights and return their facts. Files that cannot be read are listed as failed.

    Raises:
        ConfigError: No such model, or a folder without any.
    """
    reporter = reporter or Reporter()
    failed: list[Failure] = []

    def fail(name: str, error: FacesrError) -> None:
        failed.append(Failure(Path(name), error.message.removeprefix(f"{name}: "), error.hint))

    found: list[tuple[str, WeightFiles]] = []
    for name in (one for model in (*config.models, *config.file) for one in list_weights(model)):
        try:
            found.append((name, find_weights(name)))
        except WeightsError as error:
            fail(name, error)
    facts: list[ModelFacts] = []
    reporter.begin(len(found), "models")
    for name, files in found:
        from facesr.weights.describe import describe

        try:
            facts.append(describe(files))
        except FacesrError as error:
            fail(name, error)
        reporter.advance()
    return ModelsResult(tuple(facts), tuple(failed))
