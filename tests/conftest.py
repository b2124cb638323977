"""Pictures, weight folders and the command line, as the tests need them; nothing here leaves the machine."""

import ipaddress
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from facesr.cli.app import app
from facesr.config.model import ModelConfig
from facesr.events import Reporter
from facesr.models import ARCHITECTURES, build_network
from facesr.weights.save import save_folder

pytest_plugins = ["pytester"]

# The tests run in two processes; each takes one core.
torch.set_num_threads(1)

# For the processes that tests start, where the guard below does not reach.
os.environ["HF_HUB_OFFLINE"] = "1"

# Defaults of plug-ins, where they are installed and the command line does not say otherwise.
PLUGIN_OPTIONS = {"numprocesses": 2, "dist": "worksteal", "randomly_seed": 2026}
os.environ.setdefault("PYTEST_TIMEOUT", "120")

# What a machine for `pytest -m cuda` may lack. Modules that import one of these at the top are skipped there.
OPTIONAL = {
    "gradio", "hypothesis", "imagecodecs", "importlinter", "matplotlib", "onnx", "onnxruntime",
    "pillow_heif", "playwright", "scipy", "skimage", "tifffile",
}  # fmt: skip

needs_posix = pytest.mark.skipif(os.name == "nt", reason="pipes and signals are those of POSIX")

TINY = {"blocks": 1, "features": 8}


class OptionalModule(pytest.Module):
    """A test module that is skipped if it cannot be imported for want of an optional package."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return super().collect()
        except self.CollectError as error:
            missing = getattr(error.__cause__, "name", None)
            if missing in OPTIONAL:
                pytest.skip(f"needs {missing}, run `pip install -e '.[dev]'`", allow_module_level=True)
            raise


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    return OptionalModule.from_parent(parent, path=module_path)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Set what the command line leaves open, before pytest-xdist reads it."""
    if hasattr(config, "workerinput"):  # a process that pytest-xdist started, and gave its options
        return
    for name, value in PLUGIN_OPTIONS.items():
        if getattr(config.option, name, value) in {None, "no", "default"}:
            setattr(config.option, name, value)


def small_args(arch: str) -> dict[str, Any]:
    """Return arguments of a small network of any architecture, by the limits that it declares."""
    limits = ARCHITECTURES[arch].limits.items()
    return {name: values[1] for name, values in limits if isinstance(values, range)}


def variants() -> list[tuple[str, dict[str, Any]]]:
    """Give each architecture in small, once for every value of each argument that has a list of them."""
    found = []
    for arch, network in ARCHITECTURES.items():
        found.append((arch, small_args(arch)))
        lists = {name: values for name, values in network.limits.items() if not isinstance(values, range)}
        found += [(arch, {**small_args(arch), name: one}) for name, values in lists.items() for one in values]
    return found


def is_local(address: object) -> bool:
    """Tell whether a socket's address is of this machine."""
    if not isinstance(address, tuple):
        return True  # a path (AF_UNIX), or the kernel
    try:
        return ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
    except ValueError:
        return address[0] in {"", "localhost"}


@pytest.fixture(autouse=True)
def attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Fail a test that talks to another machine, even where the code under test makes little of the error."""
    noted: list[object] = []

    def guarded(real: Callable[..., Any], position: int) -> Callable[..., Any]:
        def call(self: socket.socket, *arguments: Any) -> Any:
            if len(arguments) > max(position, 0) and not is_local(arguments[position]):
                noted.append(arguments[position])
                raise OSError(f"the tests may not talk to {arguments[position]}")
            return real(self, *arguments)

        return call

    def resolve(host: object, *arguments: Any, **options: Any) -> Any:
        if host is not None and not is_local((host,)):
            noted.append(host)
            raise socket.gaierror(f"the tests may not look for {host!r}")
        return look_up(host, *arguments, **options)

    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for name, position in (("connect", 0), ("connect_ex", 0), ("sendto", -1), ("sendmsg", 3)):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), position))
    yield noted
    assert noted == [], f"talks to another machine: {noted}"


def noise(height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Return a (height, width, 3) picture with structure at every scale."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((width, height))
    grain = rng.integers(-20, 21, (height, width, 3))
    return (np.asarray(small).astype(int) + grain).clip(0, 255).astype(np.uint8)


def tiny_state(seed: int = 0, arch: str = "msrresnet", **args: Any) -> dict[str, torch.Tensor]:
    """Return random tensors of a small network, large enough in effect to be told from bilinear."""
    torch.manual_seed(seed)
    network = build_network(arch, {**TINY, **args})
    return {key: tensor.detach() * 3 for key, tensor in network.state_dict().items()}


def save_pair(folder: Path, **sharp: Any) -> tuple[Path, Path]:
    """Write `faceunet` and its sharp sibling `faceunet-sharp`, with noise and tensors of its own."""
    paths = folder / "faceunet", folder / "faceunet-sharp"
    args = {**TINY, "detail_blocks": 1}
    config = ModelConfig(name="faceunet", arch="faceunet", args=args, patch_px=48)
    base = save_folder(paths[0], tiny_state(1, "faceunet", detail_blocks=1), config)
    named = {"name": "faceunet-sharp", "base": "faceunet", "base_sha256": base.sha256, **sharp}
    state = tiny_state(2, "faceunet", detail_blocks=1, noise=True)
    save_folder(paths[1], state, replace(config, args={**args, "noise": True}, **named))
    return paths


class Listener(Reporter):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.warnings: list[str] = []
        self.facts: Mapping[str, str] = {}

    def begin(self, total: int, unit: str, *, done: int = 0) -> None:
        self.total, self.done = total, done

    def advance(self, count: int = 1) -> None:
        self.done += count

    def show(self, facts: Mapping[str, str]) -> None:
        self.facts = facts

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def no_warning(message: str) -> None:
    raise AssertionError(message)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    save_folder(folder, tiny_state(), ModelConfig(name="tiny", arch="msrresnet", args=TINY))
    return folder


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the Hub's cache would be; there is none."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Return a folder of three PNG pictures, two of one size."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for index, (height, width) in enumerate([(12, 16), (12, 16), (9, 7)]):
        Image.fromarray(noise(height, width, seed=index)).save(folder / f"{index}.png")
    return folder


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `facesr` in this process."""
    for name in ("FACESR_MODEL", "FACESR_DEVICE", "FACESR_DEBUG", "FACESR_NO_PROGRESS"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*args: object) -> Result:
        return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="facesr")

    return invoke


# Of the trunk's kernels: where each is, its outputs, its inputs, its side.
_ALEX = [
    ("1.0", 64, 3, 11),
    ("2.5", 192, 64, 5),
    ("3.9", 384, 192, 3),
    ("4.11", 256, 384, 3),
    ("5.13", 256, 256, 3),
]


@pytest.fixture
def stlpips_weights(tmp_path: Path) -> Path:
    """Return a folder with random weights of ST-LPIPS by AlexNet."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "scaling_layer.shift": torch.full((1, 3, 1, 1), -0.1),
        "scaling_layer.scale": torch.ones(1, 3, 1, 1),
    }
    for number, (name, out, inner, side) in enumerate(_ALEX):
        size = (out, inner, side, side)
        tensors[f"net.slice{name}.weight"] = torch.randn(size, generator=generator) / (inner * side**2) ** 0.5
        tensors[f"net.slice{name}.bias"] = torch.zeros(out)
        tensors[f"lin{number}.model.1.weight"] = torch.rand(1, out, 1, 1, generator=generator) / out
    folder = tmp_path / "stlpips"
    folder.mkdir()
    save_file(tensors, folder / "stlpips_alex.safetensors")
    return folder
