"""What one would write without facesr: the references of the benchmarks, eager and in the default layout."""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from facesr.models import build_network
from facesr.models.base import SRNetwork
from facesr.weights.load import load_model


def network_of(model: str) -> SRNetwork:
    """Return a model's network as `build_network` makes it, with its weights."""
    loaded = load_model(model, device="cpu")
    network = build_network(loaded.config.arch, loaded.config.args).eval()
    network.load_state_dict(loaded.network.state_dict())
    # A script that calls `forward` under no_grad has neither channels-last weights nor rows.
    return network


@torch.no_grad()
def upscale_folder(network: nn.Module, source: Path, target: Path, *, device: str, file_format: str) -> int:
    """Read one file, run the network, write one file, go on with the next."""
    target.mkdir(parents=True, exist_ok=True)
    paths = sorted(source.iterdir())
    for path in paths:
        image = np.asarray(Image.open(path).convert("RGB"))
        lq = torch.from_numpy(image).permute(2, 0, 1).contiguous().float()[None].to(device) / 255
        out = network(lq).clamp(0, 1)[0].permute(1, 2, 0)
        Image.fromarray((out * 255).round().byte().cpu().numpy()).save(
            target / f"{path.stem}.{file_format}", quality=95
        )
    return len(paths)


@torch.no_grad()
def upscale_tiled(network: nn.Module, lq: Tensor, *, tile: int = 128, pad: int = 10) -> Tensor:
    """Enlarge (1, 3, h, w) by tiles with a fixed margin, all in memory, as Real-ESRGAN's script does."""
    height, width = lq.shape[-2:]
    out = torch.zeros(1, 3, 4 * height, 4 * width, device=lq.device)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            y, x = max(0, top - pad), max(0, left - pad)
            result = network(lq[..., y : min(height, bottom + pad), x : min(width, right + pad)])
            core = result[..., 4 * (top - y) : 4 * (bottom - y), 4 * (left - x) : 4 * (right - x)]
            out[..., 4 * top : 4 * bottom, 4 * left : 4 * right] = core
    return out


def train_step(network: nn.Module, optimizer: torch.optim.Optimizer, lq: Tensor, hq: Tensor) -> None:
    """One step of a plain loop, which reads its loss."""
    optimizer.zero_grad()
    loss = F.l1_loss(network(lq), hq)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the seconds of a folder to a folder.")
    parser.add_argument("model")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--format", default="png")
    options = parser.parse_args()
    network = network_of(options.model).to(options.device)
    network(torch.zeros(1, 3, 128, 128, device=options.device)).sum().item()  # warms up
    start = time.perf_counter()
    upscale_folder(network, options.source, options.target, device=options.device, file_format=options.format)
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main()
