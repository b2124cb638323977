"""The best weights of a run: which metric chooses them, and how they are written."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from facesr.config.loss import LossConfig
from facesr.config.model import ModelConfig, Score
from facesr.config.train import TrainConfig
from facesr.errors import FacesrError
from facesr.metrics import METRICS
from facesr.models.base import SRNetwork
from facesr.training.run_folder import RunFolder
from facesr.training.validation import Table, Validator, mean_over_sets
from facesr.weights.find import find_weights
from facesr.weights.save import save_folder

# Of the best validation: its step, its mean values by metric, and which weights it was of, `ema` or `raw`.
# Empty before the first.
Best = dict[str, Any]


def chosen_by(best: Best) -> str:
    """Return the metric that chose the best weights: the one stored in addition to PSNR, else PSNR."""
    return next(iter(best.keys() - {"step", "psnr", "weights"}), "psnr")


def choose_best(scores: Mapping[str, Table], best: Best, *, by: str, step: int) -> Best:
    """Return the best validation so far: this one if it is better, else `best`.

    `scores` is kind of weights to validation set to scores. A `best` chosen by another metric is ignored.
    """
    merit = METRICS[by].merit
    means = {
        kind: {name: mean_over_sets(table, name) for name in (by, "psnr")} for kind, table in scores.items()
    }
    kind = max(means, key=lambda kind: merit(means[kind][by]))
    if best and chosen_by(best) == by and merit(means[kind][by]) <= merit(best[by]):
        return best
    return {"step": step, **means[kind], "weights": kind}


def write_best(
    folder: RunFolder,
    network: SRNetwork,
    config: TrainConfig,
    validator: Validator,
    best: Best,
    scores: Mapping[str, Table],
    *,
    patch_px: int,
) -> None:
    """Write `best/`, a weight folder with its model card. `patch_px` is in LQ pixels."""
    counts = {one.name: len(one.lq) for one in validator.sets}
    bicubic = validator.bicubic
    base, base_sha256 = _base_of(config)
    model = ModelConfig(
        # A folder may be called `..`, and its name may be bytes that are no text.
        name=folder.path.resolve().name.encode(errors="replace").decode(),
        arch=config.arch,
        args=dict(config.args),
        summary=f"{config.arch} trained by `facesr train` with the recipe `{config.recipe}`.",
        data=", ".join(map(str, config.data.train_hq))
        + ". The terms of this data"
        + (" and of the initial weights" if config.init else "")
        + " determine the licence of these weights.",
        degradation="Given pairs." if config.data.train_lq else ", ".join(config.data.degradation),
        training=f"{config.optim.method.capitalize()} with the loss {_describe(config.loss)}. "
        + f"These are the {'averaged' if best['weights'] == 'ema' else 'raw'} weights."
        + (f" The run started from {config.init}." if config.init else ""),
        base=base,
        base_sha256=base_sha256,
        iterations=best["step"],
        batch=config.batch,
        patch_px=patch_px,
        scores=tuple(
            Score(dataset=name, images=counts[name], psnr=values["psnr"], bicubic_psnr=bicubic[name]["psnr"])
            for name, values in scores[best["weights"]].items()
        ),
    )
    with folder.replacing_best() as target:
        save_folder(target, network.state_dict(), model)


def _base_of(config: TrainConfig) -> tuple[str, str]:
    """Return name and sha256 of what an adversary sharpened, by which `--sharpness` finds it."""
    if config.init is None or "gan" not in config.loss or not config.loss["gan"].counts:
        return "", ""
    with suppress(FacesrError):  # on a run that is resumed they may be gone
        start = find_weights(config.init).config
        if start and start.arch == config.arch:
            return (start.base, start.base_sha256) if start.base else (start.name, start.sha256)
    return "", ""


def _describe(losses: Mapping[Any, LossConfig]) -> str:
    """Return a sum of losses as text, such as `l1 + 0.1 psnr`."""
    return " + ".join(
        f"{name} by a share of {one.share:g}" if one.share
        else name if one.weight == 1
        else f"{one.weight:g} {name}"
        for name, one in losses.items()
        if one.counts
    )  # fmt: skip
