"""Tensors are found in every usual wrapping, and a file that holds none is named for what it is."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facesr.errors import WeightsError
from facesr.weights.find import WEIGHT_SUFFIXES, WeightFiles
from facesr.weights.load import read_network
from tests.conftest import tiny_state

STATE = tiny_state()


def prefixed(*prefixes: str) -> dict[str, torch.Tensor]:
    return {"".join(prefixes) + key: tensor for key, tensor in STATE.items()}


WRAPPINGS: dict[str, Any] = {
    "numpy beside": {"params": STATE, "psnr": np.float64(25.5), "step": np.int64(3)},
    "numbers among": {**STATE, "epoch": 3, "note": "x"},
    "averaged first": {"params": tiny_state(5), "params-ema": STATE},
    "lightning": {"state_dict": prefixed("model."), "epoch": 1, "hyper_parameters": {"lr": 0.1}},
    "lightning of a GAN": {"state_dict": {**prefixed("net_g."), "net_d.conv.weight": torch.ones(2)}},
    "twice wrapped": {"model_state_dict": {"params_ema": STATE}},
    "three prefixes": {"net_g": prefixed("module.", "_orig_mod.", "model.")},
    "other order": prefixed("_orig_mod.", "module."),
    "generator": {"generator": STATE, "discriminator": {"a": torch.ones(1)}},
    "model": {"model": prefixed("net_g."), "optim": {}},
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_every_usual_wrapping_is_opened(name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(WRAPPINGS[name], path)
    network, config, _ = read_network(WeightFiles(path, None))
    assert config.arch == "msrresnet"
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, STATE[key])


def test_every_usual_ending_is_taken() -> None:
    assert {".pth", ".pt", ".ckpt", ".bin", ".safetensors"} == set(WEIGHT_SUFFIXES)


def test_a_numpy_object_beside_the_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"params": STATE, "array": np.array([{}])}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="Nothing in it was run"):
        read_network(WeightFiles(tmp_path / "net.pth", None))


CONTENTS = {
    b"": ("an empty file", "download it again"),
    b"version https://git-lfs.github.com/spec/v1\nsize 3\n": ("a Git LFS pointer", "git lfs pull"),
    b"<!DOCTYPE html><html>404</html>": ("an HTML page", "download the file itself"),
    b"\x1f\x8b\x08": ("an archive", "unpack it"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", CONTENTS)
def test_what_holds_no_weights_is_named(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    what, hint = CONTENTS[content]
    with pytest.raises(WeightsError, match=what) as caught:
        read_network(WeightFiles(path, None))
    assert hint in caught.value.hint


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
def test_programs_and_zips_are_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Conv2d(3, 3, 3)), tmp_path / "a.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(WeightsError, match="a TorchScript program"):
        read_network(WeightFiles(tmp_path / "a.pt", None))
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("net_g.pth", b"x")
    with pytest.raises(WeightsError, match=r"a zip with net_g\.pth in it"):
        read_network(WeightFiles(tmp_path / "b.pth", None))
