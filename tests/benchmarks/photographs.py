"""Measure restored faces in photographs: `python -m tests.benchmarks.photographs HQ SEEDS PRESET ...`.

Six aligned faces of the folder HQ, turned by up to 12 degrees, are put on a textured background of 2048x1280
px, which is degraded by each preset. For the whole image enlarged by the default model, and for the result
with faces restored, it prints the mean over faces of PSNR and SSIM inside their boxes, and how far the
points of the detector lie from those that it finds in HQ, in distances of the eyes.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import facesr
from facesr.faces.align import Similarity, sample
from facesr.metrics.fidelity import psnr, ssim
from tests.faces.sheets import texture

Array = NDArray[np.uint8]

HEIGHT, WIDTH = 1280, 2048
LQ_WIDTHS = (40, 56, 72, 88, 104, 120)  # of the faces
FACE = 0.47  # of the side of an aligned image, by the width of its face
MAX_ROLL = 12.0
CENTRE, HALF_AXES = (256, 270), (200, 240)  # of the ellipse that is cut out of 512 px


def main(hq: Path, seeds: int, *presets: str) -> None:
    """Print a line for each preset and seed, and their means."""
    files = sorted(hq.iterdir())
    photographs = [compose(files, seed) for seed in range(seeds)]
    points = [[face.points for face in facesr.find_faces(photograph)] for photograph in photographs]
    for preset in presets:
        lines = []
        for seed, photograph in enumerate(photographs):
            lq = facesr.degrade_image(Image.fromarray(photograph), preset, seed=seed)
            results = [enlarge(lq) for enlarge in (facesr.upscale_image, facesr.restore_faces)]
            lines.append([measure(np.asarray(result), photograph, points[seed]) for result in results])
            show(f"{preset} {seed}", lines[-1])
        show(f"{preset} mean", np.mean(lines, axis=0))


def compose(files: list[Path], seed: int) -> Array:
    """Return a photograph of six faces."""
    rng = np.random.default_rng(seed)
    sheet = texture(HEIGHT, WIDTH, seed=rng)
    grid = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=2).reshape(-1, 2) + 0.5
    for number, width in enumerate(LQ_WIDTHS):
        face = facesr.read_image(files[(seed * len(LQ_WIDTHS) + number) % len(files)]).rgb8
        roll = np.deg2rad(rng.uniform(-MAX_ROLL, MAX_ROLL))
        at = np.array([WIDTH / 6 * (number + 0.5), HEIGHT * (0.28 if number % 2 else 0.7)])
        turn = Similarity.turn(
            width * 4 / FACE / len(face) * np.exp(1j * roll), about=np.full(2, len(face) / 2), to=at
        )
        places = turn.inverse().apply(grid) * 512 / len(face)
        away = np.linalg.norm((places - CENTRE) / HALF_AXES, axis=1).reshape(HEIGHT, WIDTH, 1)
        mask = np.clip((1 - away) / 0.1, 0, 1)
        sheet += mask * (sample(face, turn, height=HEIGHT, width=WIDTH) - sheet)
    return sheet.round().clip(0, 255).astype(np.uint8)


def measure(result: Array, photograph: Array, places: list[NDArray[np.float64]]) -> list[float]:
    """Return mean PSNR and SSIM inside faces, and the mean distance of points."""
    found = [face.points for face in facesr.find_faces(result)]
    rows = []
    for points in places:
        eyes = np.linalg.norm(points[1] - points[0])
        (left, top), (right, bottom) = (points.mean(0) + eyes * side for side in (-1.3, 1.3))
        box = np.s_[int(top) : int(bottom), int(left) : int(right)]
        pair = [torch.from_numpy(image[box].copy()).permute(2, 0, 1)[None] for image in (result, photograph)]
        away = min(np.linalg.norm(other - points, axis=1).mean() for other in found) / eyes
        rows.append((float(psnr(*pair)), float(ssim(*pair)), min(away, 1.0)))
    return [float(value) for value in np.mean(rows, axis=0)]


def show(title: str, both: Any) -> None:
    """Print the figures of the whole image and of the result with faces restored."""
    names = ("PSNR", "SSIM", "points")
    texts = [f"{name} {before:.4f} -> {after:.4f}" for name, before, after in zip(names, *both, strict=True)]
    print(f"{title}: {', '.join(texts)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
