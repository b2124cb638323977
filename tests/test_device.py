import pytest
import torch

from facesr.device import pick_device, pick_dtype
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
