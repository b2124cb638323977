"""Running a loaded model on images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facesr.config.model import DEFAULT_MODEL
from facesr.device import fp32_arithmetic, is_out_of_memory
from facesr.errors import ImageError
from facesr.images.image import Array, ImageData, Pixels, to_pil
from facesr.images.read import from_pil
from facesr.inference.tiling import enlarge_by_tiles, enlarge_by_windows, starts
from facesr.models.base import SRNetwork, Window, enlarge
from facesr.transfer import Arrival, host_empty, send_to_device, send_to_host
from facesr.weights.load import Model, load_model

# The largest value of an image by its type: of 8 bits, of 16, and of as many as fp32 tells apart near 1.
_PEAKS = {torch.uint8: 255, torch.int32: 65_535, torch.float32: 2**24}


# A larger tile wastes less on its halo; features of this one take about 300 MB.
_TILE_PX, _SMALLEST_TILE_PX = 512, 16
# Windows of a large image that a device computes in one pass. On the CPU they gain nothing together.
_WINDOWS = 32

# For each network, input size and type, and asked tile: what was small enough after memory had run out.
_fitting: WeakKeyDictionary[SRNetwork, dict[tuple[object, ...], "_Pieces"]] = WeakKeyDictionary()

AnyImage = TypeVar("AnyImage", Image.Image, ImageData, Array, Tensor)


@dataclass(frozen=True)
class _Pieces:
    """How a stack of images is cut up so that each pass fits in memory."""

    at_once: int  # images in one pass, or windows of one image
    tile: int  # images with larger sides, LQ px, are computed in pieces; 0 if none are


def _first_pieces(network: SRNetwork, pixels: Tensor, device: torch.device, tile: int | None) -> _Pieces:
    """Return the largest pieces to try."""
    side = piece_side(network) if tile is None else tile
    if not side or max(pixels.shape[1:3]) <= side:
        return _Pieces(len(pixels), 0)
    multiple = network.traits.size.multiple_of  # pieces begin where the network's own grid does
    return _Pieces(_windows_at_once(network, pixels, device), max(multiple, side - side % multiple))


def _windows_at_once(network: SRNetwork, pixels: Tensor, device: torch.device) -> int:
    view = network.traits.view
    if not isinstance(view, Window) or device.type == "cpu":
        return 1
    return min(_WINDOWS, len(starts(pixels.shape[2], view.px)))


@torch.inference_mode()
def _enlarge_in_pieces(network: SRNetwork, pixels: Tensor, device: torch.device, pieces: _Pieces) -> Arrival:
    scale, view = network.traits.scale, network.traits.view
    count, height, width = pixels.shape[:3]
    peak = _PEAKS[pixels.dtype]
    stays = pixels.device.type != "cpu"
    pixels = pixels.to(device) if stays else send_to_device(pixels, device)
    if not pieces.tile and pieces.at_once >= count:
        whole = _run_rounded(network, pixels).contiguous()
        return Arrival(whole) if stays else send_to_host(whole)
    shape = (count, height * scale, width * scale, 3)
    out = pixels.new_empty(shape) if stays else host_empty(shape, pixels.dtype, device)
    arrival = Arrival(out)
    if not pieces.tile:
        for part, target in zip(*(torch.split(t, pieces.at_once) for t in (pixels, out)), strict=True):
            arrival = Arrival(out, send_to_host(_run_rounded(network, part), target).event)
        return arrival
    for picture, target in zip(pixels, out, strict=True):
        if isinstance(view, Window):
            run = partial(_run, network)
            at_once = pieces.at_once
            bands = enlarge_by_windows(run, picture, window=view.px, scale=scale, peak=peak, at_once=at_once)
        else:
            run = partial(_run_rounded, network)
            bands = enlarge_by_tiles(run, picture, tile=pieces.tile, margin=view.px, scale=scale)
        top = 0
        for band in bands:
            rows = target[top : top + band.shape[0]]
            arrival = Arrival(out, send_to_host(band, rows).event)  # copies arrive in order
            top += band.shape[0]
    return arrival


def enlarge_pixels(
    network: SRNetwork, pixels: Tensor, device: torch.device, *, tile: int | None = None
) -> Arrival:
    """Enlarge images of one size. Results are rounded half to even, as in the metrics.

    If memory runs out, half the batch is tried, then smaller pieces. Pieces are halved. For a network with a
    global view, they are its windows. The next images of this size start with what worked.

    Args:
        network: Network in evaluation mode.
        pixels: (B, h, w, 3), uint8, int32 for 16 bits, or float32 from 0 to 2**24.
        device: Device of the network.
        tile: Largest side, in LQ px, to process in one piece. 0 means any size, None lets the network decide.
            Larger images are computed in tiles of this side. A network with a global view uses windows of its
            trained size instead.

    Returns:
        (B, scale h, scale w, 3) of the same dtype. If the pixels came from the CPU it is being copied there,
        else it is on the device.

    Raises:
        ImageError: Nothing smaller is left to try.
    """
    known = _fitting.setdefault(network, {})
    key = (*pixels.shape[1:3], pixels.dtype, tile)
    pieces = known.get(key) or _first_pieces(network, pixels, device, tile)
    has_failed = False
    while True:
        try:
            arrival = _enlarge_in_pieces(network, pixels, device, pieces)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            if has_failed:
                known[key] = pieces
            return arrival
        # Past the handler, since the exception holds on to the tensors of its frames.
        has_failed = True
        pieces = _smaller(network, pixels, device, pieces)
        if device.type == "cuda":
            torch.cuda.empty_cache()  # what cuDNN and other processes lack may lie in PyTorch's own reserve


def _smaller(network: SRNetwork, pixels: Tensor, device: torch.device, pieces: _Pieces) -> _Pieces:
    count, height, width = pixels.shape[:3]
    at_once = pieces.at_once if pieces.tile else min(pieces.at_once, count)
    if at_once > 1:
        return _Pieces((at_once + 1) // 2, pieces.tile)
    side, view = pieces.tile or max(height, width), network.traits.view
    smaller = side // 2
    if isinstance(view, Window):
        smaller = view.px if not pieces.tile and view.px < side else 0
    if smaller < _SMALLEST_TILE_PX:
        raise ImageError(f"{width}x{height} needs more memory than {device} has")
    return _Pieces(_windows_at_once(network, pixels, device), smaller)


def piece_side(network: SRNetwork) -> int:
    """Return the side of the pieces in which larger images are computed, in LQ px."""
    view = network.traits.view
    return view.px if isinstance(view, Window) else _TILE_PX


def _run(network: SRNetwork, pixels: Tensor) -> Tensor:
    """Enlarge (B, h, w, 3) pixels to (B, scale h, scale w, 3) float in the same range, on their device."""
    peak = _PEAKS[pixels.dtype]
    # Interleaved pixels seen as (B, 3, h, w) are in the channels-last layout that convolutions like.
    lq = pixels.permute(0, 3, 1, 2).to(torch.float32, copy=True).div_(peak)
    return enlarge(network, lq).mul(peak).clamp_(0, peak).permute(0, 2, 3, 1)


def _run_rounded(network: SRNetwork, pixels: Tensor) -> Tensor:
    return _run(network, pixels).round_().to(pixels.dtype)


def start_enlarging(model: Model, images: Sequence[Pixels], *, tile: int | None = None) -> Arrival:
    """Start to enlarge (h, w, 3) images of one size and dtype, uint8 or uint16. Pass the result to `take`."""
    stack = np.stack(images)
    pixels = torch.from_numpy(stack.astype(np.int32) if stack.dtype == np.uint16 else stack)
    return _start(model, pixels, tile=tile)


def _start(model: Model, pixels: Tensor, *, tile: int | None = None) -> Arrival:
    with fp32_arithmetic(model.device, tf32=model.tf32):
        return enlarge_pixels(model.network, pixels, model.device, tile=tile)


def take(arrival: Arrival) -> Any:
    """Wait for the result of `start_enlarging`: (B, scale h, scale w, 3) of the images' dtype."""
    pixels = arrival.wait().numpy()
    return pixels.astype(np.uint16) if pixels.dtype == np.int32 else pixels


@cache
def default_model() -> Model:
    return load_model(DEFAULT_MODEL)


def upscale_image(image: AnyImage, model: Model | None = None) -> AnyImage:
    """Enlarge one image, or a batch of images, by the network's scale.

    Args:
        image: A Pillow image of any mode, what `read_image` returns, an (h, w, 3) uint8 RGB array, or a (B,
            3, h, w) float RGB tensor in [0, 1].
        model: Model from `facesr.load_model`. By default the bundled model, which is loaded once.

    Returns:
        The same kind of image as the input. A Pillow image is L, LA, RGB, RGBA or I;16, upright, with profile
        and EXIF in its `info`. An array is (scale h, scale w, 3) uint8. A tensor is (B, 3, scale h, scale w)
        in [0, 1], with the dtype and device of the input.

    Raises:
        ImageError: Another type, shape or dtype, a Pillow image that cannot be decoded, or memory runs out.
    """
    model = model or default_model()
    if isinstance(image, Image.Image):
        return to_pil(upscale_image(from_pil(image), model))
    if isinstance(image, ImageData):
        return image.enlarged(take(start_enlarging(model, [image.rgb]))[0])
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ImageError(f"expected an (h, w, 3) uint8 array, found {image.shape} {image.dtype}")
        enlarged: Array = take(start_enlarging(model, [image]))[0]
        return enlarged
    if isinstance(image, Tensor):
        if not image.is_floating_point() or image.ndim != 4 or image.shape[1] != 3 or image.numel() == 0:
            raise ImageError(
                f"expected a (B, 3, h, w) float tensor, found {tuple(image.shape)} {image.dtype}"
            )
        peak = _PEAKS[torch.float32]
        pixels = image.detach().permute(0, 2, 3, 1).to(torch.float32).contiguous() * peak
        out = _start(model, pixels).wait().permute(0, 3, 1, 2)
        return out.div(peak).to(image.device, image.dtype)  # divided, it is a tensor like any other
    raise ImageError(f"expected a Pillow image, an array or a tensor, found {type(image).__name__}")
