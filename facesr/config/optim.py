"""The optimiser and its learning rate."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from facesr.config.fields import Config, Count, Decay, Positive, WholeNumber, key, opt

Method = Literal["adam", "muon"]


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Config):
    """The optimiser and its learning rate."""

    learning_rate: Positive = opt(
        2e-4, "Peak learning rate.", panel="Training", shown_default="by the recipe", flag="--lr"
    )
    method: Method = key(
        "adam, or muon for all kernels but the first and the last, and Adam for the rest.", default="adam"
    )
    betas: tuple[Decay, Decay] = key("Adam's decay rates.", default=(0.9, 0.99))
    periods: tuple[Count, ...] = key(
        "Iterations of each cosine cycle. Without it, one cycle spans the run.", default=()
    )
    learning_rate_floor: Annotated[float, Ge(0)] = key("Learning rate at the end of a cycle.", default=1e-7)
    warmup: WholeNumber = key("Iterations over which the learning rate rises from 0.", default=0)
    ema_decay: Annotated[float, Ge(0), Le(1)] = key(
        "Decay of the running average of the weights.", default=0.999
    )
    ema_warmup: bool = key(
        "Let the average follow closely at first: decay (1 + n) / (10 + n) at step n, up to `ema_decay`.",
        default=False,
    )
    clip_norm: Annotated[float, Ge(0)] = key("Largest norm of the gradient. 0 does not clip.", default=0.0)
    accumulate: Count = key("Parts that a batch is computed in, to save memory.", default=1)
