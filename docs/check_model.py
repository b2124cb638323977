"""Measure what scores do not tell: `python docs/check_model.py MODEL HQ LQ [LQ ...]`.

For each LQ folder, whose pictures are named as their truths:

- colour: how far the mean of any channel is from that of the bicubic enlargement, in levels of 255, and how
  far both are from the truth;
- grid: the mean difference of neighbouring pixels at each of the four phases of 4x, largest over smallest.
  Smooth estimates from few pixels differ most where those meet, bicubic ones by nearly a half;
- groups: how much more PSNR over bicubic the darkest third of the faces gained than the lightest, by the
  individual typology angle of the truth's middle (light in the picture counts too), with a 95 % interval.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab

import facesr
from facesr.data.pairs import Matching, list_hq, list_pairs
from facesr.images.image import bicubic
from facesr.images.read import read_image
from facesr.metrics import measure

Array = NDArray[np.uint8]
LEVELS = 1.0
RESAMPLES = 10_000


def main(name: str, hq: Path, *folders: Path) -> None:
    """Print a line for each measure of each folder."""
    model = facesr.load_model(name)
    listed = list_hq(hq, hint="name an existing path")
    for folder in folders:
        pairs = list_pairs(folder, listed, scale=4, matching=Matching(), hint="name an existing path")
        lq, truths = ([read_image(path).rgb8 for path in paths] for paths in (pairs.lq, pairs.hq))
        inputs = [bicubic(pixels, height=4 * len(pixels), width=4 * pixels.shape[1]) for pixels in lq]
        results = [np.asarray(facesr.upscale_image(pixels, model)) for pixels in lq]
        print(folder)
        print("  colour:", colour(results, inputs, truths))
        worst = [max(map(grid, pictures)) for pictures in (results, inputs, truths)]
        print("  grid: {:.3f} at most, bicubic {:.3f}, truths {:.3f}".format(*worst))
        gains = np.array(
            [
                psnr(result, truth) - psnr(start, truth)
                for result, start, truth in zip(results, inputs, truths, strict=True)
            ]
        )
        print("  groups:", groups(gains, np.array([typology_angle(truth) for truth in truths])))


def colour(results: list[Array], inputs: list[Array], truths: list[Array]) -> str:
    """Compare mean colours, by the channel that differs most."""
    away = np.array([shift(result, start) for result, start in zip(results, inputs, strict=True)])
    to_truth = np.array([shift(result, truth) for result, truth in zip(results, truths, strict=True)])
    before = np.array([shift(start, truth) for start, truth in zip(inputs, truths, strict=True)])
    far = away > LEVELS
    return (
        f"{away.mean():.2f} from bicubic on average, {away.max():.2f} at most, above {LEVELS} for {far.sum()}"
        f" of {len(far)}, of which {(to_truth < before)[far].sum()} are nearer to the truth than bicubic;"
        f" from the truth {to_truth.mean():.2f}, bicubic {before.mean():.2f}"
    )


def shift(one: Array, other: Array) -> float:
    """Return the difference of the mean colours, of the channel where it is largest."""
    return float(np.abs(one.mean((0, 1)) - other.mean((0, 1))).max())


def grid(pixels: Array) -> float:
    """Return the largest over the smallest mean difference of neighbours, by their place in the 4x4 grid."""
    grey = pixels.astype(np.float64).mean(2)
    steps = [np.abs(np.diff(plane, axis=1)) for plane in (grey, grey.T)]
    phases = [np.mean([step[:, phase::4].mean() for step in steps]) for phase in range(4)]
    return float(max(phases) / min(phases))


def typology_angle(truth: Array) -> float:
    """Return the angle of the median colour of the face's middle, in degrees; lighter is larger."""
    height, width = truth.shape[:2]
    middle = truth[height * 45 // 100 : height * 75 // 100, width * 30 // 100 : width * 70 // 100]
    lightness, _, yellow = np.median(rgb2lab(middle).reshape(-1, 3), axis=0)
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))


def groups(gains: NDArray[np.float64], angles: NDArray[np.float64]) -> str:
    """Compare the thirds with the smallest and the largest angles."""
    order = np.argsort(angles)
    third = len(order) // 3
    darkest, lightest = gains[order[:third]], gains[order[-third:]]
    rng = np.random.default_rng(0)
    draws = [rng.choice(darkest, third).mean() - rng.choice(lightest, third).mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(draws, [2.5, 97.5])
    difference = darkest.mean() - lightest.mean()
    return f"darkest minus lightest {third}: {difference:+.2f} dB ({low:+.2f} to {high:+.2f})"


def psnr(one: Array, other: Array) -> float:
    """Return the PSNR of a picture."""
    return measure(one, other, names=("psnr",))["psnr"]


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
