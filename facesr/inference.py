"""Running a loaded model on pictures."""

from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from facesr.errors import ImageError
from facesr.image import Array, from_pil, to_pil
from facesr.models import SRNetwork
from facesr.weights.load import Model

Kind = TypeVar("Kind", Image.Image, Array, Tensor)


@torch.inference_mode()
def enlarge(network: SRNetwork, lq: Tensor) -> Tensor:
    """Run the network on any size, padding to its multiple and cropping the result.

    Args:
        network: On the device of `lq`.
        lq: (B, 3, h, w) fp32 in [0, 1].

    Returns:
        (B, 3, 4h, 4w) fp32, not clamped.
    """
    height, width = lq.shape[-2:]
    multiple = network.multiple_of
    pad = (0, -width % multiple, 0, -height % multiple)
    out: Tensor = network(F.pad(lq, pad, mode="replicate") if any(pad) else lq)
    return out[..., : height * network.scale, : width * network.scale]


@torch.inference_mode()
def enlarge_pixels(network: SRNetwork, pixels: Tensor, device: torch.device) -> Tensor:
    """Enlarge 8-bit pictures of one size, rounding half to even as the metrics do.

    Args:
        network: In evaluation mode.
        pixels: (B, h, w, 3) uint8, anywhere.
        device: Where the network lies.

    Returns:
        (B, 4h, 4w, 3) uint8 on the device.
    """
    pixels = pixels.to(device, non_blocking=True)
    # Interleaved pixels seen as (B, 3, h, w) are in the channels-last layout that convolutions like.
    out = enlarge(network, pixels.permute(0, 3, 1, 2).float().div(255))
    return out.mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def upscale_image(image: Kind, model: Model) -> Kind:
    """Enlarge one picture, or a batch of them, four times.

    Args:
        image: A Pillow image of any mode, an (h, w, 3) uint8 RGB array, or a (B, 3, h, w) float RGB tensor
            in [0, 1].
        model: From `facesr.load_model`.

    Returns:
        The same kind: a Pillow image (L, LA, RGB or RGBA, upright), a (4h, 4w, 3) uint8 array, or a
        (B, 3, 4h, 4w) tensor in [0, 1] of the input's dtype and device.

    Raises:
        ImageError: Another type, shape or dtype.
    """
    if isinstance(image, Image.Image):
        picture = from_pil(image)
        return to_pil(picture.enlarged(upscale_image(picture.rgb, model)))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ImageError(f"expected an (h, w, 3) uint8 array, found {image.shape} {image.dtype}")
        pixels = torch.from_numpy(np.stack([image]))
        return enlarge_pixels(model.network, pixels, model.device)[0].cpu().numpy()
    if isinstance(image, Tensor):
        if not image.is_floating_point() or image.ndim != 4 or image.shape[1] != 3 or image.numel() == 0:
            raise ImageError(
                f"expected a (B, 3, h, w) float tensor, found {tuple(image.shape)} {image.dtype}"
            )
        lq = image.to(model.device, torch.float32, memory_format=torch.channels_last)
        return enlarge(model.network, lq).clamp(0, 1).to(image.device, image.dtype)
    raise ImageError(f"expected a Pillow image, an array or a tensor, found {type(image).__name__}")
