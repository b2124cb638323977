"""A model as an ONNX file, run by ONNX Runtime."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facesr.errors import MissingExtra
from facesr.models import build_network
from facesr.models.base import enlarge
from facesr.models.onnx import export_onnx
from facesr.weights.load import load_model
from tests.conftest import TINY, Run, variants

onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the tests' own requirements")


@pytest.mark.parametrize(("arch", "args"), variants(), ids=str)
def test_results_equal_those_of_pytorch_at_any_size_and_batch(
    arch: str, args: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = build_network(arch, args).eval().requires_grad_(False)
    export_onnx(network, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    for shape in [(1, 3, 16, 16), (2, 3, 37, 53), (3, 3, 1, 1), (1, 3, 1, 40)]:
        lq = torch.rand(shape)
        (prediction,) = session.run(None, {"lq": lq.numpy()})
        with torch.inference_mode():
            expected = enlarge(network, lq).clamp(0, 1)
        torch.testing.assert_close(torch.from_numpy(prediction), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_without_the_packages_the_extra_is_named(
    tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra, match="extra `onnx`"):
        export_onnx(build_network("msrresnet", TINY), tmp_path / "network.onnx")


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
