"""The training objective: a sum of losses, each with its weight."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge

from facesr.config.build import merge
from facesr.config.fields import Config, Count, Decay, Positive, WholeNumber, key
from facesr.errors import ConfigError

LossName = Literal[
    "l1",
    "charbonnier",
    "mse",
    "psnr",
    "pooled",
    "phase",
    "dots",
    "repeats",
    "ldl",
    "texture",
    "stlpips_alex",
    "stlpips_vgg",
    "gan",
]
DiscriminatorKind = Literal["haar", "unet"]


@dataclass(frozen=True, kw_only=True)
class LossConfig(Config):
    """One loss of the sum."""

    weight: Annotated[float, Ge(0)] = key("Factor in the sum. 0 leaves the loss out.", default=1.0)
    share: Annotated[float, Ge(0)] = key(
        "Norm of its gradient on the result relative to that of the weighted losses. Replaces the weight.",
        default=0.0,
    )
    cap: Annotated[float, Ge(0)] = key(
        "Largest weight that a share may come to. 0 sets no limit.", default=0.0
    )
    start: WholeNumber = key("Step from which the loss counts.", default=0)
    part_px: WholeNumber = key(
        "Side of the random part of each result that the loss sees. 0 takes all of it.", default=0
    )
    target: Literal["hq", "sharpened"] = key(
        "Image to compare with: HQ, or HQ sharpened as in Real-ESRGAN, which costs PSNR.",
        default="hq",
    )

    def __post_init__(self) -> None:
        if self.cap and not self.share:
            raise ConfigError("`cap` limits a `share`, which is not given")

    @property
    def counts(self) -> bool:
        return self.weight > 0


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig(Config):
    """The discriminator of the loss `gan`, which learns to tell results from HQ images."""

    kind: DiscriminatorKind = key(
        "haar: small, sees the finest detail apart. unet: Real-ESRGAN's, scores each pixel.", default="haar"
    )
    features: Count = key("Channels of the discriminator.", default=32)
    learning_rate: Positive = key("Learning rate of the discriminator's Adam. It is constant.", default=4e-4)
    betas: tuple[Decay, Decay] = key("Decay rates of the discriminator's Adam.", default=(0.5, 0.99))


def has_old_losses(tree: Mapping[str, Any]) -> bool:
    """Return whether a tree of `TrainConfig` has the keys `optim.loss` or `optim.usm_target`, now gone."""
    optim = tree.get("optim")
    return isinstance(optim, Mapping) and not optim.keys().isdisjoint({"loss", "usm_target"})


def translate_losses(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Replace `optim.loss` and `optim.usm_target` in a tree of `TrainConfig` by the table `loss`.

    `optim.loss` named the only loss, so it replaces the whole table. `optim.usm_target` alone only changes
    the target that the losses of the table compare with.
    """
    table = tree.get("loss", {})
    if not has_old_losses(tree) or not isinstance(table, Mapping):
        return dict(tree)
    optim = dict(tree["optim"])
    name, sharpened = optim.pop("loss", None), optim.pop("usm_target", None)
    targets = {entry.get("target") for entry in table.values() if isinstance(entry, Mapping)}
    if sharpened is None:
        sharpened = "sharpened" in targets
    known = (table or {"l1": {}}) if name is None else {str(name): {}}
    target = {"target": "sharpened" if sharpened else "hq"}
    return {**tree, "optim": optim, "loss": merge([known, dict.fromkeys(known, target)])}
