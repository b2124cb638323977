"""From a configuration and a seed to a degraded image, in two parts: draw parameters, then apply them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facesr.config.presets import DEFAULT_SCALE
from facesr.config.steps import Degradation, degradation_preset
from facesr.degradation.kernels import usm_sharpen
from facesr.degradation.steps import PLACEMENT, STEPS, Params, Sizes, apply_to
from facesr.errors import ConfigError, ImageError
from facesr.images.image import Array
from facesr.images.read import from_pil

AnyImage = TypeVar("AnyImage", Image.Image, Array)


def derive_seed(seed: int, name: str, copy: int = 0) -> int:
    """Return the seed of one sample, from the run's seed, the image's path below its folder and the copy."""
    text = f"{seed}\0{name}\0{copy}"
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).digest()  # a name may be any bytes
    return int.from_bytes(digest[:6], "big")


def draw(config: Degradation, seed: int) -> list[Params]:
    """Draw all parameters of one sample.

    Returns:
        One entry for each step that runs, in order: its name under `step`, its kind under `type`, and its
        parameters. All are JSON values.
    """
    random = Random(seed)  # noqa: S311 (not for secrets)
    drawn: list[Params] = []
    for name, step in config.steps.items():
        if random.random() >= step.chance:
            continue
        params = {"step": name, "type": step.kind, **STEPS[step.kind].draw(step, random)}
        names = [other["step"] for other in drawn]
        if undone := params.get("undoes"):
            if undone not in names:
                continue  # the face was not placed
            params |= {key: drawn[names.index(undone)][key] for key in PLACEMENT}
        ahead_of = params.pop("ahead_of", None)
        position = names.index(ahead_of) if ahead_of in names else len(drawn)
        drawn.insert(position, params)
    if config.usm_source:
        drawn.insert(0, {"step": "usm_source", "type": "usm"})
    return drawn


def draw_together(config: Degradation, seeds: Sequence[int]) -> list[dict[int, Params]]:
    """Draw the parameters of several images that are degraded as one batch.

    The first image's draw decides the order of the steps and the sizes and modes of resizes and placements,
    so that all images keep the same size. Everything else is drawn for each image.

    Returns:
        For each step, in order, its parameters by the index of the image.
    """
    drawn = [{params["step"]: params for params in draw(config, seed)} for seed in seeds]
    order = list(drawn[0])
    names = list(config.steps)
    shared = {name for name in names if STEPS[config.steps[name].kind].changes_size} | {"usm_source"}
    for position, name in enumerate(names):
        if name in order or name in shared or not any(name in one for one in drawn):
            continue
        before = [order.index(other) + 1 for other in names[:position] if other in order]
        order.insert(before[-1] if before else int(config.usm_source), name)
    return [
        {
            index: (drawn[0] if name in shared else one)[name]
            for index, one in enumerate(drawn)
            if name in shared or name in one
        }
        for name in order
    ]


def apply(images: Tensor, drawn: Iterable[Params], *, scale: int = DEFAULT_SCALE) -> Tensor:
    """Apply drawn steps to one image, (1, 3, H, W). Everything else is as in `apply_together`."""
    return apply_together(images, [{0: params} for params in drawn], scale=scale)


def apply_together(
    images: Tensor, steps: Iterable[Mapping[int, Params]], *, scale: int = DEFAULT_SCALE
) -> Tensor:
    """Apply steps, with parameters by the index of the image, to a batch of images.

    Args:
        images: (B, 3, H, W) in [0, 1], on any device. `scale` must divide H and W.
        steps: As `draw_together` returns them.
        scale: How many times smaller the result is.

    Returns:
        (B, 3, H/scale, W/scale) in [0, 1], in multiples of 1/255, on the same device.

    Raises:
        ConfigError: The steps do not end at that size.
    """
    height, width = images.shape[-2:]
    sizes = Sizes(hq=(height, width), lq=(height // scale, width // scale))
    for each in steps:
        params = list(each.values())
        if params[0]["type"] == "usm":
            images = usm_sharpen(images)
        else:
            images = apply_to(images, list(each), STEPS[params[0]["type"]].apply, params, sizes)
    if tuple(images.shape[-2:]) != sizes.lq:
        raise ConfigError(
            f"the degradation ends at {images.shape[-2]}x{images.shape[-1]}, not {sizes.lq[0]}x{sizes.lq[1]}",
            hint='add a step `kind = "fit"`, `to = "lq"` near its end',
        )
    return images.mul(255).round_().clamp_(0, 255).div_(255)


@torch.inference_mode()
def degrade_pixels(pixels: Array, drawn: Iterable[Params], *, scale: int = DEFAULT_SCALE) -> Array:
    """Apply drawn steps to an (H, W, 3) uint8 image whose sides are multiples of `scale`."""
    images = torch.from_numpy(np.stack([pixels])).permute(0, 3, 1, 2).float().div_(255)
    out = apply(images.contiguous(), drawn, scale=scale)
    return out[0].mul(255).round_().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def degrade_image(
    image: AnyImage, config: Degradation | str = "default", seed: int = 0, *, scale: int = DEFAULT_SCALE
) -> AnyImage:
    """Make the LQ image of an HQ image.

    Args:
        image: A Pillow image of any mode, or an (H, W, 3) uint8 RGB array. If `scale` does not divide a side,
            the image is cropped at the right or bottom.
        config: A degradation, or the name of a preset.
        seed: Random seed. The same seed gives the same result.
        scale: How many times smaller the result is.

    Returns:
        A Pillow image or an array, like the input, in RGB.

    Raises:
        ConfigError: There is no preset of this name.
        ImageError: An array of another shape or dtype, or an image smaller than one LQ pixel.
    """
    if isinstance(image, Image.Image):
        return Image.fromarray(degrade_image(from_pil(image).rgb8, config, seed, scale=scale))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise ImageError("expected a Pillow image or an (H, W, 3) uint8 array")
    if isinstance(config, str):
        config = degradation_preset(config)
    return degrade_pixels(crop_to_multiple(image, scale), draw(config, seed), scale=scale)


def crop_to_multiple(pixels: Array, scale: int) -> Array:
    """Crop at the right and bottom so that `scale` divides both sides. Too small images are an error."""
    height, width = (side - side % scale for side in pixels.shape[:2])
    if not height or not width:
        raise ImageError(f"{pixels.shape[1]}x{pixels.shape[0]} is smaller than one pixel at 1/{scale}")
    return pixels[:height, :width]
