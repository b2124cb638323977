from contextlib import suppress

import pytest
import torch

from facesr.device import fp32_arithmetic, is_out_of_memory, pick_device, pick_dtype
from facesr.errors import DeviceError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ALL = (torch.float32, torch.float16, torch.bfloat16)


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "", "meta", "cpu:abc"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="unknown device"):
        pick_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_cuda_device_is_refused_and_auto_does_without() -> None:
    with pytest.raises(DeviceError, match="`cuda:7` is not available"):
        pick_device("cuda:7")
    assert pick_device("auto").type in {"cpu", "mps"}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_takes_cuda() -> None:
    assert pick_device("auto").type == "cuda"


def test_auto_precision_is_fp32_but_on_cuda() -> None:
    assert pick_dtype("auto", CPU, ALL) is torch.float32
    assert pick_dtype("auto", CUDA, ALL) is torch.float16
    assert pick_dtype("auto", CUDA, (torch.float32,)) is torch.float32
    assert pick_dtype("bf16", CPU, ALL) is torch.bfloat16


def test_unsupported_precision_is_refused() -> None:
    with pytest.raises(DeviceError, match="does not run in fp16"):
        pick_dtype("fp16", CPU, (torch.float32, torch.bfloat16))
    with pytest.raises(DeviceError, match="unknown precision `fp8`"):
        pick_dtype("fp8", CPU, ALL)


@pytest.mark.parametrize("name", ["auto", "cuda"])
@pytest.mark.parametrize("launcher", ["LOCAL_RANK", "SLURM_LOCALID"])
def test_the_processes_of_a_node_spread_over_its_devices_unless_a_number_is_given(
    name: str, launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_LOCALID"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert pick_device(name) == torch.device("cuda", 0)
    if launcher == "LOCAL_RANK":
        monkeypatch.setenv("RANK", "11")
        monkeypatch.setenv("WORLD_SIZE", "16")
    for number in (1, 3, 5):
        monkeypatch.setenv(launcher, str(number))
        assert pick_device(name) == torch.device("cuda", number % 4)
        assert pick_device("cuda:2") == torch.device("cuda", 2)


def test_tf32_is_fp32_weights_on_cuda_and_refused_elsewhere() -> None:
    assert pick_dtype("tf32", CUDA, ALL) is torch.float32
    for device in (CPU, torch.device("mps")):
        with pytest.raises(DeviceError, match=f"`tf32` needs a CUDA device, found {device}"):
            pick_dtype("tf32", device, ALL)


class Switches:
    """Stands in for PyTorch's settings, the older or the newer ones."""

    def __init__(self, **settings: object) -> None:
        self.__dict__.update(settings)


@pytest.mark.parametrize("tf32", [True, False])
@pytest.mark.parametrize("newer", [True, False])
def test_fp32_is_exact_on_cuda_and_the_settings_are_put_back(
    tf32: bool, newer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if newer:
        matmul = Switches(fp32_precision="none")
        convolution = Switches(fp32_precision="tf32")
        cudnn = Switches(conv=convolution)
        name, inside = "fp32_precision", "tf32" if tf32 else "ieee"
    else:
        matmul = Switches(allow_tf32=False)
        cudnn = convolution = Switches(allow_tf32=True)
        name, inside = "allow_tf32", tf32
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    before = (getattr(convolution, name), getattr(matmul, name))
    with suppress(ZeroDivisionError), fp32_arithmetic(CUDA, tf32=tf32):
        assert (getattr(convolution, name), getattr(matmul, name)) == (inside, inside)
        raise ZeroDivisionError
    assert (getattr(convolution, name), getattr(matmul, name)) == before
    with fp32_arithmetic(CPU, tf32=tf32):
        assert (getattr(convolution, name), getattr(matmul, name)) == before


def test_the_real_settings_of_this_pytorch_can_be_switched() -> None:
    """They exist in builds without CUDA too."""

    def settings() -> tuple[object, object]:
        if hasattr(torch.backends.cudnn, "conv"):
            return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = settings()
    with fp32_arithmetic(CUDA, tf32=False):
        exact = settings()
        with fp32_arithmetic(CUDA, tf32=True):
            assert settings() != exact
        assert settings() == exact
    assert settings() == before


OUT_OF_MEMORY = [
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB",
    "CUDA error: out of memory",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "GET was unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm to run convolution",
    'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "CUDACachingAllocator.cpp":830, please report a bug',
    "MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1 GB, max allowed: 9 GB)",
    "[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: not enough memory: you tried 9 bytes",
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes",
]


@pytest.mark.parametrize("message", OUT_OF_MEMORY)
def test_what_a_full_device_says_is_understood(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(ValueError(message))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError())
    for message in ("CUDA error: device-side assert triggered", "cuDNN error: CUDNN_STATUS_BAD_PARAM", ""):
        assert not is_out_of_memory(RuntimeError(message))
