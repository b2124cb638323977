"""Adversarial training: a discriminator that learns alongside the network, and its verdict as a loss."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from facesr.config.loss import DiscriminatorConfig
from facesr.training.discriminators import DISCRIMINATORS


class Adversary:
    """A discriminator that learns to tell results from their HQ (relativistic, Jolicoeur-Martineau 2019)."""

    def __init__(self, config: DiscriminatorConfig, device: torch.device) -> None:
        self.network: nn.Module = DISCRIMINATORS[config.kind](features=config.features).to(device).train()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._parameters = list(self.network.parameters())
        if dist.is_initialized():
            for tensor in self.network.state_dict().values():
                dist.broadcast(tensor, 0)
        self._optimizer = torch.optim.Adam(self._parameters, lr=config.learning_rate, betas=config.betas)

    def loss(self, result: Tensor, hq: Tensor) -> Tensor:
        """Return how much less real results look than HQ. It is ln 2 if they look equally real."""
        return self._compare(hq, result, learning=False)

    def learn(self, result: Tensor, hq: Tensor) -> Tensor:
        """Take one optimiser step of the discriminator. Return its loss, ln 2 if it sees no difference."""
        loss = self._compare(result.detach(), hq, learning=True)
        gradients = torch.autograd.grad(loss, self._parameters)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            if dist.is_initialized():
                dist.all_reduce(gradient)
                gradient /= dist.get_world_size()
            parameter.grad = gradient
        self._optimizer.step()
        return loss.detach()

    def _compare(self, low: Tensor, high: Tensor, *, learning: bool) -> Tensor:
        """Return the mean of softplus(score of `low` - score of `high`)."""
        self.network.requires_grad_(learning)
        both = self.network(torch.cat([low, high]))
        losses = [F.softplus(torch.sub(*scores.float().chunk(2))).mean() for scores in both]
        return torch.stack(losses).mean()

    def state(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
