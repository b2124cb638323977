"""The end of a network by rows equals the end of a network."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from facesr.models import build_network
from facesr.models import row_strips as rows
from facesr.models.base import FlipEnsemble
from facesr.models.row_strips import Stage, run_stages

torch.manual_seed(0)
STAGES: list[Stage] = [
    (nn.Conv2d(4, 8, 3, padding=1), nn.PixelShuffle(2)),
    (nn.Conv2d(2, 8, 3, padding=1), nn.Sequential(nn.PixelShuffle(2), nn.LeakyReLU())),
    (nn.Conv2d(2, 3, 3, padding=1), nn.Identity()),
]


@given(st.integers(1, 2), st.integers(1, 40), st.integers(1, 30), st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_pieces_equal_the_whole(batch: int, height: int, width: int, piece_px: int) -> None:
    x = torch.rand(batch, 4, height, width)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_PIECE_PX", piece_px)
        whole = run_stages(STAGES, x)
        with torch.inference_mode():
            pieces = run_stages(STAGES, x)
    torch.testing.assert_close(pieces, whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("arch", ["msrresnet", "edsr"])
def test_networks_give_the_same_with_and_without_gradients(arch: str) -> None:
    torch.manual_seed(0)
    network = build_network(arch, {"blocks": 2, "features": 8})
    x = torch.rand(1, 3, 50, 100)
    with torch.inference_mode():
        pieces = network(x)
    torch.testing.assert_close(pieces, network(x).detach(), atol=1e-6, rtol=0)


def test_the_ensemble_gives_the_mirrored_result_for_the_mirrored_picture() -> None:
    torch.manual_seed(0)
    network = FlipEnsemble(build_network("faceunet", {"blocks": 1, "features": 8}))
    x = torch.rand(1, 3, 32, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network(x.flip(-1)), network(x).flip(-1), atol=1e-6, rtol=0)
        assert not torch.allclose(network.network(x.flip(-1)), network.network(x).flip(-1), atol=1e-6)
    assert network.traits == network.network.traits


PEAK = """
import threading
import torch
from torch import nn
from facesr.models.row_strips import run_stages

def memory(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024

def convolution(out):
    return nn.Conv2d(16, out, 3, padding=1).to(memory_format=torch.channels_last)

stages = [
    (convolution(16), nn.Upsample(scale_factor=2)),
    (convolution(16), nn.Identity()),
    (convolution(3), nn.Identity()),
]

def work():
    with torch.inference_mode():
        x = torch.rand(1, 16, 1200, 1216).to(memory_format=torch.channels_last)
        before = memory("VmRSS")
        run_stages(stages, x)
        print(memory("VmHWM") - before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_holds_the_result_and_a_few_strips() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PEAK], capture_output=True, text=True, check=True, timeout=60
    )
    result_mib = 3 * 2400 * 2432 * 4 / 2**20
    assert float(done.stdout) < 2 * result_mib  # results kept strip by strip took five times as much
