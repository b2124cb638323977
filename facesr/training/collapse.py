"""Detects signs that adversarial training has failed in a way that more steps do not repair."""

import math
from collections.abc import Mapping

from facesr.errors import RunError
from facesr.metrics import Scores

_STEPS = 200
_NEAR = 0.003  # to ln 2, the loss of a discriminator that sees no difference

_GRID_DB = 20.0  # a ground truth has about 3
GRIDS = ("grid_4", "grid_8")


class CollapseWatch:
    """Checks each step's losses and each validation's scores. Raises `RunError` at such a sign."""

    def __init__(self) -> None:
        self._blind = 0  # steps in a row

    def see_step(self, losses: Mapping[str, float]) -> None:
        """Check the losses of a step, by name. Without a discriminator this does nothing."""
        loss = losses.get("discriminator", 0.0)
        self._blind = self._blind + 1 if abs(loss - math.log(2)) < _NEAR else 0
        if self._blind >= _STEPS:
            raise RunError(
                f"the discriminator has seen no difference for {_STEPS} steps, its loss is {loss:.3f}",
                hint="start again from the last weights with `--init`, a lower `loss.gan.cap` or a higher"
                " `discriminator.learning_rate`",
            )

    def see_validation(self, scores: Mapping[str, Scores]) -> None:
        """Check mean scores by validation set. They must include the metrics in `GRIDS`."""
        for dataset, row in scores.items():
            for name in GRIDS:
                if row[name] > _GRID_DB:  # not if it is not a number, as for small images
                    period = name.removeprefix("grid_")
                    raise RunError(
                        f"the results on {dataset} repeat every {period} px, by {row[name]:.0f} dB",
                        hint="start again from earlier weights with `--init` and a higher `loss.phase.share`",
                    )
