"""A device gives what the CPU gives: every network, precision, size and way through memory.

Most tests run on the CPU as well, which shows that they are right themselves.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facesr import transfer, upscale_image
from facesr.config.model import ModelConfig
from facesr.config.runtime import RuntimeConfig
from facesr.errors import DeviceError
from facesr.images.image import ImageData
from facesr.images.read import read_image
from facesr.inference import enlarge as inference
from facesr.inference.enlarge import start_enlarging, take
from facesr.inference.stream import enlarge_stream
from facesr.models import ARCHITECTURES, build_network
from facesr.parallel import Outcome
from facesr.weights.load import Model, load_model
from facesr.weights.save import save_folder
from tests.conftest import no_warning, noise, small_args
from tests.inference.short_memory import fail_above

HAS_CUDA = torch.cuda.is_available()
CUDA = (pytest.mark.cuda, pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device"))
on_cuda = pytest.mark.parametrize("device", [pytest.param("cuda", marks=CUDA)])
on_each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
every_network = pytest.mark.parametrize("arch", ARCHITECTURES)

# Grey levels by which results may differ from fp32 on the CPU. A value between two levels is rounded to
# either, and the networks here have random weights, whose results are rougher than those of trained ones.
LEVELS = {"fp32": 1, "tf32": 2, "fp16": 2, "bf16": 8}


def save(folder: Path, arch: str, **args: Any) -> Path:
    """Write a small network with random weights."""
    torch.manual_seed(0)
    args = {**small_args(arch), **args}
    config = ModelConfig(name=arch, arch=arch, args=args)  # type: ignore[arg-type]
    save_folder(folder, build_network(arch, args).state_dict(), config)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {arch: save(tmp_path_factory.mktemp("models") / arch, arch) for arch in ARCHITECTURES}


def apart(one: np.ndarray, other: np.ndarray) -> int:
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def enlarged(model: Model, images: list[Any], *, tile: int | None = None) -> Any:
    return take(start_enlarging(model, images, tile=tile))


@on_each_device
@every_network
@pytest.mark.parametrize("dtype", LEVELS)
def test_every_precision_is_near_fp32_on_the_cpu(
    device: str, arch: str, dtype: str, folders: dict[str, Path]
) -> None:
    reference = load_model(folders[arch], device="cpu", dtype="fp32")
    is_missing = device == "cpu" and dtype == "tf32"
    if is_missing or (dtype == "fp16" and torch.float16 not in reference.network.traits.dtypes):
        with pytest.raises(DeviceError):
            load_model(folders[arch], device=device, dtype=dtype)
        return
    model = load_model(folders[arch], device=device, dtype=dtype)
    assert (model.notes, model.tf32) == ((), dtype == "tf32")
    for height, width in [(1, 1), (16, 16), (37, 53), (40, 150)]:
        images = [noise(height, width, seed=seed) for seed in range(3)]
        for tile in (None, 0, 24):
            expected, found = (enlarged(one, images, tile=tile) for one in (reference, model))
            assert apart(found, expected) <= LEVELS[dtype], (height, width, tile)


@on_each_device
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_the_noise_of_a_network_is_the_same_everywhere(device: str, dtype: str, tmp_path: Path) -> None:
    noisy = save(tmp_path / "noisy", "faceunet", noise=True)
    reference = load_model(noisy, device="cpu", dtype="fp32")
    model = load_model(noisy, device=device, dtype=dtype)
    for size in [(37, 53), (40, 150)]:
        images = [noise(*size, seed=seed) for seed in range(3)]
        expected, found = (enlarged(one, images) for one in (reference, model))
        assert apart(found, expected) <= LEVELS[dtype], size


@on_each_device
@every_network
def test_16_bits_and_tensors_agree_with_the_cpu(device: str, arch: str, folders: dict[str, Path]) -> None:
    reference, model = (load_model(folders[arch], device=place, dtype="fp32") for place in ("cpu", device))
    deep = noise(30, 41).astype(np.uint16) * 257
    assert apart(enlarged(model, [deep]), enlarged(reference, [deep])) <= 2
    lq = torch.rand(2, 3, 20, 30)
    expected = upscale_image(lq, reference)
    torch.testing.assert_close(upscale_image(lq, model), expected, atol=1e-5, rtol=0)
    there = upscale_image(lq.to(device), model)
    assert there.device.type == device
    torch.testing.assert_close(there.cpu(), expected, atol=1e-5, rtol=0)


@on_cuda
@pytest.mark.parametrize("dtype", ["fp32", "tf32"])
def test_settings_of_the_process_are_left_as_they_were(
    device: str, dtype: str, folders: dict[str, Path]
) -> None:
    def settings() -> tuple[object, object]:
        if hasattr(torch.backends.cudnn, "conv"):
            return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = settings()
    enlarged(load_model(folders["faceunet"], device=device, dtype=dtype), [noise(16, 16)])
    assert settings() == before


@on_each_device
@every_network
@pytest.mark.parametrize("batch", [1, 3, 32])
def test_a_stream_of_mixed_sizes_gives_each_image_its_own_result(
    device: str, arch: str, batch: int, folders: dict[str, Path]
) -> None:
    model = load_model(folders[arch], device=device, dtype="fp32")
    sizes = [(12, 12), (12, 17), (33, 9), (30, 140)]
    count = 20 if device == "cpu" else 200
    images = {index: noise(*sizes[index % 7 % 4], seed=index) for index in range(count)}
    pictures = [Outcome(index, ImageData(rgb=pixels)) for index, pixels in images.items()]
    outcomes = {
        outcome.item: outcome.value
        for outcome in enlarge_stream(
            [model, model], pictures, runtime=RuntimeConfig(batch=batch), warn=no_warning
        )
    }
    assert outcomes.keys() == images.keys()
    for index, results in outcomes.items():
        assert isinstance(results, tuple)
        for result in results:
            assert apart(result.rgb, upscale_image(images[index], model)) <= 1


@on_each_device
@every_network
def test_results_too_large_to_be_pinned_are_the_same(
    device: str, arch: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(folders[arch], device=device, dtype="fp32")
    images = [noise(60, 140, seed=seed) for seed in range(2)]
    expected = [enlarged(model, images, tile=tile) for tile in (0, 48)]
    monkeypatch.setattr(transfer, "_PINNED_BYTES", 1000)
    found = [enlarged(model, images, tile=tile) for tile in (0, 48)]
    assert all(map(np.array_equal, found, expected))


@on_cuda
@every_network
@pytest.mark.parametrize("tile", [0, 48])
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_nothing_waits_for_the_device_until_the_result_is_asked_for(
    device: str, arch: str, tile: int, folders: dict[str, Path]
) -> None:
    model = load_model(folders[arch], device=device)
    images = [noise(60, 140, seed=seed) for seed in range(2)]
    expected = enlarged(model, images, tile=tile)  # and whatever is set up once
    try:
        torch.cuda.set_sync_debug_mode("error")
        arrival = start_enlarging(model, images, tile=tile)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert apart(take(arrival), expected) <= LEVELS["fp16"]


@contextmanager
def capped(megabytes: int) -> Iterator[None]:
    """Give this process so much of the device's memory more than it holds now."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + megabytes * 2**20) / total)
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture
def cap(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], AbstractContextManager[None]]:
    """Return what lets a device compute but a part of a (16, 128, 128) batch at a time."""

    @contextmanager
    def on_the_cpu() -> Iterator[None]:
        with monkeypatch.context() as patch:
            fail_above(4 * 128 * 128, patch)
            yield

    return lambda device: on_the_cpu() if device == "cpu" else capped(150)


@on_each_device
@every_network
def test_where_memory_is_short_less_is_computed_at_once(
    device: str,
    arch: str,
    folders: dict[str, Path],
    cap: Callable[[str], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference = load_model(folders[arch], device=device, dtype="fp32")
    images = [noise(128, 128, seed=seed) for seed in range(16)]
    expected = enlarged(reference, images)
    large = noise(128, 1000)
    whole = enlarged(reference, [large])
    attempts, real = [], inference._enlarge_in_pieces

    def count(*args: Any) -> Any:
        attempts.append(args[-1])
        return real(*args)

    monkeypatch.setattr(inference, "_enlarge_in_pieces", count)
    model = load_model(folders[arch], device=device, dtype="fp32")
    with cap(device):
        counts = [0]
        for _ in range(3):  # the second may fail once more, where what the first took just fitted
            assert apart(enlarged(model, images), expected) <= 1
            counts.append(len(attempts))
        if device == "cpu":
            assert counts[1] > 1
        assert counts[3] == counts[2] + 1
        assert attempts[-1] == attempts[-2]
        assert apart(enlarged(model, [large]), whole) <= 1


@on_cuda
def test_a_device_without_memory_is_one_clear_error(device: str, folders: dict[str, Path]) -> None:
    torch.ones(1, device=device)
    with capped(0), pytest.raises(DeviceError, match="too little free memory for `msrresnet`"):
        load_model(folders["msrresnet"], device=device)
    load_model(folders["msrresnet"], device=device)


@pytest.mark.parametrize(
    "device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=CUDA)]
)
def test_two_processes_share_a_device(device: str, tiny_folder: Path, faces: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "facesr", "upscale", faces, "-m", tiny_folder, "-d", device]
    running = [
        subprocess.Popen(
            [*map(str, command), str(tmp_path / f"out{number}"), "--dtype", "fp32", "--quiet"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for process in running:
        assert (process.communicate(timeout=100)[1], process.returncode) == ("", 0)
    model = load_model(tiny_folder, device="cpu")
    for number in range(2):
        for path in faces.iterdir():
            found = read_image(tmp_path / f"out{number}" / path.name).rgb8
            assert apart(found, upscale_image(read_image(path).rgb8, model)) <= 1


@on_cuda
@every_network
def test_an_exported_model_gives_what_the_device_gives(
    device: str, arch: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra `onnx`")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the tests' own requirements")
    from facesr.models.onnx import export_onnx

    model = load_model(folders[arch], device=device, dtype="fp32")
    export_onnx(load_model(folders[arch], device="cpu").network, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    lq = torch.rand(2, 3, 37, 53)
    (prediction,) = session.run(None, {"lq": lq.numpy()})
    torch.testing.assert_close(torch.from_numpy(prediction), upscale_image(lq, model), atol=1e-4, rtol=0)
