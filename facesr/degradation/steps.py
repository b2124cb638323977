"""The kinds of steps: how each one draws its parameters and applies them.

Parameters are plain JSON values, drawn without looking at the image. Saving them is enough to repeat a
degradation.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facesr.config.steps import Align, Blur, Fit, Jpeg, Noise, Place, Resize, Shrink, Sinc
from facesr.degradation.jpeg import jpeg
from facesr.degradation.kernels import filter2d, gaussian_kernel, sinc_kernel
from facesr.degradation.noise import add_gaussian_noise, add_poisson_noise
from facesr.degradation.placement import align, canvas_size, place
from facesr.errors import ImageError
from facesr.images.image import MAX_PIXELS
from facesr.transfer import send_to_device

Params = dict[str, Any]
# What a step `align` needs to know of the step `place` that it undoes.
PLACEMENT = ("scale", "angle", "shift")

_SMALL_KERNEL_PX = 13
# The largest images may become twice as wide and high on the way.
_MAX_PX = 4 * MAX_PIXELS


@dataclass(frozen=True)
class Sizes:
    """(height, width) of the HQ image and of the result, in pixels."""

    hq: tuple[int, int]
    lq: tuple[int, int]


@dataclass(frozen=True)
class Step:
    """A kind of step: draws parameters from its configuration, and applies them to (B, 3, h, w).

    If `changes_size`, the first image's parameters are used for the whole batch.
    """

    draw: Callable[[Any, Random], Params]
    apply: Callable[[Tensor, Sequence[Params], Sizes], Tensor]  # images about in [0, 1]
    changes_size: bool = False


def _draw_blur(config: Blur, random: Random) -> Params:
    size = _odd(config.sizes_px, random)
    if random.random() < config.sinc_chance:
        cutoff = config.cutoff_small if size < _SMALL_KERNEL_PX else config.cutoff
        return {"family": "sinc", "size_px": size, "cutoff": math.pi * random.uniform(*cutoff)}
    family = random.choices(list(config.families), list(config.families.values()))[0]
    across = random.uniform(*config.sigma)
    params: Params = {"family": family, "size_px": size, "sigma": [across, across]}
    if family.endswith("aniso"):
        params["sigma"][1] = random.uniform(*config.sigma)
        params["angle"] = random.uniform(-math.pi, math.pi)
    if family.startswith("generalized"):
        params["beta"] = _beta(config.beta_generalized, random)
    elif family.startswith("plateau"):
        params["beta"] = _beta(config.beta_plateau, random)
    return params


def _draw_sinc(config: Sinc, random: Random) -> Params:
    size = _odd(config.sizes_px, random)
    return {"family": "sinc", "size_px": size, "cutoff": math.pi * random.uniform(*config.cutoff)}


def _apply_filter(images: Tensor, each: Sequence[Params], sizes: Sizes) -> Tensor:
    # Whoever drew them may have computed the kernels too, to spare the process that applies them.
    kernels = [
        torch.as_tensor(params["kernel"]) if "kernel" in params else kernel_of(params) for params in each
    ]
    side = max(len(kernel) for kernel in kernels)
    alike = [F.pad(kernel, [(side - len(kernel)) // 2] * 4) for kernel in kernels]
    return filter2d(images, send_to_device(torch.stack(alike)[:, None], images.device))


def kernel_of(params: Params) -> Tensor:
    """Return the (k, k) kernel of a step `blur` or `sinc`."""
    if params["family"] == "sinc":
        return sinc_kernel(size=params["size_px"], cutoff=params["cutoff"])
    size, sigma = params["size_px"], params["sigma"]
    shape = {name: params[name] for name in ("angle", "beta") if name in params}
    return gaussian_kernel(params["family"], size=size, sigma=sigma, **shape)


def _odd(sizes_px: tuple[int, int], random: Random) -> int:
    low, high = sizes_px
    return random.randrange(low | 1, high + 1, 2)


def _beta(bounds: tuple[float, float], random: Random) -> float:
    low, high = bounds
    return random.uniform(low, 1) if random.random() < 0.5 else random.uniform(1, high)


def _draw_resize(config: Resize, random: Random) -> Params:
    low, high = config.scale
    kind = random.choices(["up", "down", "keep"], [config.up, config.down, config.keep])[0]
    scale = {"up": random.uniform(1, high), "down": random.uniform(low, 1), "keep": 1.0}[kind]
    return {"kind": kind, "scale": scale, "of": config.of, "mode": random.choice(config.modes)}


def _draw_shrink(config: Shrink, random: Random) -> Params:
    return {"divisor": random.uniform(*config.divisor), "mode": random.choice(config.modes)}


def _draw_fit(config: Fit, random: Random) -> Params:
    return {"to": config.to, "mode": random.choice(config.modes), "antialias": config.antialias}


def _apply_resize(images: Tensor, each: Sequence[Params], sizes: Sizes) -> Tensor:
    params = each[0]
    if params["of"] == "lq":
        return _resize(images, [side * params["scale"] for side in sizes.lq], mode=params["mode"])
    _check_size([side * params["scale"] for side in images.shape[-2:]])
    # The factor itself, not the rounded size, sets the sampling positions.
    scale, align = params["scale"], None if params["mode"] == "area" else False
    if min(math.floor(side * scale) for side in images.shape[-2:]) < 1:
        return _resize(images, [1, 1], mode=params["mode"])
    return F.interpolate(images, scale_factor=scale, mode=params["mode"], align_corners=align)


def _apply_shrink(images: Tensor, each: Sequence[Params], sizes: Sizes) -> Tensor:
    params = each[0]
    size = [side / params["divisor"] for side in images.shape[-2:]]
    return _resize(images, size, mode=params["mode"])


def _apply_fit(images: Tensor, each: Sequence[Params], sizes: Sizes) -> Tensor:
    params = each[0]
    size = sizes.hq if params["to"] == "hq" else sizes.lq
    return _resize(images, size, mode=params["mode"], antialias=params["antialias"])


def _resize(images: Tensor, size: Sequence[float], *, mode: str, antialias: bool = False) -> Tensor:
    """Resize (B, C, H, W) to (height, width), rounded down, but at least 1 px a side."""
    _check_size(size)
    target = [max(1, int(side)) for side in size]
    align = None if mode == "area" else False
    return F.interpolate(images, size=target, mode=mode, align_corners=align, antialias=antialias)


def _check_size(size: Sequence[float]) -> None:
    if math.prod(size) > _MAX_PX:
        raise ImageError(
            f"a step would make it {size[1]:.0f}x{size[0]:.0f}, more than {_MAX_PX:,} pixels",
            hint="lower the `scale`, or raise the `divisor`, of the degradation's steps",
        )


def _draw_noise(config: Noise, random: Random) -> Params:
    gaussian = random.random() < config.gaussian_chance
    params: Params = {"kind": "gaussian" if gaussian else "poisson"}
    params |= {"sigma": random.uniform(*config.sigma)} if gaussian else {}
    params |= {} if gaussian else {"scale": random.uniform(*config.poisson_scale)}
    return params | {"grey": random.random() < config.grey_chance, "seed": random.getrandbits(53)}


def _apply_noise(images: Tensor, each: Sequence[Params], sizes: Sizes) -> Tensor:
    # For one image a seed means the same on any device. Noise of a batch is drawn where the batch is.
    generator = torch.Generator(images.device if len(each) > 1 else "cpu").manual_seed(each[0]["seed"])
    groups: dict[tuple[str, bool], list[int]] = {}
    for index, params in enumerate(each):
        groups.setdefault((params["kind"], params["grey"]), []).append(index)
    for (kind, grey), indices in groups.items():
        name = "sigma" if kind == "gaussian" else "scale"
        values = torch.tensor([each[index][name] for index in indices], dtype=torch.float64)
        add = add_gaussian_noise if kind == "gaussian" else add_poisson_noise
        options: dict[str, Any] = {name: values, "grey": grey, "generator": generator}
        images = apply_to(images, indices, partial(add, **options))
    return images


def apply_to(
    images: Tensor, indices: Sequence[int], function: Callable[..., Tensor], *arguments: Any
) -> Tensor:
    """Apply a function to some images of a batch. Unless it gets all of them, it must keep their size."""
    if len(indices) == len(images):
        return function(images, *arguments)
    index = send_to_device(torch.tensor(indices), images.device)
    return images.index_copy(0, index, function(images.index_select(0, index), *arguments))


def _draw_jpeg(config: Jpeg, random: Random) -> Params:
    params: Params = {"quality": random.uniform(*config.quality)}
    if config.ahead_of and random.random() < config.ahead_chance:
        params["ahead_of"] = config.ahead_of
    return params


def _apply_jpeg(images: Tensor, each: Sequence[Params], sizes: Sizes) -> Tensor:
    quality = torch.tensor([params["quality"] for params in each], dtype=torch.float64)
    # Blurs, resizes and sinc filters can overshoot; a file cannot.
    return jpeg(images.clamp(0, 1), quality=quality)


def _draw_place(config: Place, random: Random) -> Params:
    low, high = (math.log(scale) for scale in config.scale)
    return {
        "scale": math.exp(random.uniform(low, high)),
        "angle": random.uniform(*config.angle),
        "shift": [random.uniform(*config.shift) for _ in "xy"],
    }


def _apply_place(images: Tensor, each: Sequence[Params], sizes: Sizes) -> Tensor:
    params = each[0]
    placement = {name: params[name] for name in PLACEMENT}
    scale = params["scale"]
    _check_size(canvas_size(sizes.hq, scale=scale, angle=params["angle"]))
    # What rounding to whole pixels adds or takes is made up for when it is turned.
    face = _resize(images, [round(side * scale) for side in sizes.hq], mode="bicubic", antialias=True)
    return place(face, sizes.hq, **placement)


def _draw_align(config: Align, random: Random) -> Params:
    return {"undoes": config.undoes, "mode": random.choice(config.modes)}


def _apply_align(images: Tensor, each: Sequence[Params], sizes: Sizes) -> Tensor:
    params = each[0]
    placement = {name: params[name] for name in PLACEMENT}
    return align(images, sizes.hq, sizes.lq, mode=params["mode"], **placement)


# To add a kind: its configuration in `facesr.config.steps`, its two functions here, and a line below.
STEPS: dict[str, Step] = {
    "blur": Step(_draw_blur, _apply_filter),
    "sinc": Step(_draw_sinc, _apply_filter),
    "resize": Step(_draw_resize, _apply_resize, changes_size=True),
    "shrink": Step(_draw_shrink, _apply_shrink, changes_size=True),
    "fit": Step(_draw_fit, _apply_fit, changes_size=True),
    "noise": Step(_draw_noise, _apply_noise),
    "jpeg": Step(_draw_jpeg, _apply_jpeg),
    "place": Step(_draw_place, _apply_place, changes_size=True),
    "align": Step(_draw_align, _apply_align, changes_size=True),
}
