"""Random bytes and random trees: what is refused is refused by the one error that is meant for it."""

import io
import random
import string
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from facesr.config.build import build, merge, nest, parse_override, read_toml
from facesr.config.degrade import DegradeConfig
from facesr.config.evaluate import EvalConfig
from facesr.config.export import ExportConfig
from facesr.config.fields import Config, leaves
from facesr.config.model import ModelConfig
from facesr.config.train import TrainConfig
from facesr.config.upscale import UpscaleConfig
from facesr.errors import ConfigError, ImageError, WeightsError
from facesr.images.read import read_image
from facesr.images.write import encode_image
from facesr.inference.tiling import enlarge_by_tiles, enlarge_by_windows
from facesr.weights.find import WeightFiles
from facesr.weights.load import read_network
from tests.conftest import tiny_state
from tests.hostile.pictures import Files, modes, odd_but_good

FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
CONFIGS = [UpscaleConfig, DegradeConfig, EvalConfig, TrainConfig, ExportConfig, ModelConfig]

numbers = st.integers() | st.floats() | st.sampled_from([2**63, -(2**70), 10**400])
texts = st.text(max_size=20) | st.sampled_from(
    ["auto", "cpu", "psnr", "x=nan", "x=inf", "default=2", "\ud800"]
)
values = st.recursive(
    numbers | texts | st.booleans() | st.none() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def known_keys(cls: type[Config]) -> st.SearchStrategy[str]:
    keys = [leaf.key for leaf in leaves(cls)]
    return st.sampled_from(sorted({*keys, *(key.partition(".")[0] for key in keys)}))


def only(error: type[Exception], function: Callable[[], object]) -> None:
    """Assert that a function returns, or raises one error of one line."""
    try:
        function()
    except error as caught:
        said = str(caught)
    else:
        return
    assert said.strip()
    assert len(said) < 3000


@pytest.mark.parametrize("cls", CONFIGS, ids=lambda cls: cls.__name__)
@given(data=st.data())
@FUZZ
def test_any_tree_is_a_configuration_or_a_config_error(cls: type[Config], data: st.DataObject) -> None:
    keys = data.draw(st.lists(known_keys(cls) | st.text(max_size=8), max_size=5))
    tree = merge(nest(key, data.draw(values)) for key in keys)

    def resolve() -> Config:
        return build(cls, merge([cls.defaults(tree, {}), cls.defaults({}, tree), tree]))

    only(ConfigError, resolve)


toml = st.text(alphabet=string.printable + "é\x00", max_size=80) | st.sampled_from(
    [
        "a = " + "[" * 5000, "a = " + "{a=" * 3000, "a = " + "9" * 5000, "a" * 10000, "[" * 100,
        "a.b.c = 1\na.b = 2",
        "a = 1\na = 2", "[degradation]\nsteps = 5", "degradation = 5", "preset = []",
        "recipe = {}", "resume = 5",
        "a = 0000-00-00", "a = 99:99:99", "a = '''", "a = \"\\ud800\"", "a = 1e99999", "\ufeffa = 1",
    ]
)  # fmt: skip


@given(text=toml)
@FUZZ
def test_any_text_is_toml_or_a_config_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8")
    for cls in CONFIGS:
        only(
            ConfigError,
            lambda cls=cls: build(cls, merge([cls.defaults(read_toml(path), {}), read_toml(path)])),
        )
    only(ConfigError, lambda: parse_override(text))
    only(ConfigError, lambda: parse_override(f"a.b={text}"))


@given(content=st.binary(max_size=200))
@FUZZ
def test_any_bytes_are_toml_or_a_config_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    only(ConfigError, lambda: read_toml(tmp_path / "x.toml"))


def zipped(state: dict[str, torch.Tensor], *, legacy: bool) -> bytes:
    stream = io.BytesIO()
    torch.save({"params": state}, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


WEIGHTS = {
    "safetensors": (".safetensors", save(tiny_state())),
    "pth": (".pth", zipped(tiny_state(), legacy=False)),
    "pth-legacy": (".pth", zipped(tiny_state(), legacy=True)),
}


def mutated(content: bytes, seed: int) -> bytes:
    """Change some bytes, most of them near the beginning, where a format says what it is."""
    rng = random.Random(seed)
    data = bytearray(content)
    for _ in range(rng.choice([1, 2, 5, 20])):
        at = rng.randrange(min(len(data), rng.choice([16, 400, len(data)])))
        kind = rng.random()
        if kind < 0.6:
            data[at] = rng.randrange(256)
        elif kind < 0.8:
            data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", bytes(4), b"\xff\xff\xff\x7f", b"9999"])
        elif kind < 0.9:
            del data[at : at + rng.randrange(1, 9)]
        else:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        data = data or bytearray(b"x")
    return bytes(data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", WEIGHTS)
@given(seed=st.integers(0, 2**32))
@FUZZ
def test_mutated_weights_are_weights_or_a_weights_error(form: str, seed: int, tmp_path: Path) -> None:
    suffix, content = WEIGHTS[form]
    path = tmp_path / f"net{suffix}"
    path.write_bytes(mutated(content, seed))
    only(WeightsError, lambda: read_network(WeightFiles(path, None)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@given(content=st.binary(max_size=300))
@FUZZ
def test_any_bytes_are_a_weights_error(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        read_network(WeightFiles(path, None))


PICTURES: Files = {**modes(), **odd_but_good()}


@pytest.mark.filterwarnings("ignore")
@given(name=st.sampled_from(sorted(PICTURES)), seed=st.integers(0, 2**32))
@settings(FUZZ, max_examples=800)
def test_a_mutated_picture_is_a_picture_or_an_image_error(name: str, seed: int) -> None:
    content = io.BytesIO(mutated(PICTURES[name], seed))

    def through() -> None:
        encode_image(read_image(content, max_pixels=1_000_000), ".png")

    only(ImageError, through)


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    tile=st.integers(1, 40),
    halo=st.integers(0, 12),
    window=st.integers(4, 40),
    seed=st.integers(0, 99),
)
@FUZZ
def test_pieces_put_together_are_the_whole_picture(
    height: int, width: int, tile: int, halo: int, window: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    whole = pixels.repeat_interleave(2, 0).repeat_interleave(2, 1)

    def double(part: torch.Tensor) -> torch.Tensor:
        return part.repeat_interleave(2, 1).repeat_interleave(2, 2)

    exact = torch.cat(list(enlarge_by_tiles(double, pixels, tile=tile, margin=halo, scale=2)))
    assert torch.equal(exact, whole)

    def double_float(part: torch.Tensor) -> torch.Tensor:
        return double(part).float()

    blended = torch.cat(list(enlarge_by_windows(double_float, pixels, window=window, scale=2)))
    assert torch.equal(blended, whole)


def test_mutations_get_past_the_first_check(tmp_path: Path) -> None:
    # Those that never did would prove nothing.
    outcomes: dict[str, int] = {}
    for seed in range(150):
        path = tmp_path / "net.safetensors"
        path.write_bytes(mutated(WEIGHTS["safetensors"][1], seed))
        try:
            read_network(WeightFiles(path, None))
            outcome = "read"
        except WeightsError as error:
            outcome = str(error).partition(": ")[2][:12]
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert len(outcomes) >= 3, outcomes
