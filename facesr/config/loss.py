"""What training lowers: a sum of losses, each with its weight."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge

from facesr.config.build import merge
from facesr.config.fields import Config, key

LossName = Literal["l1", "charbonnier", "mse", "psnr", "phase"]


@dataclass(frozen=True, kw_only=True)
class LossConfig(Config):
    """One loss of the sum."""

    weight: Annotated[float, Ge(0)] = key("Its factor in the sum. 0 leaves it out.", default=1.0)
    target: Literal["hq", "sharpened"] = key(
        "What the result is compared with: HQ, or HQ sharpened as Real-ESRGAN does, which costs PSNR.",
        default="hq",
    )


def has_old_losses(tree: Mapping[str, Any]) -> bool:
    """Tell whether a tree of `TrainConfig` holds `optim.loss` or `optim.usm_target`, as earlier ones did."""
    optim = tree.get("optim")
    return isinstance(optim, Mapping) and not optim.keys().isdisjoint({"loss", "usm_target"})


def translate_losses(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of `TrainConfig` with the table `loss` instead of `optim.loss` and `optim.usm_target`.

    `optim.loss` named the only loss, so it takes the place of a table. `optim.usm_target` alone changes what
    the losses of a table are compared with.
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
