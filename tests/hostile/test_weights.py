"""Weights that mean harm: one error, nothing run, nothing built, nothing fetched."""

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from facesr.config.model import ModelConfig
from facesr.models import build_network
from facesr.weights.save import save_folder
from tests.conftest import TINY, Run, tiny_state
from tests.hostile.processes import facesr

Break = Callable[[Path], object]


@pytest.fixture
def refused(run: Run, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that asserts that `--model` is refused, before a network takes memory."""
    import facesr.weights.load as load

    built: list[object] = []
    build = load.build_network

    def note(arch: str, args: dict[str, Any]) -> object:
        network = build(arch, args)
        built.extend(one for one in network.parameters() if not one.is_meta)
        return network

    monkeypatch.setattr(load, "build_network", note)
    monkeypatch.setattr("facesr.weights.hub.download_folder", None)

    def check(model: object, *, code: int = 1) -> str:
        result = run("upscale", faces, tmp_path / "out", "-m", model, "-d", "cpu")
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == code, result.output
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        others = [line for line in result.stderr.splitlines() if not line.startswith(("error: ", "hint: "))]
        assert (len(errors), others) == (1, []), result.stderr
        assert len(errors[0]) < 1000
        assert built == []
        assert not (tmp_path / "out").exists()
        return errors[0]

    return check


def safetensors(header: object, content: bytes = b"", *, length: int | None = None) -> bytes:
    """Return a file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + content


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HEADERS = {
    "length beyond the file": safetensors({"a": entry([1], 0, 4)}, bytes(4), length=10**6),
    "length of 2**63": safetensors({"a": entry([1], 0, 4)}, bytes(4), length=2**63),
    "length of nothing": safetensors({}, length=0),
    "no JSON": safetensors(b"not json at all"),
    "a list": safetensors([1, 2]),
    "nested": safetensors(b"[" * 50_000 + b"]" * 50_000),
    "not UTF-8": safetensors(b'{"\xff": {}}'),
    "overlap": safetensors({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, bytes(4)),
    "outside": safetensors({"a": entry([1], 100, 104)}, bytes(4)),
    "backwards": safetensors({"a": entry([1], 4, 0)}, bytes(4)),
    "negative": safetensors({"a": entry([-1], 0, 4)}, bytes(4)),
    "hole": safetensors({"a": entry([1], 4, 8)}, bytes(8)),
    "rest": safetensors({"a": entry([1], 0, 4)}, bytes(400)),
    "shape of another size": safetensors({"a": entry([5, 5], 0, 4)}, bytes(4)),
    "dtype of another size": safetensors({"a": entry([1], 0, 4, "F64")}, bytes(4)),
    "unknown dtype": safetensors({"a": entry([1], 0, 4, "F33")}, bytes(4)),
    "odd dtype": safetensors({"a": entry([4], 0, 4, "F8_E8M0")}, bytes(4)),
    "half a byte": safetensors({"a": entry([2], 0, 1, "F4")}, bytes(1)),
    "2**60 values": safetensors({"a": entry([2**60], 0, 2**62)}, bytes(4)),
    "values beyond 64 bits": safetensors({"a": entry([2**40, 2**40], 0, 4)}, bytes(4)),
    "nothing times 2**62": safetensors({"a": entry([0, 2**62, 2**62], 0, 0)}),
    "200 dimensions": safetensors({"a": entry([1] * 200, 0, 4)}, bytes(4)),
    "no offsets": safetensors({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)),
    "text for a shape": safetensors({"a": {**entry([1], 0, 4), "shape": "x"}}, bytes(4)),
    "only a comment": safetensors({"__metadata__": {"a": "b"}}),
    "a comment of numbers": safetensors({"__metadata__": {"a": 5}}),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_safetensors_header_that_lies_is_refused(
    name: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(HEADERS[name])
    assert "net.safetensors" in refused(path)


class Call:
    """Calls a function where it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def evil(marker: Path) -> dict[str, object]:
    """Return trees that would touch a file if what is in them were run."""
    command = f"touch '{marker}'"
    return {
        "os.system": Call(os.system, command),
        "eval": Call(eval, f"__import__('os').system({command!r})"),
        "exec": Call(exec, f"open({str(marker)!r}, 'w')"),
        "open": Call(open, str(marker), "w"),
        "getattr": Call(getattr, 1, "real"),
        "import": Call(__import__, "antigravity"),
        "a key": {Call(os.system, command): torch.zeros(1)},
        "inside a tensor's attributes": {"params": OrderedDict(a=Call(os.system, command))},
        "torch.load again": Call(torch.load, str(marker)),
        "torch.hub": Call(torch.hub.load, "user/repo", "model"),
        "rmtree": Call(shutil.rmtree, str(marker.parent / "faces")),
    }


@pytest.mark.parametrize("name", evil(Path("x")))
@pytest.mark.parametrize("form", ["zip", "legacy", "plain pickle"])
def test_code_in_a_pickle_is_never_run(
    form: str, name: str, refused: Callable[..., str], tmp_path: Path, faces: Path
) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "net.pth"
    tree = {"params_ema": tiny_state(), "extra": evil(marker)[name]}
    if form == "plain pickle":
        path.write_bytes(pickle.dumps(evil(marker)[name], 2))
    else:
        torch.save(tree, path, _use_new_zipfile_serialization=form == "zip")
    assert "Nothing in it was run" in refused(path)
    assert not marker.exists()
    assert faces.exists()


def test_the_harm_in_these_pickles_is_real(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save(evil(marker)["os.system"], tmp_path / "net.pth")
    torch.load(tmp_path / "net.pth", weights_only=False)
    assert marker.exists()


class Shape:
    """A tensor that is pickled under another size than its storage has."""

    def __init__(self, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> None:
        self.arguments = offset, size, stride, False, OrderedDict[str, object]()

    def __reduce__(self) -> tuple[Any, ...]:
        storage = torch.zeros(4).storage()
        return torch._utils._rebuild_tensor_v2, (storage, *self.arguments)


LIES = {
    "one value for 2**33": Shape((2**33,), (0,)),
    "2**33 values": Shape((2**33,), (1,)),
    "2**61 values": Shape((2**61,), (1,)),
    "beyond 64 bits": Shape((2**62, 4), (0, 0)),
    "negative": Shape((-5,), (1,)),
    "offset outside": Shape((4,), (1,), 2**40),
    "negative offset": Shape((1,), (1,), -8),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", LIES)
def test_a_pickled_tensor_of_a_false_size_is_refused(
    name: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    torch.save({**tiny_state(), "conv_first.weight": LIES[name]}, tmp_path / "net.pth")
    assert "net.pth" in refused(tmp_path / "net.pth")


def test_a_network_of_gigabytes_in_a_file_of_kilobytes_is_refused(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    with torch.device("meta"):
        state = build_network("msrresnet", {"blocks": 40, "features": 1024}).state_dict()
    torch.save({key: torch.zeros(1).expand(one.shape) for key, one in state.items()}, tmp_path / "net.pth")
    assert (tmp_path / "net.pth").stat().st_size < 100_000
    assert "the file is truncated: its tensors need more bytes than it has" in refused(tmp_path / "net.pth")


def test_a_compressed_checkpoint_is_not_unpacked(refused: Callable[..., str], tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(300_000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "net.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for info in plain.infolist():
            packed.writestr(info.filename, plain.read(info.filename))
    assert (tmp_path / "net.pth").stat().st_size < 20_000
    assert "is compressed" in refused(tmp_path / "net.pth")


def names_alone(blocks: int, features: int) -> dict[str, torch.Tensor]:
    """Return empty tensors whose names, and one shape, ask for a network of many gigabytes."""
    state = {f"body.{index}.conv1.weight": torch.zeros(0) for index in range(blocks)}
    state |= dict.fromkeys(("upconv2.weight", "conv_hr.weight"), torch.zeros(0))
    return {**state, "conv_first.weight": torch.zeros(features, 3, 3, 3)}


@pytest.mark.parametrize(("blocks", "features"), [(512, 1024), (513, 8), (10_000, 1), (1, 1025)])
def test_names_that_ask_for_gigabytes_are_refused_before_anything_is_built(
    blocks: int, features: int, refused: Callable[..., str], tmp_path: Path
) -> None:
    save_file({k: v.clone() for k, v in names_alone(blocks, features).items()}, tmp_path / "net.safetensors")
    refused(tmp_path / "net.safetensors")


def spoilt(key: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    return {**tiny_state(), key: value}


STATES = {
    "another shape": spoilt("conv_last.weight", torch.zeros(3, 9, 3, 3)),
    "no dimension": spoilt("conv_last.weight", torch.tensor(1.0)),
    "empty": spoilt("conv_last.weight", torch.zeros(0)),
    "integers": spoilt("conv_last.bias", torch.zeros(3, dtype=torch.int8)),
    "truths": spoilt("conv_last.bias", torch.zeros(3, dtype=torch.bool)),
    "complex": spoilt("conv_last.bias", torch.zeros(3, dtype=torch.complex64)),
    "infinite": spoilt("conv_last.bias", torch.full((3,), torch.inf)),
    "not a number, once": spoilt("body.0.conv1.bias", torch.tensor([0.0] * 7 + [torch.nan])),
    "infinite in half precision": spoilt("conv_last.bias", torch.tensor([1e6, 0, 0]).half()),
    "first of four channels": spoilt("conv_first.weight", torch.zeros(8, 4, 3, 3)),
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_tensors_that_do_not_fit_are_refused(
    suffix: str, name: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / f"net{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(STATES[name], path)
    assert "does not fit" in refused(path) or "supported network" in refused(path)


def edited(**changes: object) -> Break:
    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


CONFIGS: dict[str, Break] = {
    "unknown architecture": edited(arch="../../etc/passwd"),
    "10**9 blocks": edited(args={"blocks": 10**9, "features": 8}),
    "10**300 blocks": edited(args={"blocks": 10**300, "features": 8}),
    "no blocks": edited(args={"blocks": 0, "features": 8}),
    "minus one block": edited(args={"blocks": -1, "features": 8}),
    "half a block": edited(args={"blocks": 1.5, "features": 8}),
    "infinite features": edited(args={"blocks": 1, "features": float("inf")}),
    "a block called self": edited(args={"blocks": 1, "features": 8, "self": 3}),
    "text of a megabyte for numbers": edited(args="x" * 900_000),
    "many unknown keys": edited(**{f"key{index}": index for index in range(500)}),
    "one byte of the checksum": edited(sha256="0" * 64),
    "a checksum of another kind": edited(sha256="md5"),
    "nested": lambda path: path.write_text("[" * 100_000 + "]" * 100_000),
    "nested objects": lambda path: path.write_text('{"a":' * 900 + "1" + "}" * 900),
    "a million keys": lambda path: path.write_text(json.dumps(dict.fromkeys(map(str, range(200_000))))),
    "two megabytes": lambda path: path.write_text(path.read_text() + " " * (2 << 20)),
    "not UTF-8": lambda path: path.write_bytes(b'{"name": "\xff\xfe"}'),
    "UTF-16": lambda path: path.write_bytes(path.read_text().encode("utf-16")),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "a number of 5000 digits": lambda path: path.write_text('{"iterations": ' + "9" * 5000 + "}"),
    "half": lambda path: path.write_text(path.read_text()[:100]),
    "not a number": lambda path: path.write_text("NaN"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a loop": lambda path: (path.unlink(), path.symlink_to(path.name)),
    "an endless device": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_config_is_refused(name: str, refused: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "w"
    save_folder(folder, tiny_state(), ModelConfig(name="w", arch="msrresnet", args=TINY))
    CONFIGS[name](folder / "config.json")
    assert str(folder) in refused(folder)


def test_a_replaced_file_does_not_match_its_checksum(refused: Callable[..., str], tmp_path: Path) -> None:
    save_folder(tmp_path / "w", tiny_state(), ModelConfig(name="w", arch="msrresnet", args=TINY))
    content = bytearray(save(tiny_state()))
    content[-1] ^= 1
    (tmp_path / "w" / "model.safetensors").write_bytes(content)
    assert "sha256 is" in refused(tmp_path / "w")


@pytest.mark.parametrize(
    "model",
    [
        "../../x/y", "../x", "x/..", "user/..", "hf://../..", "hf://user/..", "hf:///etc/passwd",
        "/etc/nothing", "user/repo@../../../x", "user/repo@", "@main", "hf://", "user//repo", "~/x", "C:\\x",
        "user/repo\n", "user/re\x1b[31mpo", "-m", " ", "\udcff", "file:///etc/passwd", "https://host/x.pth",
    ],
)  # fmt: skip
def test_a_name_never_leads_out_of_its_place(model: str, refused: Callable[..., str]) -> None:
    assert "no model `" in refused(model, code=2)


@pytest.mark.parametrize("model", ["..", "/", "/etc", ""])
def test_a_folder_that_holds_no_weights_is_refused(model: str, refused: Callable[..., str]) -> None:
    assert "not a weight folder" in refused(model)


@pytest.mark.parametrize("model", ["/etc/passwd", "/dev/null"])
def test_a_file_of_another_kind_is_refused(model: str, refused: Callable[..., str]) -> None:
    refused(model, code=2 if model == "/dev/null" else 1)


def test_a_name_in_a_config_does_not_lead_out_of_the_results(run: Run, faces: Path, tmp_path: Path) -> None:
    for index, name in enumerate(("../../escaped", "..")):
        config = ModelConfig(name=name, arch="msrresnet", args=TINY)
        save_folder(tmp_path / f"w{index}", tiny_state(index), config)
    (tmp_path / "hq").mkdir()
    assert run("upscale", faces, tmp_path / "hq", "-m", tmp_path / "w0", "-d", "cpu").exit_code == 0
    before = {path for path in tmp_path.rglob("*") if "save" not in path.parts}
    arguments = (
        "-m",
        tmp_path / "w0",
        "-m",
        tmp_path / "w1",
        "--save",
        tmp_path / "deep" / "save",
        "-d",
        "cpu",
    )
    result = run("eval", "--hq", tmp_path / "hq", "--lq", faces, *arguments)
    assert result.exit_code == 0, result.output
    after = {path for path in tmp_path.rglob("*") if "save" not in path.parts}
    assert after - before == {tmp_path / "deep"}
    assert len(list((tmp_path / "deep" / "save").rglob("*.png"))) == 6


def test_refusing_takes_no_memory(faces: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file({k: v.clone() for k, v in names_alone(512, 1024).items()}, path)
    done = facesr("upscale", faces, "out", "-m", path, "-d", "cpu", cwd=tmp_path)
    assert (done.code, "Traceback" in done.stderr) == (1, False)
    assert done.stderr.startswith("error: ")
    assert done.peak_mib < 4096  # the network alone would take 36 GiB


def test_a_damaged_checkpoint_of_a_run_is_one_error(run: Run, tmp_path: Path) -> None:
    from PIL import Image

    from tests.conftest import noise

    (tmp_path / "hq").mkdir()
    Image.fromarray(noise(16, 16)).save(tmp_path / "hq" / "a.png")
    arguments: tuple[object, ...] = ("--train-hq", tmp_path / "hq", "--crop", 16, "--blocks", 1)
    arguments += ("--set", "features=8", "-d", "cpu")
    small = (
        "--recipe",
        "smoke",
        "--set",
        "iterations=2",
        "--set",
        "validate_every=0",
        "--out",
        tmp_path / "run",
    )
    done = run("train", *arguments, *small, "--set", "data.workers=0")
    assert done.exit_code == 0, done.output
    path = tmp_path / "run" / "last" / "checkpoint.pt"
    whole = torch.load(path, weights_only=True)
    trees: dict[str, object] = {
        "code": Call(os.system, f"touch '{tmp_path / 'ran'}'"),
        "a list": [1, 2],
        "nothing": {},
        "no network": {key: value for key, value in whole.items() if key != "network"},
        "another network": {**whole, "network": {"x": torch.zeros(1)}},
        "text": {**whole, "optimizers": "x"},
        "a step that is none": {**whole, "step": "five"},
    }
    for name, tree in trees.items():
        torch.save(tree, path)
        result = run("train", "--resume", tmp_path / "run", "--iterations", 4)
        assert result.exit_code == 1, (name, result.exception)
        assert "checkpoint.pt: damaged checkpoint" in result.stderr, name
    assert not (tmp_path / "ran").exists()
