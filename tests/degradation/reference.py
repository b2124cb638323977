"""The degradation, written down plainly: one picture at a time, step by step, no shortcut.

It takes the parameters that facesr drew, and noise from the same generator, and shares no other code with it:
kernels by explicit rotation matrices, direct 21x21 filtering, levels counted by `unique`, JPEG by `scipy`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special
from torch import Tensor

LUMA = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
]
CHROMA = [[99.0] * 8 for _ in range(8)]
for _row, _values in enumerate(([17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99])):
    CHROMA[_row][:4] = [float(v) for v in _values]


def degrade(image: Tensor, drawn: list[dict[str, Any]], *, scale: int = 4) -> list[Tensor]:
    """Return the picture (1, 3, H, W) after each step, and last after rounding."""
    height, width = image.shape[-2:]
    lq, hq = (height // scale, width // scale), (height, width)
    results = []
    for p in drawn:
        image = one_step(image, p, hq=hq, lq=lq)
        results.append(image)
    results.append((image * 255).round().clamp(0, 255) / 255)
    return results


def one_step(image: Tensor, p: dict[str, Any], *, hq: tuple[int, int], lq: tuple[int, int]) -> Tensor:
    kind = p["type"]
    if kind in {"blur", "sinc"}:
        return correlate(image, kernel_of(p))
    if kind == "resize" and p["of"] == "lq":
        return interpolate(image, p["mode"], size=(int(lq[0] * p["scale"]), int(lq[1] * p["scale"])))
    if kind == "resize":
        return interpolate(image, p["mode"], scale_factor=p["scale"])
    if kind == "shrink":
        size = (int(image.shape[2] / p["divisor"]), int(image.shape[3] / p["divisor"]))
        return interpolate(image, p["mode"], size=size)
    if kind == "fit":
        size = hq if p["to"] == "hq" else lq
        return interpolate(image, p["mode"], size=size, antialias=p["antialias"])
    if kind == "noise":
        return noisy(image, p)
    if kind == "place":
        return placed(image, p, hq)
    if kind == "align":
        return aligned(image, p, hq, lq)
    assert kind == "jpeg"
    return compress(image.clamp(0, 1), p["quality"])


def interpolate(image: Tensor, mode: str, **target: Any) -> Tensor:
    return F.interpolate(image, mode=mode, align_corners=None if mode == "area" else False, **target)


def canvas(p: dict[str, Any], hq: tuple[int, int]) -> tuple[int, int, float, float, np.ndarray]:
    """Return the photograph's width and height, the face's middle in it, and the rotation of the face."""
    turn = math.radians(p["angle"])
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    width, height = (math.ceil(side) + 33 for side in np.abs(rotation) @ np.array(hq[::-1]) * p["scale"])
    return width, height, width / 2 - 0.5 + p["shift"][0], height / 2 - 0.5 + p["shift"][1], rotation


def placed(image: Tensor, p: dict[str, Any], hq: tuple[int, int]) -> Tensor:
    width, height, middle_x, middle_y, rotation = canvas(p, hq)
    size = (max(1, round(hq[0] * p["scale"])), max(1, round(hq[1] * p["scale"])))
    face = interpolate(image, "bicubic", size=size, antialias=True)
    places = np.empty((height, width, 2))
    for i in range(height):
        for j in range(width):
            x, y = rotation.T @ np.array([j + 0.5 - middle_x, i + 0.5 - middle_y]) / p["scale"]  # HQ px
            places[i, j] = (x / hq[1] + 0.5) * size[1] - 0.5, (y / hq[0] + 0.5) * size[0] - 0.5
    return sampled(face, places, "bicubic")


def aligned(image: Tensor, p: dict[str, Any], hq: tuple[int, int], lq: tuple[int, int]) -> Tensor:
    _, _, middle_x, middle_y, rotation = canvas(p, hq)
    places = np.empty((*lq, 2))
    for i in range(lq[0]):
        for j in range(lq[1]):
            x, y = ((j + 0.5) / lq[1] - 0.5) * hq[1], ((i + 0.5) / lq[0] - 0.5) * hq[0]
            places[i, j] = rotation @ np.array([x, y]) * p["scale"] + [middle_x - 0.5, middle_y - 0.5]
    return sampled(image, places, p["mode"])


def sampled(image: Tensor, places: np.ndarray, mode: str) -> Tensor:
    """Interpolate at (x, y) of `places`, in pixels from the middle of the first; outside is mirrored."""
    pixels = image[0].double().numpy()
    reach = range(2) if mode == "bilinear" else range(-1, 3)
    first = np.floor(places).astype(int)
    result = np.zeros((3, *places.shape[:2]))
    for dy in reach:
        for dx in reach:
            weight = np.ones(places.shape[:2])
            taps = []
            for axis, step in enumerate((dx, dy)):
                tap = first[..., axis] + step
                weight *= np.vectorize(linear if mode == "bilinear" else cubic)(places[..., axis] - tap)
                side = pixels.shape[2 - axis]
                tap = tap % (2 * side)
                taps.append(np.where(tap < side, tap, 2 * side - 1 - tap))
            result += weight * pixels[:, taps[1], taps[0]]
    return torch.tensor(result[None], dtype=torch.float32)


def linear(x: float) -> float:
    return max(0.0, 1 - abs(x))


def cubic(x: float, a: float = -0.75) -> float:
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def kernel_of(p: dict[str, Any]) -> Tensor:
    size = p["size_px"]
    radius = size // 2
    kernel = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            x, y = j - radius, i - radius
            if p["family"] == "sinc":
                r, w = math.hypot(x, y), p["cutoff"]
                kernel[i, j] = w * special.j1(w * r) / (2 * math.pi * r) if r else w * w / (4 * math.pi)
                continue
            sigma = p["sigma"] if p["family"].endswith("aniso") else [p["sigma"][0]] * 2
            angle = p.get("angle", 0.0)
            turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            inverse = np.linalg.inv(turn @ np.diag(np.square(sigma)) @ turn.T)
            q = float(np.array([x, y]) @ inverse @ np.array([x, y]))
            if p["family"].startswith("plateau"):
                kernel[i, j] = 1 / (q ** p["beta"] + 1)
            else:
                kernel[i, j] = math.exp(-0.5 * q ** p.get("beta", 1.0))
    kernel /= kernel.sum()
    pad = max(0, 21 - size) // 2
    return torch.tensor(np.pad(kernel, pad), dtype=torch.float32)


def correlate(image: Tensor, kernel: Tensor) -> Tensor:
    radius = kernel.shape[0] // 2
    padded = F.pad(image, (radius,) * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(3, 1, *kernel.shape), groups=3)


def noisy(image: Tensor, p: dict[str, Any]) -> Tensor:
    generator = torch.Generator().manual_seed(p["seed"])
    batch, channels, height, width = image.shape
    if p["kind"] == "gaussian":
        shape = (batch, 1 if p["grey"] else channels, height, width)
        return (image + p["sigma"] / 255 * torch.randn(shape, generator=generator)).clamp(0, 1)
    signal = image
    if p["grey"]:
        signal = 0.2989 * image[:, :1] + 0.587 * image[:, 1:2] + 0.114 * image[:, 2:]
    signal = (signal * 255).round().clamp(0, 255) / 255
    photons = 2 ** math.ceil(math.log2(len(torch.unique(signal))))
    noise = torch.poisson(signal * photons, generator=generator) / photons - signal
    return (image + p["scale"] * noise).clamp(0, 1)


COSINES = np.array([[math.cos((2 * x + 1) * u * math.pi / 16) for x in range(8)] for u in range(8)])
COSINES *= np.array([math.sqrt(1 / 8)] + [1 / 2] * 7)[:, None]


def compress(image: Tensor, quality: float) -> Tensor:
    height, width = image.shape[2:]
    bottom, right = -height % 16, -width % 16
    r, g, b = F.pad(image, (0, right, 0, bottom))[0].numpy() * np.float32(255)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    cb = -0.168736 * r - 0.331264 * g + 0.5 * b + 128
    cr = 0.5 * r - 0.418688 * g - 0.081312 * b + 128
    factor = (5000 / quality if quality < 50 else 200 - 2 * quality) / 100
    y = blocks(y, np.array(LUMA).T * factor)
    cb, cr = (
        np.kron(blocks(halve(plane), np.array(CHROMA) * factor), np.ones((2, 2))) - 128 for plane in (cb, cr)
    )
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb])
    out = torch.tensor(rgb[None, :, :height, :width], dtype=torch.float32)
    return out.clamp(0, 255) / 255


def halve(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    return plane.reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def blocks(plane: np.ndarray, table: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    cut = plane.reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3) - 128
    coefficients = np.einsum("ux,abxy,vy->abuv", COSINES, cut, COSINES, optimize=True)
    restored = np.round(coefficients / table) * table
    out = np.einsum("ux,abuv,vy->abxy", COSINES, restored, COSINES, optimize=True) + 128
    return out.transpose(0, 2, 1, 3).reshape(height, width)
