"""A run begins with the weights that it is given, as far as they fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from facesr.config.model import ModelConfig
from facesr.config.train import TrainConfig
from facesr.errors import ConfigError
from facesr.models import ARCHITECTURES, build_network, resolve_args
from facesr.models.base import SRNetwork
from facesr.training.initial import initial_network
from facesr.weights.save import save_folder
from tests.conftest import Listener, small_args

ARGS = {"blocks": 1, "features": 8}


def save(folder: Path, arch: Any, args: dict[str, Any]) -> SRNetwork:
    torch.manual_seed(1)
    network = build_network(arch, args)
    save_folder(folder, network.state_dict(), ModelConfig(name="given", arch=arch, args=args))
    return network


def begin(init: Path | None, arch: Any, args: dict[str, Any]) -> tuple[SRNetwork, list[str]]:
    listener = Listener()
    config = TrainConfig(init=None if init is None else str(init), arch=arch, args=resolve_args(arch, args))
    return initial_network(config, listener), listener.warnings


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_weights_of_the_same_network_are_taken_to_the_last_bit(arch: str, tmp_path: Path) -> None:
    given = save(tmp_path, arch, small_args(arch))
    network, warnings = begin(tmp_path, arch, small_args(arch))
    assert warnings == []
    for key, tensor in given.state_dict().items():
        assert torch.equal(network.state_dict()[key], tensor)


@pytest.mark.parametrize(
    ("arch", "more"),
    [("msrresnet", "blocks"), ("edsr", "blocks"), ("faceunet", "blocks"), ("faceunet", "detail_blocks")],
)
def test_a_deeper_network_begins_as_a_shallower_one(arch: str, more: str, tmp_path: Path) -> None:
    shallow = save(tmp_path, arch, {**ARGS, more: 1}).eval()
    deep, (warning,) = begin(tmp_path, arch, {**ARGS, more: 4})
    images = torch.rand(2, 3, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(deep.eval()(images), shallow(images), atol=1e-6, rtol=0)
    assert "new layers: " in warning
    assert "not used" not in warning
    assert len(warning) < 600


def test_layers_that_fit_are_taken_and_the_others_begin_as_fresh_ones(tmp_path: Path) -> None:
    given = save(tmp_path, "faceunet", {**ARGS, "features": 9}).state_dict()  # its thin layers are as wide
    network, (warning,) = begin(tmp_path, "faceunet", ARGS)
    torch.manual_seed(0)
    build_network("faceunet", {**ARGS, "features": 9})  # reading draws first
    fresh = build_network("faceunet", ARGS).state_dict()
    taken = {key for key, tensor in fresh.items() if given[key].shape == tensor.shape}
    assert {"detail.weight", "out.weight"} <= taken
    assert "stem.weight" not in taken
    for key, tensor in network.state_dict().items():
        if key in taken:
            assert torch.equal(tensor, given[key]), key
        elif ".b." in key:  # the last convolution of a residual block
            assert not tensor.any(), key
        else:
            assert torch.equal(tensor, fresh[key]), key
    assert "new layers: stem; " in warning


def test_a_network_with_fewer_blocks_says_what_it_leaves(tmp_path: Path) -> None:
    given = save(tmp_path, "msrresnet", {**ARGS, "blocks": 3}).state_dict()
    network, (warning,) = begin(tmp_path, "msrresnet", ARGS)
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, given[key])
    assert "100% of its weights are used, not used: body.1.conv1; " in warning


def test_weights_of_another_architecture_are_taken_where_most_of_them_fit(tmp_path: Path) -> None:
    given = save(tmp_path, "msrresnet", {**ARGS, "blocks": 20}).state_dict()
    network, (warning,) = begin(tmp_path, "edsr", {**ARGS, "blocks": 20})
    assert torch.equal(network.state_dict()["body.0.conv1.weight"], given["body.0.conv1.weight"])
    assert "holds msrresnet (blocks 20, " in warning
    assert "the run is for edsr" in warning


@pytest.mark.parametrize(
    ("arch", "args"),
    [
        ("msrresnet", {**ARGS, "features": 9}),  # only a bias of three values fits
        ("edsr", ARGS),  # less than half fits
        ("faceunet", ARGS),  # nothing fits
    ],
)
def test_weights_of_which_too_little_fits_are_refused(
    arch: str, args: dict[str, Any], tmp_path: Path
) -> None:
    save(tmp_path, "msrresnet", ARGS)
    with pytest.raises(ConfigError, match=f"but the run is for {arch} .*% of its weights fit") as caught:
        begin(tmp_path, arch, args)
    assert "--init" in caught.value.message
    assert "--arch" in caught.value.hint


def test_the_seed_draws_a_network_without_given_weights() -> None:
    one, again = (begin(None, "msrresnet", ARGS)[0].state_dict() for _ in range(2))
    other = initial_network(replace(TrainConfig(args=ARGS), seed=1), Listener()).state_dict()
    assert torch.equal(one["body.0.conv1.weight"], again["body.0.conv1.weight"])
    assert not torch.equal(one["body.0.conv1.weight"], other["body.0.conv1.weight"])
