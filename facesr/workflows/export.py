"""`facesr export`: writes a model as a file for other programs."""

from facesr.config.export import ExportConfig
from facesr.errors import ConfigError
from facesr.events import Reporter
from facesr.results import ExportResult
from facesr.weights.find import find_model


def export(config: ExportConfig, reporter: Reporter | None = None) -> ExportResult:
    """Write a model as one ONNX file, for any batch size and image size.

    Raises:
        FacesrError: No such model, unusable weights, the extra `onnx` is not installed, or a file that exists
            or cannot be written.
    """
    config = config.resolved()
    files = find_model(config.model, blend=config.blend, sharpness=config.sharpness)
    if config.output.exists() and not config.overwrite:
        raise ConfigError(f"{config.output} exists", hint="`--overwrite` replaces it")
    from facesr.models.onnx import export_onnx
    from facesr.weights.load import read_network

    network, model, sha256 = read_network(files)
    if files.note and reporter:
        reporter.warn(files.note)
    scale = str(network.traits.scale)
    facts = {"name": model.name, "license": model.license, "sha256": sha256, "scale": scale}
    export_onnx(network.requires_grad_(False).eval(), config.output, facts=facts)
    return ExportResult(config.output, model.name, config.output.stat().st_size)
