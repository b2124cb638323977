"""The networks of Real-ESRGAN equal their sources, under every name that their tensors have had."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facesr.models import ARCHITECTURES, build_network
from facesr.models.base import Halo, Margin, enlarge
from facesr.weights.find import WeightFiles
from facesr.weights.load import read_network
from facesr.weights.read import rename

State = dict[str, Tensor]

RRDBNETS: list[dict[str, Any]] = [
    {"scale": 4, "blocks": 1, "features": 16},
    {"scale": 2, "blocks": 2, "features": 24},
    {"scale": 1, "blocks": 3, "features": 8},
    {"scale": 4, "blocks": 3, "features": 32},
    {"scale": 2, "blocks": 1, "features": 64},
]
SRVGGS: list[dict[str, Any]] = [
    {"scale": 4, "blocks": 1, "features": 16},
    {"scale": 2, "blocks": 2, "features": 24},
    {"scale": 1, "blocks": 3, "features": 8},
    {"scale": 3, "blocks": 5, "features": 12},
    {"scale": 4, "blocks": 16, "features": 8},
]


def seeded(arch: str, args: dict[str, Any]) -> State:
    """Return weights under which every layer counts."""
    torch.manual_seed(args["blocks"])
    network = build_network(arch, args)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_uniform_(parameter, 0.3)
        else:
            torch.nn.init.normal_(parameter, 0.1, 0.05)
    return {key: tensor.detach() for key, tensor in network.state_dict().items()}


def as_first_esrgan(state: State, blocks: int) -> State:
    names = {"conv_first": "model.0", "conv_body": f"model.1.sub.{blocks}", "conv_up1": "model.3"}
    names |= {"conv_up2": "model.6", "conv_hr": "model.8", "conv_last": "model.10"}
    found = {}
    for key, tensor in state.items():
        layer, _, kind = key.rpartition(".")
        inner = re.sub(r"body\.(\d+)\.rdb(\d)\.conv(\d)", r"model.1.sub.\1.RDB\2.conv\3.0", layer)
        found[f"{names.get(layer, inner)}.{kind}"] = tensor
    return found


def as_second_esrgan(state: State, blocks: int) -> State:
    words = {"conv_body": "trunk_conv", "body.": "RRDB_trunk.", "rdb": "RDB", "conv_up": "upconv"}
    words["conv_hr"] = "HRconv"
    found = {}
    for key, tensor in state.items():
        for ours, theirs in words.items():
            key = key.replace(ours, theirs)
        found[key] = tensor
    return found


LAYOUTS = {"basicsr": lambda state, blocks: state, "first": as_first_esrgan, "second": as_second_esrgan}


def rrdbnet(state: State, scale: int, blocks: int, image: Tensor) -> Tensor:
    """Compute RRDBNet from its state dict alone."""

    def conv(name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    def leaky(x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.2)

    x = first = conv("conv_first", F.pixel_unshuffle(image, 4 // scale))
    for block in range(blocks):
        inner = x
        for dense in (1, 2, 3):
            seen = [inner]
            for step in (1, 2, 3, 4):
                seen.append(leaky(conv(f"body.{block}.rdb{dense}.conv{step}", torch.cat(seen, 1))))
            inner = inner + 0.2 * conv(f"body.{block}.rdb{dense}.conv5", torch.cat(seen, 1))
        x = x + 0.2 * inner
    x = first + conv("conv_body", x)
    for name in ("conv_up1", "conv_up2"):
        x = leaky(conv(name, x.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    return conv("conv_last", leaky(conv("conv_hr", x)))


def srvgg(state: State, scale: int, activation: str, image: Tensor) -> Tensor:
    x, last = image, max(int(key.split(".")[1]) for key in state)
    for index in range(0, last + 1, 2):
        x = F.conv2d(x, state[f"body.{index}.weight"], state[f"body.{index}.bias"], padding=1)
        if index < last:
            slope = {"relu": torch.zeros(1), "leakyrelu": torch.tensor([0.1])}.get(activation)
            x = F.prelu(x, state[f"body.{index + 1}.weight"] if slope is None else slope)
    base = image.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    return base + F.pixel_shuffle(x, scale)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("args", RRDBNETS, ids=str)
def test_rrdbnet_is_read_and_computed_in_every_layout(args: dict[str, Any], layout: str) -> None:
    state = seeded("rrdbnet", args)
    theirs = LAYOUTS[layout](state, args["blocks"])
    found = rename(theirs)
    assert found.keys() == state.keys()
    inferred = ARCHITECTURES["rrdbnet"].infer_args({key: tuple(one.shape) for key, one in found.items()})
    assert inferred == {**args, "growth": 32}
    network = build_network("rrdbnet", inferred)
    network.load_state_dict(found)
    image = torch.rand(2, 3, 12, 16)
    expected = rrdbnet(state, args["scale"], args["blocks"], image)
    assert expected.std() > 0.1
    with torch.inference_mode():  # by rows, on the CPU
        torch.testing.assert_close(network(image), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("activation", ["prelu", "relu", "leakyrelu"])
@pytest.mark.parametrize("args", SRVGGS, ids=str)
def test_srvgg_is_read_and_computed(args: dict[str, Any], activation: str) -> None:
    args = {**args, "activation": activation}
    state = seeded("srvgg", args)
    inferred = ARCHITECTURES["srvgg"].infer_args({key: tuple(one.shape) for key, one in state.items()})
    assert inferred is not None
    assert {"activation": activation, **inferred} == args
    network = build_network("srvgg", args)
    network.load_state_dict(state)
    image = torch.rand(2, 3, 7, 9)
    expected = srvgg(state, args["scale"], activation, image)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), expected, atol=1e-5, rtol=0)


def test_the_parameters_of_the_released_networks_are_counted() -> None:
    sizes = {
        ("rrdbnet", 23): 16_697_987,
        ("rrdbnet", 6): 4_467_779,
        ("srvgg", 16): 621_424,
        ("srvgg", 32): 1_213_296,
    }
    for (arch, blocks), expected in sizes.items():
        with torch.device("meta"):
            network = build_network(arch, {"blocks": blocks})
        assert sum(one.numel() for one in network.parameters()) == expected


def test_the_margin_of_rrdbnet_hides_its_pieces() -> None:
    """Beyond the margin the view of a small network ends; that of a released one was measured."""
    args = {"blocks": 2, "features": 8, "growth": 4, "scale": 2}
    network = build_network("rrdbnet", args)
    network.load_state_dict(seeded("rrdbnet", args))
    view = network.traits.view
    assert isinstance(view, Margin)
    assert view.px % network.traits.size.multiple_of == 0
    image = torch.rand(1, 3, 16, 160)
    with torch.inference_mode():
        whole = enlarge(network, image)
        piece = enlarge(network, image[..., 80 - view.px :])[..., 2 * view.px :]
    assert (255 * (piece - whole[..., 160:])).abs().max() < 1


def test_a_file_in_the_first_layout_is_loaded(tmp_path: Path) -> None:
    state = seeded("rrdbnet", RRDBNETS[0])
    torch.save(as_first_esrgan(state, 1), tmp_path / "esrgan.pth")
    network, config, _ = read_network(WeightFiles(tmp_path / "esrgan.pth", None))
    assert (config.arch, config.scale) == ("rrdbnet", 4)
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[key])


def test_srvgg_sees_one_pixel_for_each_convolution() -> None:
    assert build_network("srvgg", {"blocks": 32}).traits.view == Halo(34)


@pytest.mark.parametrize(
    ("arch", "args"), [*(("rrdbnet", one) for one in RRDBNETS), *(("srvgg", one) for one in SRVGGS)], ids=str
)
def test_results_equal_those_of_spandrel(arch: str, args: dict[str, Any]) -> None:
    spandrel = pytest.importorskip("spandrel", reason="needs the extra `compat`")
    state = seeded(arch, args)
    network = build_network(arch, args).eval()
    network.load_state_dict(state)
    image = torch.rand(1, 3, 24, 32)
    for layout in LAYOUTS.values() if arch == "rrdbnet" else [LAYOUTS["basicsr"]]:
        theirs = spandrel.ModelLoader().load_from_state_dict(dict(layout(state, args["blocks"])))
        assert theirs.scale == args["scale"]
        with torch.inference_mode():
            torch.testing.assert_close(network(image), theirs.model(image), atol=1e-5, rtol=0)
