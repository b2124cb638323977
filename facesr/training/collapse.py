"""Signs that training against an adversary has failed, from which more steps do not recover."""

import math
from collections.abc import Mapping

from facesr.errors import RunError
from facesr.metrics import Scores

_STEPS = 200
_NEAR = 0.003  # to ln 2, the loss of a discriminator that sees no difference

_GRID_DB = 20.0  # a ground truth has about 3
GRIDS = ("grid_4", "grid_8")


class CollapseWatch:
    """Looks at each step's losses and at each validation's scores, and raises `RunError` at such a sign."""

    def __init__(self) -> None:
        self._blind = 0  # steps in a row

    def see_step(self, losses: Mapping[str, float]) -> None:
        """Take in the losses of a step by name. Without a discriminator nothing happens."""
        loss = losses.get("discriminator", 0.0)
        self._blind = self._blind + 1 if abs(loss - math.log(2)) < _NEAR else 0
        if self._blind >= _STEPS:
            raise RunError(
                f"the discriminator has seen no difference for {_STEPS} steps, its loss is {loss:.3f}",
                hint="start again from the last weights with `--init`, a lower `loss.gan.cap` or a higher"
                " `discriminator.learning_rate`",
            )

    def see_validation(self, scores: Mapping[str, Scores]) -> None:
        """Take in mean scores by validation set, among them those named in `GRIDS`."""
        for dataset, row in scores.items():
            for name in GRIDS:
                if row[name] > _GRID_DB:  # not if it is not a number, as for small images
                    period = name.removeprefix("grid_")
                    raise RunError(
                        f"the results on {dataset} repeat every {period} px, by {row[name]:.0f} dB",
                        hint="start again from earlier weights with `--init` and a higher `loss.phase.share`",
                    )
