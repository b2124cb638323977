"""HQ images in the device's memory, and making pairs from them there, one chunk at a time.

Worker processes only draw plans: views, factors, parameters and kernels. These have a hundredth of the
images' bytes.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from facesr.config.data import DataConfig
from facesr.data.augment import LUMA, View, draw_jitter, draw_zoom
from facesr.data.dataset import PairDataset, TrainingPair
from facesr.data.folders import Folder
from facesr.degradation.degrader import apply_together, crop_to_multiple, draw_together
from facesr.degradation.steps import Params, kernel_of
from facesr.errors import ImageError
from facesr.images.formats import read_size
from facesr.processes import cores
from facesr.transfer import Stopwatch, send_to_device

CHUNK = 64  # pairs that are made together
_MEMORY_SHARE = 0.5  # of the free memory, at most, for HQ images
_Size = tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """How to make the pairs of a chunk."""

    images: list[tuple[int, int]]  # folder and position of each
    views: list[View]
    jitter: list[tuple[float, float]]  # brightness and contrast
    # Indices in the chunk of images that share a degradation, and its steps by the index in this group.
    groups: list[tuple[list[int], list[dict[int, Params]]]]


class Plans(Dataset[Plan]):
    """Draws plans. Each depends only on the seed and the numbers of its pairs."""

    def __init__(self, draws: PairDataset, sizes: list[list[_Size]]) -> None:
        self._draws = draws
        self._sizes = sizes  # (height, width) of each image of each folder

    def __getitem__(self, numbers: Sequence[int]) -> Plan:
        draws, config = self._draws, self._draws.config
        plan = Plan([], [], [], [])
        groups: dict[str, tuple[list[int], list[int]]] = {}
        for index, number in enumerate(numbers):
            random, folder, position = draws.pick(number)
            size = self._sizes[folder][position]
            view = draw_zoom(size, config, random) or View.whole(size)
            plan.images.append((folder, position))
            plan.jitter.append(draw_jitter(config, random))
            indices, seeds = groups.setdefault(draws.pick_degradation(random), ([], []))
            indices.append(index)
            seeds.append(random.getrandbits(48))
            plan.views.append(view.crop(config.crop_px, random) if config.crop_px else view)
        for name, (indices, seeds) in groups.items():
            steps = draw_together(draws.degradations[name], seeds)
            plan.groups.append((indices, [{i: _with_kernel(p) for i, p in each.items()} for each in steps]))
        return plan


def _with_kernel(params: Params) -> Params:
    # An array, since each tensor would be sent by a file of its own.
    return {**params, "kernel": kernel_of(params).numpy()} if "size_px" in params else params


class ResidentImages:
    """All HQ images on the device, as uint8. Makes pairs from them."""

    def __init__(self, draws: PairDataset, device: torch.device) -> None:
        self._draws, self._device = draws, device
        self._failed: list[str] = []
        self._watch: Stopwatch | None = None  # of the chunk before
        with ThreadPoolExecutor(cores()) as executor:
            self._images = [self._load(folder, executor) for folder in draws.folders]
        sizes = [[(image.shape[0], image.shape[1]) for image in images] for images in self._images]
        self.plans = Plans(draws, sizes)

    def _load(self, folder: Folder, executor: ThreadPoolExecutor) -> list[Tensor]:
        def load(position: int) -> Tensor | None:
            try:
                pixels = self._draws.read_hq(folder, position)
            except ImageError as error:
                self._failed.append(error.message)
                return None
            return torch.tensor(crop_to_multiple(pixels, self._draws.scale)).to(self._device)

        loaded = list(executor.map(load, range(len(folder.hq))))
        readable = [image for image in loaded if image is not None]
        if not readable:
            raise ImageError(f"none of {len(loaded)} images could be read, the last: {self._failed[-1]}")
        return [
            readable[position % len(readable)] if image is None else image
            for position, image in enumerate(loaded)
        ]

    @torch.no_grad()
    def make(self, plan: Plan) -> Iterator[TrainingPair]:
        """Make the pairs of a chunk on the device, without synchronising with it."""
        watch = Stopwatch(self._device)
        size = plan.views[0].size
        images = [self._images[folder][position].permute(2, 0, 1) for folder, position in plan.images]
        boxes = send_to_device(
            torch.tensor([view.box for view in plan.views], dtype=torch.float32), self._device
        )
        if self._draws.config.crop_px:  # images may be of several sizes
            parts = zip(images, boxes[:, None], strict=True)
            levels = torch.cat([resample(image[None].float(), box, size) for image, box in parts])
        else:
            levels = torch.stack(images).float()
            if any(view != View.whole(size) for view in plan.views):
                levels = resample(levels, boxes, size)
        levels = jitter_each(levels.round_().clamp_(0, 255), plan.jitter)
        hq = levels / 255
        height, width = (side // self._draws.scale for side in size)
        lq = hq.new_empty(len(images), 3, height, width)
        for indices, steps in plan.groups:
            index = send_to_device(torch.tensor(indices), self._device)
            degraded = apply_together(hq.index_select(0, index), steps, scale=self._draws.scale)
            lq.index_copy_(0, index, degraded)
        lq_pixels, hq_pixels = _to_pixels(lq * 255), _to_pixels(levels)
        watch.stop()
        # The chunk before is done by now, so that nothing waits for its time.
        seconds = self._watch.seconds() / CHUNK if self._watch else 0.0
        self._watch = watch
        for (folder, position), one_lq, one_hq in zip(plan.images, lq_pixels, hq_pixels, strict=True):
            name = str(self._draws.folders[folder].hq[position])
            failed, self._failed = tuple(self._failed), []
            yield TrainingPair(one_lq, one_hq, name, failed, seconds=(0.0, seconds))


def _to_pixels(levels: Tensor) -> Tensor:
    return levels.round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def jitter_each(levels: Tensor, factors: Sequence[tuple[float, float]]) -> Tensor:
    """Change brightness and contrast of (B, 3, H, W) levels, 0 to 255, by one pair of factors an image."""
    if all(brightness == contrast == 1 for brightness, contrast in factors):
        return levels
    both = send_to_device(torch.tensor(factors), levels.device)
    brightness, contrast = (one.view(-1, 1, 1, 1) for one in both.unbind(1))
    levels = (levels * brightness).clamp_(0, 255)
    means = levels.mean((2, 3), keepdim=True).unbind(1)
    grey = torch.stack([weight * mean for weight, mean in zip(LUMA, means, strict=True)], 1).sum(
        1, keepdim=True
    )
    return (grey + (levels - grey) * contrast).round_().clamp_(0, 255)


def resample(images: Tensor, boxes: Tensor, size: _Size) -> Tensor:
    """Resize a part of each image, bicubic with antialiasing, as Pillow does. Borders are mirrored.

    Args:
        images: (B, C, H, W).
        boxes: (B, 4), left, top, width and height of each part in pixels. They may be fractional and reach
            outside.
        size: (height, width) of the result.
    """
    left, top, width, height = boxes.unbind(1)
    rows = _weights(top, height, images.shape[-2], size[0])
    columns = _weights(left, width, images.shape[-1], size[1])
    return rows[:, None] @ images @ columns.mT[:, None]


def _weights(start: Tensor, extent: Tensor, length: int, count: int) -> Tensor:
    """Return (B, count, length) weights that resample an axis of `length` pixels to `count` pixels."""
    step = (extent / count).view(-1, 1, 1)
    centre = start.view(-1, 1, 1) + (torch.arange(count, device=start.device).view(-1, 1) + 0.5) * step
    pixel = torch.arange(length, device=start.device) + 0.5
    mirrored = (pixel, -pixel, 2 * length - pixel)
    weights = torch.stack([_cubic((centre - one) / step.clamp_min(1)) for one in mirrored]).sum(0)
    return weights / weights.sum(-1, keepdim=True)


def _cubic(x: Tensor) -> Tensor:
    """Return Pillow's bicubic kernel (Keys, a = -0.5) at the distances `x`."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def is_resident(config: DataConfig, folders: Sequence[Folder], device: torch.device) -> bool:
    """Return whether to keep HQ images on the device: if asked to, or on CUDA if they fit easily."""
    if config.resident != "auto" or config.train_lq or device.type != "cuda":
        return config.resident == "yes"
    size = 0
    for folder in folders:
        for path in folder.hq:
            try:
                height, width = folder.size or read_size(path)
            except ImageError:  # it will be passed over
                continue
            size += 3 * height * width
    return size < _MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]
