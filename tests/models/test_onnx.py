"""A model as an ONNX file, and ONNX Runtime in the place of PyTorch."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facesr import upscale_image
from facesr.config.runtime import RuntimeConfig
from facesr.errors import DeviceError, FacesrError, MissingExtra
from facesr.inference.stream import load_for
from facesr.models import ARCHITECTURES, build_network
from facesr.models.base import SRNetwork, enlarge
from facesr.models.onnx import OnnxNetwork
from facesr.weights.find import find_weights
from facesr.weights.load import load_model
from tests.conftest import TINY, Run, noise

onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "facesr"


def network_of(arch: str, seed: int = 0) -> SRNetwork:
    torch.manual_seed(seed)
    return build_network(arch, TINY).eval().requires_grad_(False)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_results_equal_those_of_pytorch_at_any_size_and_batch(arch: str) -> None:
    network = network_of(arch)
    other = OnnxNetwork(network, identity=arch)
    for shape in [(1, 3, 16, 16), (2, 3, 37, 53), (3, 3, 1, 1), (1, 3, 1, 40)]:
        x = torch.rand(shape)
        with torch.inference_mode():
            torch.testing.assert_close(enlarge(other, x), enlarge(network, x), atol=1e-4, rtol=0)


def test_the_file_is_made_once_and_made_again_when_damaged(cache: Path) -> None:
    network = network_of("msrresnet")
    OnnxNetwork(network, identity="a")
    (path,) = cache.iterdir()
    made = path.stat().st_mtime_ns
    OnnxNetwork(network, identity="a")
    assert path.stat().st_mtime_ns == made
    path.write_bytes(path.read_bytes()[:500])
    again = OnnxNetwork(network, identity="a")
    assert list(cache.iterdir()) == [path]
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(again(x), network(x), atol=1e-4, rtol=0)
    OnnxNetwork(network_of("msrresnet", seed=1), identity="b")
    assert len(list(cache.iterdir())) == 2


def test_a_file_that_computes_something_else_is_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesr.models.onnx._TOLERANCE", -1.0)
    with pytest.raises(FacesrError, match="off PyTorch"):
        OnnxNetwork(network_of("msrresnet"), identity="a")
    assert list(cache.iterdir()) == []


def test_it_runs_on_the_cpu_only(tiny_folder: Path) -> None:
    with pytest.raises(DeviceError, match="`onnx` does not run on"):
        load_model(tiny_folder, device="cuda", backend="onnx")
    with pytest.raises(DeviceError, match="unknown backend `tf`"):
        load_model(tiny_folder, backend="tf")


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_packages_the_extra_is_named(
    tiny_folder: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra, match="extra `onnx`"):
        load_model(tiny_folder, device="cpu", backend="onnx")


def test_upscale_gives_the_same_pictures(run: Run, faces: Path, tiny_folder: Path, tmp_path: Path) -> None:
    for backend in ("torch", "onnx"):
        command = ("upscale", faces, tmp_path / backend, "-m", tiny_folder, "-d", "cpu", "--backend", backend)
        assert run(*command).exit_code == 0
    for path in sorted((tmp_path / "torch").iterdir()):
        one, other = (np.asarray(Image.open(tmp_path / b / path.name)).astype(int) for b in ("torch", "onnx"))
        assert np.abs(one - other).max() <= 1


def test_the_ensemble_gives_the_same_picture(tiny_folder: Path) -> None:
    files = find_weights(str(tiny_folder))
    one, other = (
        upscale_image(noise(20, 30), load_for(files, RuntimeConfig(self_ensemble=True, backend=backend)))
        for backend in ("torch", "onnx")
    )
    assert np.abs(one.astype(int) - other).max() <= 1


def test_export_writes_one_file_that_says_what_it_is(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiny.onnx"
    document = json.loads(run("export", tiny_folder, target, "--json").stdout)
    assert document == {"written": str(target), "model": "tiny", "bytes": target.stat().st_size}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["tiny.onnx"]
    model = onnx.load(target)
    onnx.checker.check_model(model)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert (facts["name"], facts["scale"]) == ("tiny", "4")
    session = onnxruntime.InferenceSession(target)
    network = load_model(tiny_folder, device="cpu").network
    x = 3 * torch.rand(2, 3, 9, 5) - 1
    (out,) = session.run(None, {"lq": x.numpy()})
    expected = network(x)
    assert float(expected.max()) > 1.1
    assert float(expected.min()) < -0.1
    assert np.abs(out - expected.clamp(0, 1).numpy()).max() < 1e-4
    result = run("export", tiny_folder, target)
    assert (result.exit_code, "exists" in result.stderr) == (2, True)
    assert run("export", tiny_folder, target, "--overwrite", "-q").stdout == f"{target}\n"
    assert run("export", tiny_folder, tmp_path / "tiny.pth").exit_code == 2


def test_export_into_a_folder_that_cannot_be_written_is_one_error(
    run: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = run("export", tiny_folder, tmp_path / "file" / "x.onnx")
    assert result.exit_code == 1
    assert "cannot write" in result.stderr
