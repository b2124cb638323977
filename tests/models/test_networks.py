"""Every architecture keeps one contract; the two classical ones equal their references."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, load_file, save
from torch import Tensor

from facesr.errors import ConfigError
from facesr.models import ARCHITECTURES, build_network, count_multiply_adds, count_parameters, resolve_args
from facesr.models.base import (
    Halo,
    Margin,
    Shapes,
    SizeRule,
    SRNetwork,
    Traits,
    enlarge,
)
from tests.conftest import variants

VECTORS = Path(__file__).parents[1] / "vectors"
TINY = {"blocks": 2, "features": 8}


every_variant = pytest.mark.parametrize(("arch", "args"), variants(), ids=str)


def shapes_of(network: SRNetwork) -> Shapes:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def check_against(arch: str, state: dict[str, Tensor], scale: int, image: Tensor) -> Tensor:
    """Compute a network as BasicSR's source does, from its state dict alone."""

    def conv(name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    def body(x: Tensor) -> Tensor:
        for index in range(2):
            x = x + conv(f"body.{index}.conv2", F.relu(conv(f"body.{index}.conv1", x)))
        return x

    factors = [2, 2] if scale == 4 else [scale]
    if arch == "edsr":
        mean = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)
        x = first = conv("conv_first", (image - mean) * 255)
        x = conv("conv_after_body", body(x)) + first
        for index, factor in enumerate(factors):
            x = F.pixel_shuffle(conv(f"upsample.{2 * index}", x), factor)
        return conv("conv_last", x) / 255 + mean
    x = body(F.leaky_relu(conv("conv_first", image), 0.1))
    for index, factor in enumerate(factors):
        x = F.leaky_relu(F.pixel_shuffle(conv(f"upconv{index + 1}", x), factor), 0.1)
    x = conv("conv_last", F.leaky_relu(conv("conv_hr", x), 0.1))
    return x + F.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("arch", ["msrresnet", "edsr"])
def test_every_scale_is_laid_out_and_computed_as_in_basicsr(arch: str, scale: int) -> None:
    torch.manual_seed(scale)
    network = build_network(arch, {**TINY, "scale": scale})
    image = torch.rand(2, 3, 9, 14)
    with torch.no_grad():
        expected = check_against(arch, network.state_dict(), scale, image)
        torch.testing.assert_close(network(image), expected, atol=1e-5, rtol=0)


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
    network = build_network(arch, {"blocks": blocks})
    assert count_multiply_adds(network) / 1e9 == pytest.approx(giga, abs=0.005)


@every_variant
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 8)])
def test_any_size_is_enlarged_by_the_declared_scale(
    arch: str, args: dict[str, Any], size: tuple[int, int]
) -> None:
    network = build_network(arch, args)
    scale = network.traits.scale
    image = torch.rand(2, 3, *size)
    out = enlarge(network, image)
    assert out.shape == (2, 3, scale * size[0], scale * size[1])
    fitting = network.traits.size.fit(*size)
    assert network(torch.rand(1, 3, *fitting)).shape[2:] == tuple(scale * side for side in fitting)
    assert network.traits.dtypes[0] == torch.float32
    assert args.get("scale", scale) == scale


@every_variant
def test_tensors_survive_safetensors_and_give_the_arguments_back(arch: str, args: dict[str, Any]) -> None:
    network = build_network(arch, args).eval()
    state = load(save(network.state_dict()))
    found = ARCHITECTURES[arch].infer_args({key: tuple(value.shape) for key, value in state.items()})
    assert found is not None
    found = {**args, **json.loads(json.dumps(found))}  # what no tensor records is in `config.json`
    assert resolve_args(arch, found) == resolve_args(arch, args)
    again = build_network(arch, found).eval()
    again.load_state_dict(state)
    image = torch.rand(1, 3, *network.traits.size.fit(16, 16))
    assert torch.equal(network(image), again(image))


def test_noise_is_drawn_anew_in_training_and_follows_from_the_place_otherwise() -> None:
    network = build_network("faceunet", {"blocks": 1, "features": 64, "detail_blocks": 1, "noise": True})
    image = torch.rand(1, 3, 32, 160)
    assert not torch.equal(network(image), network(image))
    network.eval()
    alone = network(image)
    assert torch.equal(alone, network(image))
    torch.testing.assert_close(network(torch.cat([image, image]))[1:], alone)
    with torch.no_grad():
        network.noise.zero_()
    plain = build_network("faceunet", {"blocks": 1, "features": 64, "detail_blocks": 1})
    plain.load_state_dict({key: value for key, value in network.state_dict().items() if key != "noise"})
    torch.testing.assert_close(network(image), plain(image))
    pattern = network.pattern
    assert float(pattern.mean()) == pytest.approx(0, abs=0.005)
    assert float(pattern.std()) == pytest.approx(1, abs=0.005)
    assert float(pattern.double()[0, 0, 0]) == pytest.approx(0.41935809, abs=1e-6)
    for shifted in (pattern.roll(1, 0), pattern.roll(1, 1), pattern.roll(1, 2)):
        assert float((pattern * shifted).mean()) == pytest.approx(0, abs=0.005)


@every_variant
def test_no_architecture_takes_the_tensors_of_another(arch: str, args: dict[str, Any]) -> None:
    shapes = shapes_of(build_network(arch, args))
    assert [a for a, network in ARCHITECTURES.items() if network.infer_args(shapes)] == [arch]


def test_faceunet_stays_within_its_budget() -> None:
    assert count_parameters(build_network("faceunet", {})) == 2_200_960


@every_variant
def test_the_declared_halo_is_exact(arch: str, args: dict[str, Any]) -> None:
    network = build_network(arch, args).double()
    scale, view = network.traits.scale, network.traits.view
    if not isinstance(view, Halo):
        pytest.skip("only a halo is exact")
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.05)  # positive, so that no path can cancel or be cut
    size = 2 * view.px + 3
    middle = view.px + 1
    image = torch.rand(1, 3, size, size, dtype=torch.float64)
    window = slice(scale * middle, scale * (middle + 1))
    whole = network(image)[..., window, window]

    def moved(offset: int) -> bool:
        touched = image.clone()
        touched[..., middle + offset, middle] += 1
        return not torch.equal(network(touched)[..., window, window], whole)

    assert moved(view.px)
    assert moved(-view.px)
    assert not moved(view.px + 1)
    assert not moved(-view.px - 1)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_limit_is_kept_and_every_argument_has_a_default(arch: str) -> None:
    network = ARCHITECTURES[arch]
    defaults = resolve_args(arch, {})
    assert network.limits.keys() <= defaults.keys()
    for name, limits in network.limits.items():
        assert defaults[name] in limits
        beyond = max(limits) + 1 if all(isinstance(value, int) for value in limits) else "something else"
        with pytest.raises(ConfigError, match=f"`{name}` of `{arch}` must be"):
            resolve_args(arch, {name: beyond})
    with pytest.raises(ConfigError, match="no argument `nonsense`"):
        resolve_args(arch, {"nonsense": 3})


@pytest.mark.parametrize("value", ["20", True, 2.5, None, [2]])
def test_a_value_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="`blocks` of `msrresnet` must be of type int"):
        resolve_args("msrresnet", {"blocks": value})


class Toy(SRNetwork):
    """Nearest neighbours, with arguments of every JSON type."""

    limits: ClassVar = {"mode": ("nearest", "bilinear")}

    def __init__(
        self, *, widths: tuple[int, ...] = (3, 5), mode: str = "nearest", gain: float | None = None
    ) -> None:
        super().__init__()
        self.widths, self.mode, self.gain = widths, mode, gain
        self.traits = Traits(scale=2, view=Margin(3), size=SizeRule(minimum=8, square=True), channels=1)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 1
        assert x.shape[2] == x.shape[3] >= 8
        return F.interpolate(x, scale_factor=2, mode="nearest")


def test_arguments_may_be_of_any_json_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "toy", Toy)
    args = {"widths": [1, 2, 3], "mode": "bilinear", "gain": 1}
    resolved = resolve_args("toy", args)
    assert resolved == {"widths": (1, 2, 3), "mode": "bilinear", "gain": 1.0}
    assert resolve_args("toy", json.loads(json.dumps(resolved))) == resolved
    with pytest.raises(ConfigError, match="`mode` of `toy` must be nearest, bilinear, found cubic"):
        resolve_args("toy", {"mode": "cubic"})
    with pytest.raises(ConfigError, match="`widths` of `toy` must be of type"):
        resolve_args("toy", {"widths": [1, "2"]})


def test_one_channel_squares_and_smallest_sizes_are_seen_to_outside_the_network() -> None:
    image = torch.rand(2, 3, 5, 11)
    torch.testing.assert_close(enlarge(Toy(), image), F.interpolate(image, scale_factor=2, mode="nearest"))


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


def test_the_mean_colour_of_edsr_is_exact_in_half_precision() -> None:
    network = build_network("edsr", TINY).to(torch.bfloat16)
    for value in network.state_dict().values():
        value.zero_()
    black = network(torch.zeros(1, 3, 4, 4))[0, :, 0, 0]
    assert torch.equal(black, torch.tensor([0.4488, 0.4371, 0.4040]))


def test_faceunet_stays_channels_last_where_a_pixel_shuffle_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA it gives the default layout, and each convolution would turn that around."""
    shuffle = F.pixel_shuffle
    monkeypatch.setattr(F, "pixel_shuffle", lambda x, factor: shuffle(x, factor).contiguous())
    network = build_network("faceunet", {"blocks": 1, "features": 8, "detail_blocks": 1})
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    turned = []

    def note(module: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        if not inputs[0].is_contiguous(memory_format=torch.channels_last):
            turned.append(module)

    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    for module in convolutions:
        module.register_forward_pre_hook(note)
    network(torch.rand(1, 3, 32, 48).contiguous(memory_format=torch.channels_last))
    assert len(convolutions) > 20
    assert len(turned) <= 1  # the first, after a pixel unshuffle


def test_the_large_edsr_of_basicsr_gets_its_residual_scale() -> None:
    shapes = {
        "conv_first.weight": (256, 3, 3, 3),
        "body.0.conv1.weight": (256, 256, 3, 3),
        "conv_after_body.weight": (256, 256, 3, 3),
        "upsample.0.weight": (1024, 256, 3, 3),
        "upsample.2.weight": (1024, 256, 3, 3),
    }
    assert ARCHITECTURES["edsr"].infer_args(shapes) == {
        "blocks": 1,
        "features": 256,
        "res_scale": 0.1,
        "scale": 4,
    }


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
