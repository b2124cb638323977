"""A network asked twice."""

from torch import Tensor

from facesr.models.base import SRNetwork


class FlipEnsemble(SRNetwork):
    """The mean of a network's results for a picture and for its mirror image, mirrored back."""

    def __init__(self, network: SRNetwork) -> None:
        super().__init__()
        self.traits = network.traits
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        plain: Tensor = self.network(x)
        mirrored: Tensor = self.network(x.flip(-1))
        return (plain + mirrored.flip(-1)) / 2
