"""Facts about a model, read from its weights."""

from facesr.device import DTYPES
from facesr.models import count_multiply_adds, count_parameters
from facesr.models.foreign import ForeignNetwork
from facesr.results import ModelFacts
from facesr.weights.find import WeightFiles
from facesr.weights.load import read_network
from facesr.weights.read import read_license


def describe(files: WeightFiles) -> ModelFacts:
    """Read, check and build a network, and return its facts.

    Raises:
        WeightsError: As for `read_network`.
    """
    network, config, _ = read_network(files)
    traits = network.traits
    try:
        multiply_adds = count_multiply_adds(network)
    except RuntimeError:  # a network of other authors whose way depends on values
        multiply_adds = 0
    return ModelFacts(
        name=config.name,
        file=files.tensors,
        arch=config.arch,
        scale=traits.scale,
        parameters=count_parameters(network),
        multiply_adds=multiply_adds,
        tiling="whole" if traits.face_px else str(traits.view),
        precisions=tuple(name for name, dtype in DTYPES.items() if dtype in traits.dtypes and name != "tf32"),
        license=config.license or read_license(files.tensors),
        code_license=network.code_license if isinstance(network, ForeignNetwork) else "",
    )
