"""Scoring a network on validation pairs during training."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from facesr.data.pairs import PairSet
from facesr.data.reading import read_pair
from facesr.errors import ConfigError
from facesr.images.image import Array, ImageData, bicubic
from facesr.images.write import write_image
from facesr.inference.enlarge import enlarge_pixels
from facesr.metrics import METRICS, Scores, measure, measure_batch
from facesr.models.base import SRNetwork

# The PSNR of a result without any error is infinite, and would be that of its whole set.
_HIGHEST_DB = 100.0

_BATCH = 16  # images that CUDA restores and scores together

Table = dict[str, Scores]  # mean scores by validation set


def mean_over_sets(table: Table, metric: str) -> float:
    """Return the mean of a metric over validation sets."""
    return sum(scores[metric] for scores in table.values()) / len(table)


def mean_scores(scores: Iterable[Scores]) -> Scores:
    """Return the mean of each metric over images. A PSNR above 100 dB counts as 100 dB."""
    table = list(scores)
    return {name: float(np.mean([min(row[name], _HIGHEST_DB) for row in table])) for name in table[0]}


@dataclass(frozen=True)
class Validator:
    """Sets of validation pairs, with the scores of bicubic on each."""

    sets: tuple[PairSet, ...]
    bicubic: Table
    metrics: tuple[str, ...]  # PSNR, SSIM, what the best weights are chosen by, and what is watched
    metric_weights: Path | None = None  # folder of the weights of ST-LPIPS, None for the installed package

    @classmethod
    def prepare(
        cls,
        sets: Iterable[PairSet],
        *,
        best_by: str = "psnr",
        also: Iterable[str] = (),
        metric_weights: Path | None = None,
    ) -> "Validator":
        """Score bicubic once on each set and on the metrics in `also`.

        Raises:
            ConfigError: `best_by` cannot rank weights, or has no value on these images.
        """
        if not METRICS[best_by].has_best:
            raise ConfigError(
                f"`best_by` is {best_by}, of which neither high nor low values are better",
                hint="choose another metric, such as `--set best_by=niqe`",
            )
        sets, metrics = tuple(sets), tuple(dict.fromkeys(("psnr", "ssim", best_by, *also)))
        baseline = {
            one.name: mean_scores(
                measure(enlarge_like(lq, hq), hq, names=metrics, weights=metric_weights)
                for lq, hq in (read_pair(one, index) for index in range(len(one.lq)))
            )
            for one in sets
        }
        for name, scores in baseline.items():
            if math.isnan(scores[best_by]):
                raise ConfigError(
                    f"`best_by` is {best_by}, which has no value for some images of {name}",
                    hint="choose another metric, such as `--set best_by=psnr`",
                )
        return cls(sets, baseline, metrics, metric_weights)

    def score(
        self, network: SRNetwork, device: torch.device, *, check: Callable[[], None] = lambda: None
    ) -> Table:
        """Return the network's mean scores by set. `check` runs before each batch, and may raise to stop."""

        def score_pairs(pairs: PairSet) -> Iterator[Scores]:
            images = (read_pair(pairs, index) for index in range(len(pairs.lq)))
            for group in _of_one_size(images, _BATCH if device.type == "cuda" else 1):
                check()
                lq, hq = (torch.from_numpy(np.stack(each)).to(device) for each in zip(*group, strict=True))
                result = enlarge_pixels(network, lq, device).wait()
                prediction, target = (pixels.permute(0, 3, 1, 2) for pixels in (result, hq))
                yield from measure_batch(prediction, target, names=self.metrics, weights=self.metric_weights)

        training = network.training
        network.eval()
        try:
            return {one.name: mean_scores(score_pairs(one)) for one in self.sets}
        finally:
            network.train(training)

    def write_samples(self, network: SRNetwork, device: torch.device, target: Path, *, count: int) -> None:
        """Write a sheet with LQ, bicubic, result and ground truth of the first faces of each set."""
        rows = []
        for one in self.sets:
            for index in range(min(count, len(one.lq))):
                lq, hq = read_pair(one, index)
                blocky = np.asarray(Image.fromarray(lq).resize(hq.shape[1::-1], Image.Resampling.NEAREST))
                row = [blocky, enlarge_like(lq, hq), restore(network, lq, device), hq]
                rows.append(np.concatenate(row, axis=1))
        width = max(row.shape[1] for row in rows)
        padded = [np.pad(row, [(0, 0), (0, width - row.shape[1]), (0, 0)]) for row in rows]
        write_image(target, ImageData(rgb=np.concatenate(padded)))


def _of_one_size(pairs: Iterable[tuple[Array, Array]], count: int) -> Iterator[list[tuple[Array, Array]]]:
    """Group consecutive pairs of one size, at most `count` of them."""
    for _, alike in groupby(pairs, key=lambda pair: (pair[0].shape, pair[1].shape)):
        while group := list(islice(alike, count)):
            yield group


def enlarge_like(pixels: Array, hq: Array) -> Array:
    """Enlarge to the size of the HQ image by bicubic."""
    return bicubic(pixels, height=hq.shape[0], width=hq.shape[1])


def restore(network: SRNetwork, pixels: Array, device: torch.device) -> Array:
    """Enlarge one 8-bit image with a network in evaluation mode."""
    out = enlarge_pixels(network, torch.from_numpy(np.stack([pixels])), device)
    return out.wait()[0].numpy()
