"""Building blocks that networks share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """A block that adds the result of its last convolution to its input."""

    @property
    def last(self) -> nn.Conv2d:
        """The convolution whose result is added."""
        *_, last = self.children()
        assert isinstance(last, nn.Conv2d)
        return last


class ResidualBlock(Residual):
    """Two 3x3 convolutions without normalisation: `x + res_scale * conv2(relu(conv1(x)))`."""

    def __init__(self, *, features: int, res_scale: float = 1.0) -> None:
        super().__init__()
        self.res_scale = res_scale
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.conv2(F.relu(self.conv1(x), inplace=True)), alpha=self.res_scale)
