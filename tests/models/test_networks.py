"""Every architecture keeps one contract; the two classical ones equal their references."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file, save

from facesr.errors import ConfigError
from facesr.models import ARCHITECTURES, build_network, count_multiply_adds, count_parameters, resolve_args

VECTORS = Path(__file__).parents[1] / "vectors"
TINY = {"blocks": 2, "features": 8}
every_arch = pytest.mark.parametrize("arch", ARCHITECTURES)


@pytest.mark.parametrize("arch", ["msrresnet", "edsr"])
def test_equals_the_reference_vectors(arch: str) -> None:
    tensors = load_file(VECTORS / f"{arch}_f16_b3.safetensors")
    state = {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}
    assert list(state) == sorted(json.loads((VECTORS / "index.json").read_text())[arch]["keys"])
    args = ARCHITECTURES[arch].infer_args({key: tuple(value.shape) for key, value in state.items()})
    assert args is not None
    assert (args["blocks"], args["features"]) == (3, 16)
    network = build_network(arch, args)
    network.load_state_dict(state)
    with torch.inference_mode():
        torch.testing.assert_close(network(tensors["input"]), tensors["output"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("blocks", "parameters"), [(16, 1_517_571), (20, 1_812_995), (24, 2_108_419)])
@pytest.mark.parametrize("arch", ["msrresnet", "edsr"])
def test_parameter_counts(arch: str, blocks: int, parameters: int) -> None:
    assert count_parameters(build_network(arch, {"blocks": blocks})) == parameters


@pytest.mark.parametrize(
    ("arch", "blocks", "giga"),
    [
        ("msrresnet", 16, 41.55),
        ("msrresnet", 20, 46.38),
        ("msrresnet", 24, 51.22),
        ("edsr", 16, 32.49),
        ("edsr", 20, 37.32),
        ("edsr", 24, 42.16),
        ("faceunet", 2, 4.35),
    ],
)
def test_multiply_adds(arch: str, blocks: int, giga: float) -> None:
    assert count_multiply_adds(arch, {"blocks": blocks}) / 1e9 == pytest.approx(giga, abs=0.005)


@every_arch
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 8)])
def test_enlarges_any_size_four_times(arch: str, size: tuple[int, int]) -> None:
    network = build_network(arch, TINY)
    multiple = network.multiple_of
    height, width = (side * multiple for side in size)
    out = network(torch.rand(2, 3, height, width))
    assert out.shape == (2, 3, 4 * height, 4 * width)
    assert network.scale == 4
    assert torch.float32 in network.dtypes


@every_arch
def test_tensors_survive_safetensors_and_give_the_arguments_back(arch: str) -> None:
    network = build_network(arch, TINY)
    state = load(save(network.state_dict()))
    args = ARCHITECTURES[arch].infer_args({key: tuple(value.shape) for key, value in state.items()})
    assert args is not None
    assert resolve_args(arch, args) == resolve_args(arch, TINY)
    again = build_network(arch, args)
    again.load_state_dict(state)
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(network(image), again(image))


@every_arch
def test_no_architecture_takes_the_tensors_of_another(arch: str) -> None:
    state = build_network(arch, TINY).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert [a for a, network in ARCHITECTURES.items() if network.infer_args(shapes)] == [arch]


def test_faceunet_stays_within_its_budget() -> None:
    assert count_parameters(build_network("faceunet", {})) == 2_200_960


@every_arch
def test_the_declared_halo_is_exact(arch: str) -> None:
    network = build_network(arch, TINY).double()
    halo = network.halo
    if halo is None:
        pytest.skip("a global view has no halo")
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.05)  # positive, so that no path can cancel or be cut
    size = 2 * halo + 3
    middle = halo + 1
    image = torch.rand(1, 3, size, size, dtype=torch.float64)
    window = slice(4 * middle, 4 * middle + 4)
    whole = network(image)[..., window, window]

    def moved(offset: int) -> bool:
        touched = image.clone()
        touched[..., middle + offset, middle] += 1
        return not torch.equal(network(touched)[..., window, window], whole)

    assert moved(halo)
    assert moved(-halo)
    assert not moved(halo + 1)
    assert not moved(-halo - 1)


@every_arch
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"width": 3}, "no argument `width`"),
        ({"blocks": "20"}, "must be of type int"),
        ({"blocks": True}, "must be of type int"),
        ({"blocks": 0}, "must be 1 to"),
        ({"features": 10**9}, "must be 1 to"),
    ],
)
def test_wrong_arguments_are_refused(arch: str, args: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network(arch, args)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown architecture `swinir`"):
        build_network("swinir", {})


def test_half_precision_weights_still_give_fp32_results() -> None:
    torch.manual_seed(0)
    network = build_network("msrresnet", TINY)
    image = torch.rand(1, 3, 8, 8)
    exact = network(image)
    out = network.to(torch.bfloat16)(image)
    assert out.dtype == torch.float32
    assert (out - exact).abs().max() < 0.01


def test_the_large_edsr_of_basicsr_gets_its_residual_scale() -> None:
    shapes = {
        "conv_first.weight": (256, 3, 3, 3),
        "body.0.conv1.weight": (256, 256, 3, 3),
        "conv_after_body.weight": (256, 256, 3, 3),
        "upsample.0.weight": (1024, 256, 3, 3),
        "upsample.2.weight": (1024, 256, 3, 3),
    }
    assert ARCHITECTURES["edsr"].infer_args(shapes) == {"blocks": 1, "features": 256, "res_scale": 0.1}


def test_counting_without_memory_does_not_load_the_compiler() -> None:
    """PyTorch's compiler takes a second to import, which every run of the command line would pay."""
    code = (
        "import sys, torch\n"
        "from facesr.models import ARCHITECTURES, build_network\n"
        "with torch.device('meta'):\n"
        "    for arch in ARCHITECTURES: build_network(arch, {})\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
