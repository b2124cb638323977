"""A run survives anything, learns, and leaves a folder that the other commands take as it is."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image

import facesr
from facesr.config.build import build, read_toml
from facesr.config.data import DataConfig
from facesr.config.loss import LossConfig
from facesr.config.optim import OptimConfig
from facesr.config.train import TrainConfig, resumed_config, train_recipe
from facesr.data.batches import Batch
from facesr.data.resident import ResidentImages
from facesr.errors import ConfigError, DeviceError, ImageError, MissingExtra, RunError, WeightsError
from facesr.metrics import METRICS
from facesr.models import build_network
from facesr.models.base import SRNetwork, Window
from facesr.processes import STOP_SIGNALS
from facesr.results import TrainResult
from facesr.training import validation
from facesr.training.distributed import worker_count
from facesr.training.loop import TrainingLoop
from facesr.training.losses import LOSSES
from facesr.training.run_folder import RunFolder
from facesr.training.signals import StopSignals
from facesr.training.start import remaining
from facesr.training.trainer import Trainer
from facesr.training.validation import Validator
from facesr.weights.find import find_model, find_weights
from facesr.workflows.train import train
from tests.conftest import Listener, noise

TINY = {"blocks": 1, "features": 8}
CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    for name, count in (("train", 6), ("val", 2)):
        (tmp_path / name).mkdir()
        for index in range(count):
            Image.fromarray(noise(48, 48, seed=index + 10 * count)).save(tmp_path / name / f"{index}.png")
    (tmp_path / "lq").mkdir()
    for index in range(2):
        hq = Image.open(tmp_path / "val" / f"{index}.png")
        hq.resize((12, 12), Image.Resampling.BICUBIC).save(tmp_path / "lq" / f"{index}.png")
        hq.close()
    return {
        "train_hq": [str(tmp_path / "train")],
        "val_hq": str(tmp_path / "val"),
        "val_lq": [str(tmp_path / "lq")],
        "crop_px": 32,
        "workers": 0,
    }


def make(data: dict[str, Any], out: Path, **changes: Any) -> TrainConfig:
    tree: dict[str, Any] = {
        "args": TINY, "iterations": 6, "batch": 4, "log_every": 2, "save_every": 2, "validate_every": 3,
        "sample_count": 1, "device": "cpu", "out": str(out), "data": data,
        "optim": {"learning_rate": 1e-3},
    }  # fmt: skip
    return build(TrainConfig, {**tree, **changes})


def lines(run: Path) -> list[dict[str, Any]]:
    """Return the metrics without what depends on the clock."""
    return [
        {key: value for key, value in line.items() if key not in {"samples_per_s", "waiting"}}
        for line in RunFolder(run).metrics()
    ]


def state(run: Path) -> dict[str, Any]:
    return torch.load(run / "last" / "checkpoint.pt", weights_only=True)


def same(left: Any, right: Any, path: str = "") -> None:
    """Assert that two checkpoints are equal to the last bit."""
    assert type(left) is type(right), path
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right), path
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            same(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, list):
        for index, pair in enumerate(zip(left, right, strict=True)):
            same(*pair, f"{path}.{index}")
    else:
        assert left == right, path


def equal_runs(left: Path, right: Path) -> None:
    same(state(left), state(right))
    assert lines(left) == lines(right)
    weights = Path("best") / "model.safetensors"
    assert (left / weights).read_bytes() == (right / weights).read_bytes()


@pytest.mark.parametrize("arch", ["msrresnet", "edsr"])
def test_a_run_leaves_a_folder_that_says_everything(arch: str, data: dict, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = train(make(data, out, arch=arch, iterations=5))
    assert result == TrainResult(out, 5, 5, result.best_psnr, result.bicubic_psnr)
    logged = lines(out)
    assert [line["step"] for line in logged if "loss" in line] == [2, 4, 5]
    assert [line["step"] for line in logged if "validation" in line] == [3, 5]
    validation = logged[-1]["validation"]
    assert set(validation) == {"ema", "raw", "bicubic"}
    assert set(validation["ema"]["lq"]) == {"psnr", "ssim"}
    assert logged[-1]["best"]["psnr"] == result.best_psnr
    assert json.loads((out / "env.json").read_text())["torch"] == torch.__version__
    assert [path.name for path in sorted((out / "samples").iterdir())] == ["0000003.png", "0000005.png"]
    model = facesr.load_model(out / "best", device="cpu")
    assert (model.config.arch, model.config.args["blocks"]) == (arch, 1)
    assert model.config.scores[0].psnr == result.best_psnr
    assert model.config.iterations == logged[-1]["best"]["step"]
    assert facesr.upscale_image(noise(5, 6), model).shape == (20, 24, 3)


@pytest.mark.parametrize("name", ["x/..", os.fsdecode(b"\xff\n run")])
def test_a_run_folder_may_have_any_name(name: str, data: dict, tmp_path: Path) -> None:
    out = tmp_path / "runs" / name
    train(make(data, out, iterations=1))
    kept = json.loads((out / "best" / "config.json").read_text(encoding="utf-8"))
    assert kept["name"] == ("runs" if name == "x/.." else "?\n run")
    assert resume(out).step == 1


def test_the_configuration_of_a_run_reloads_as_it_is(data: dict, tmp_path: Path) -> None:
    config = make(data, tmp_path / "run", args={"features": 8}, iterations=1, validate_every=0)
    train(config)
    # With the arguments that were left to their defaults, which another version may change, and with what
    # `auto` was on this device.
    config = replace(config, args={"blocks": 20, "features": 8, "scale": 4})
    config = replace(config, data=replace(config.data, resident="no"))
    reloaded = resumed_config(tmp_path / "run")
    assert replace(reloaded, resume=None, out=config.out) == config
    # As a `--config` of its own it starts another run.
    again = build(TrainConfig, read_toml(tmp_path / "run" / "config.toml"))
    assert again == replace(config, out=None)


@pytest.mark.parametrize(("crop_px", "window"), [(0, 32), (64, 16)])
def test_a_network_with_a_view_of_all_works_at_the_size_it_was_trained_on(
    crop_px: int, window: int, data: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = []
    original = validation.enlarge_pixels

    def enlarge_pixels(network: SRNetwork, *arguments: Any) -> Any:
        windows.append(network.traits.view)
        return original(network, *arguments)

    monkeypatch.setattr(validation, "enlarge_pixels", enlarge_pixels)
    (tmp_path / "large").mkdir()
    Image.fromarray(noise(64, 128)).save(tmp_path / "large" / "0.png")
    data = {**data, "crop_px": crop_px, "train_hq": [str(tmp_path / "large")]}
    train(make(data, tmp_path / "run", arch="faceunet", args={"blocks": 1, "features": 8}, iterations=1))
    assert set(windows) == {Window(window)}
    assert json.loads((tmp_path / "run" / "best" / "config.json").read_text())["patch_px"] == window


def test_sizes_that_the_network_cannot_halve_are_refused(data: dict, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="faceunet trains on LQ images of 16x16, not of 8x8"):
        train(make(data, tmp_path / "run", arch="faceunet", args={"blocks": 1, "features": 8}))


def test_pictures_left_out_are_told_of_once(data: dict, tmp_path: Path) -> None:
    (tmp_path / "val" / "c.jxl").write_bytes(b"")
    listener = Listener()
    train(make({**data, "train_hq": [data["val_hq"]]}, tmp_path / "run", iterations=1), listener)
    assert sum("c.jxl" in message for message in listener.warnings) == 1


@pytest.mark.parametrize("crop_px", [0, 32])
def test_odd_pairs_with_an_ending_train_as_those_cropped_and_renamed(
    crop_px: int, data: dict, tmp_path: Path
) -> None:
    runs = []
    for kind, edge, suffix in (("plain", 0, ""), ("odd", 3, "x4")):
        folders = {name: tmp_path / f"{kind}-{name}" for name in ("hq", "lq")}
        for index in range(3):
            hq = np.pad(noise(48, 48, seed=index), [(0, edge), (0, edge), (0, 0)], mode="wrap")
            for name, pixels in (("hq", hq), ("lq", noise(12, 12, seed=index))):
                folders[name].mkdir(exist_ok=True)
                ending = suffix if name == "lq" else ""
                Image.fromarray(pixels).save(folders[name] / f"{index}{ending}.png")
        hq, lq = map(str, folders.values())
        changes = {"train_hq": [hq], "train_lq": [lq], "val_hq": hq, "val_lq": [lq], "crop_px": crop_px}
        pairs = {"lq_suffix": suffix, "crop_to_scale": bool(edge)}
        out = tmp_path / kind
        train(make({**data, **changes, **pairs}, out, iterations=2, validate_every=1, log_every=1))
        validations = [[*line["validation"]["ema"].values()] for line in lines(out) if "validation" in line]
        losses = [line["loss"] for line in lines(out) if "loss" in line]
        sheet = (out / "samples" / "0000002.png").read_bytes()
        runs.append((validations, losses, sheet))
        runs[-1] = (*runs[-1], {key: one.tolist() for key, one in state(out)["network"].items()})
    assert runs[0] == runs[1]


def test_whole_images_that_the_scale_does_not_divide_are_cropped_if_asked(data: dict, tmp_path: Path) -> None:
    for index in range(6):
        Image.fromarray(noise(47, 47, seed=index)).save(tmp_path / "train" / f"{index}.png")
    whole = {**data, "crop_px": 0}
    with pytest.raises(ConfigError, match="47x47 is not divisible by 4") as caught:
        train(make(whole, tmp_path / "run"))
    assert "data.crop_to_scale=true" in caught.value.hint
    assert train(make({**whole, "crop_to_scale": True}, tmp_path / "run", iterations=1)).step == 1


def test_a_curve_goes_on_with_other_validation_pictures(data: dict, tmp_path: Path) -> None:
    train(make(data, tmp_path / "run", iterations=3))
    (tmp_path / "lq").rename(tmp_path / "other")
    tree = {**TrainConfig.defaults({}, {"resume": tmp_path / "run"}), "resume": str(tmp_path / "run")}
    tree |= {"iterations": 6, "data": {**tree["data"], "val_lq": [str(tmp_path / "other")]}}
    assert train(build(TrainConfig, tree)).step == 6


FULL = (
    "CUDA out of memory. Tried to allocate 2 GiB", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", "GET was unable to find an engine",
    "Unable to find a valid cuDNN algorithm to run convolution", "NVML_SUCCESS == r INTERNAL ASSERT FAILED",
    "[enforce fail] DefaultCPUAllocator: can't allocate memory",
)  # fmt: skip


@pytest.mark.parametrize("place", ["step", "images", "validation"])
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError(), MemoryError(), *map(RuntimeError, FULL)], ids=repr
)
def test_too_little_memory_is_one_clear_error(
    error: Exception, place: str, data: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    owners = {"step": (Trainer, "train_step"), "images": (ResidentImages, "make")}
    monkeypatch.setattr(*owners.get(place, (Validator, "score")), fail)
    if place == "images":
        data = {**data, "resident": "yes"}
    with pytest.raises(RunError, match="cpu has too little memory for a step") as caught:
        train(make(data, tmp_path / "run"))
    assert "`--batch`" in caught.value.hint
    assert "accumulate" in caught.value.hint


@pytest.mark.parametrize("place", ["step", "images"])
def test_another_error_of_a_device_stays_what_it_is(
    place: str, data: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(*{"step": (Trainer, "train_step"), "images": (ResidentImages, "make")}[place], fail)
    with pytest.raises(RuntimeError, match="illegal"):
        train(make({**data, "resident": "yes"}, tmp_path / "run"))


def test_it_overfits_four_crops(tmp_path: Path) -> None:
    torch.manual_seed(0)
    hq = torch.tensor(np.stack([np.kron(noise(8, 8, seed=s), np.ones((4, 4, 1))) for s in range(4)])).byte()
    lq = hq[:, 1::4, 1::4].contiguous()
    config = TrainConfig(iterations=500, optim=OptimConfig(learning_rate=4e-3, ema_decay=0.9))
    trainer = Trainer(build_network("msrresnet", {"blocks": 2, "features": 24}), config, CPU)
    batch = Batch(lq, hq, ("a",) * 4, ())
    losses = [float(trainer.train_step(batch)) for _ in range(500)]
    assert min(losses) < 0.01
    assert losses[0] > 0.03


def test_images_on_the_device_train_a_network(data: dict, tmp_path: Path) -> None:
    data = {**data, "resident": "yes", "degradation": ["clean"]}
    listener = Listener()
    train(make(data, tmp_path / "run", iterations=60, validate_every=0, log_every=20), listener)
    assert sum("images/s, bound by" in warning for warning in listener.warnings) == 1
    losses = [line["loss"] for line in lines(tmp_path / "run")]
    assert all(np.isfinite(losses))
    assert losses[-1] < losses[0]
    assert read_toml(tmp_path / "run" / "config.toml")["data"]["resident"] == "yes"


@pytest.mark.parametrize(
    ("warmup", "decays"), [(False, [0.4] * 5), (True, [1 / 10, 2 / 11, 3 / 12, 4 / 13, 4 / 13])]
)
def test_the_average_follows_its_definition(warmup: bool, decays: list[float]) -> None:
    network = build_network("msrresnet", TINY)
    config = TrainConfig(optim=OptimConfig(ema_decay=max(decays), ema_warmup=warmup))
    trainer = Trainer(network, config, CPU)
    expected = [parameter.detach().clone() for parameter in network.parameters()]
    batch = Batch(torch.tensor(noise(8, 8))[None], torch.tensor(noise(32, 32))[None], ("a",), ())
    for decay in decays:
        trainer.train_step(batch)
        now = network.parameters()
        expected = [decay * old + (1 - decay) * new.detach() for old, new in zip(expected, now, strict=True)]
    for average, value in zip(trainer.ema_network.parameters(), expected, strict=True):
        torch.testing.assert_close(average, value, atol=1e-7, rtol=0)


@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"clip_norm": 1e9}])
def test_accumulation_and_a_clip_too_wide_change_nothing(changes: dict) -> None:
    results = []
    for optim in (OptimConfig(), OptimConfig(**changes)):
        torch.manual_seed(0)
        trainer = Trainer(build_network("msrresnet", TINY), TrainConfig(optim=optim), CPU)
        lq = torch.stack([torch.tensor(noise(8, 8, seed=s)) for s in range(4)])
        hq = torch.stack([torch.tensor(noise(32, 32, seed=s)) for s in range(4)])
        results.append([float(trainer.train_step(Batch(lq, hq, ("a",) * 4, ()))) for _ in range(5)])
    assert results[0] == pytest.approx(results[1], abs=1e-6)


def test_bf16_autocast_trains() -> None:
    torch.manual_seed(0)
    trainer = Trainer(build_network("msrresnet", TINY), TrainConfig(dtype="bf16"), CPU)
    batch = Batch(torch.tensor(noise(8, 8))[None], torch.tensor(noise(32, 32))[None], ("a",), ())
    losses = [float(trainer.train_step(batch)) for _ in range(30)]
    assert losses[-1] < losses[0]
    assert next(trainer.network.parameters()).dtype == torch.float32


def test_a_step_asks_only_for_what_any_device_can_do_and_never_waits() -> None:
    # The device `meta` has no data to wait for, and no fast path that only CUDA and the CPU have.
    optim = OptimConfig(method="muon", clip_norm=1.0, accumulate=2)
    config = TrainConfig(optim=optim, loss={"l1": LossConfig(target="sharpened"), "psnr": LossConfig()})
    trainer = Trainer(build_network("msrresnet", TINY), config, torch.device("meta"))
    lq, hq = (torch.tensor(noise(side, side)).expand(2, -1, -1, -1) for side in (8, 32))
    for _ in range(2):
        assert trainer.train_step(Batch(lq, hq, ("a", "b"), ())).device.type == "meta"


def test_an_overflow_in_half_precision_moves_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    optim = OptimConfig(method="muon", clip_norm=1.0)
    trainer = Trainer(build_network("msrresnet", TINY), TrainConfig(dtype="fp16", optim=optim), CPU)
    before = [parameter.detach().clone() for parameter in trainer.network.parameters()]
    first = next(trainer.network.parameters())  # which Adam moves
    handle = first.register_hook(lambda gradient: gradient * float("nan"))
    batch = Batch(torch.tensor(noise(8, 8))[None], torch.tensor(noise(32, 32))[None], ("a",), ())
    trainer.train_step(batch)
    for parameter, old in zip(trainer.network.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
    handle.remove()
    trainer.train_step(batch)
    assert trainer.is_finite()
    assert not torch.equal(first, before[0])


def test_a_sharpened_target_changes_the_loss() -> None:
    batch = Batch(torch.tensor(noise(16, 16))[None], torch.tensor(noise(64, 64))[None], ("a",), ())
    losses = []
    for target in ("hq", "sharpened"):
        torch.manual_seed(0)
        config = TrainConfig(loss={"l1": LossConfig(target=target)})
        losses.append(float(Trainer(build_network("msrresnet", TINY), config, CPU).train_step(batch)))
    assert losses[0] != losses[1]


class Interrupting(Listener):
    """A reporter that sends this process a signal after some steps."""

    def __init__(self, number: int, after: int) -> None:
        super().__init__()
        self.number, self.after = number, after
        self.facts: dict[str, str] = {}

    def begin(self, total: int, unit: str, *, done: int = 0) -> None:
        assert unit == "steps"
        super().begin(total, unit, done=done)

    def advance(self, count: int = 1) -> None:
        super().advance(count)
        if self.done == self.after:
            signal.raise_signal(self.number)

    def show(self, facts: Mapping[str, str]) -> None:
        self.facts = dict(facts)


def resume(out: Path) -> TrainResult:
    return train(resumed_config(out))


@pytest.mark.parametrize("name", [signal.Signals(number).name for number in STOP_SIGNALS])
@pytest.mark.parametrize(
    ("ring", "method"),
    [({}, "adam"), ({"reuse": 3, "ring": 4}, "muon"), ({"resident": "yes", "reuse": 2, "ring": 4}, "muon")],
    ids=["fresh", "ring-muon", "resident"],
)
def test_a_signal_saves_and_the_resumed_run_is_the_same(
    name: str, ring: dict, method: str, data: dict, tmp_path: Path
) -> None:
    data = {**data, **ring}
    optim = {"learning_rate": 1e-3, "method": method}
    train(make(data, tmp_path / "whole", iterations=9, optim=optim))
    reporter = Interrupting(signal.Signals[name], after=5)
    before = signal.getsignal(signal.Signals[name])
    result = train(make(data, tmp_path / "cut", iterations=9, optim=optim), reporter)
    assert signal.getsignal(signal.Signals[name]) == before
    assert (result.step, result.stopped_by) == (5, name)
    assert state(tmp_path / "cut")["step"] == 5
    assert {"loss", "lr", "samples/s", "PSNR", "best"} == reporter.facts.keys()
    assert "on this CPU 9 steps take about" in reporter.warnings[0]
    # lines that were written after the last checkpoint, as a kill leaves them, are dropped
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 6, "loss": 1.0}\n{"step": 7, "lo')
    assert resume(tmp_path / "cut").step == 9
    equal_runs(tmp_path / "whole", tmp_path / "cut")
    assert len(list((tmp_path / "cut").glob("config*.toml"))) == 1
    assert resume(tmp_path / "cut").step == 9  # nothing is left to do


def test_a_run_that_goes_on_with_other_options_keeps_a_record_of_both(data: dict, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(make(data, out, iterations=6), Interrupting(signal.SIGTERM, after=2))
    first = (out / "config.toml").read_bytes()
    changed = replace(resumed_config(out), iterations=4)
    train(changed, Interrupting(signal.SIGTERM, after=1))
    assert (out / "config-to-2.toml").read_bytes() == first
    assert resumed_config(out) == replace(changed, out=None)
    assert resume(out).step == 4  # as told the second time
    assert len(list(out.glob("config*.toml"))) == 2
    train(replace(changed, log_every=7))  # nothing is left to do, and no step was run so
    train(replace(changed, log_every=8))
    assert read_toml(out / "config-to-4.toml")["log_every"] == 2


@pytest.mark.parametrize("change", ["name", "content"])
def test_a_resumed_run_says_when_its_pictures_have_changed(change: str, data: dict, tmp_path: Path) -> None:
    train(make(data, tmp_path / "run", iterations=4), Interrupting(signal.SIGTERM, after=2))
    last = max(Path(data["train_hq"][0]).iterdir())
    if change == "name":
        last.rename(last.with_name("z.png"))  # still the last one, and as large as before
    else:
        Image.fromarray(noise(48, 48, seed=99)).save(last)
    listener = Listener()
    train(resumed_config(tmp_path / "run"), listener)
    assert any("training data changed since this run started" in warning for warning in listener.warnings)


def test_training_goes_on_from_weights(data: dict, tmp_path: Path) -> None:
    train(make(data, tmp_path / "a"))
    best = tmp_path / "a" / "best"
    train(make(data, tmp_path / "b", init=str(best), iterations=1, optim={"learning_rate": 1e-12}))
    for key, tensor in facesr.load_model(best, device="cpu").network.state_dict().items():
        torch.testing.assert_close(state(tmp_path / "b")["network"][key], tensor, atol=1e-6, rtol=0)
    with pytest.raises(ConfigError, match="but the run is for msrresnet"):
        train(make(data, tmp_path / "c", init=str(best), args={"blocks": 1, "features": 9}))
    assert not (tmp_path / "c").exists()


def test_what_an_adversary_sharpened_names_the_weights_it_began_with(data: dict, tmp_path: Path) -> None:
    loss = {"l1": {}, "gan": {"share": 0.5}}
    train(make(data, tmp_path / "faithful", iterations=3))
    plain = tmp_path / "faithful" / "best"
    starts = {"plain": (plain, {}), "sharp": (plain, loss), "sharper": (tmp_path / "sharp" / "best", loss)}
    for name, (start, losses) in starts.items():
        extra = {"loss": losses} if losses else {}
        train(make(data, tmp_path / name, init=str(start), iterations=3, **extra))
    for name, base in {"plain": "", "sharp": "faithful", "sharper": "faithful"}.items():
        config = find_weights(str(tmp_path / name / "best")).config
        assert config is not None
        assert config.base == base
    shutil.copytree(plain, tmp_path / "sharper" / "faithful")
    half = find_model(str(tmp_path / "sharper" / "best"), sharpness=0.5)
    assert half.ends is not None
    assert half.ends[0].tensors == tmp_path / "sharper" / "faithful" / "model.safetensors"


def test_training_goes_on_with_more_blocks_which_learn(data: dict, tmp_path: Path) -> None:
    train(make(data, tmp_path / "a", iterations=3))
    best = str(tmp_path / "a" / "best")
    deeper = {"blocks": 3, "features": 8}
    optim = {"learning_rate": 1e-12}
    listener = Listener()
    train(make(data, tmp_path / "b", init=best, args=deeper, iterations=1, optim=optim), listener)
    assert any("new layers: body.1.conv1" in warning for warning in listener.warnings)
    images = torch.rand(1, 3, 12, 12)
    with torch.inference_mode():
        before, after = (
            facesr.load_model(path, device="cpu").network(images) for path in (best, tmp_path / "b" / "best")
        )
    torch.testing.assert_close(before, after, atol=1e-6, rtol=0)
    train(make(data, tmp_path / "c", init=best, args=deeper, iterations=5))
    grown = facesr.load_model(tmp_path / "c" / "best", device="cpu").network.state_dict()
    assert grown["body.2.conv2.weight"].abs().max() > 0


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(data: dict, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(make(data, out, iterations=4))
    kept = (out / "last" / "checkpoint.pt").read_bytes()
    tree = {**TrainConfig.defaults({}, {"resume": out}), "resume": str(out), "iterations": 20}
    tree["optim"]["learning_rate"] = 1e18
    with pytest.raises(RunError, match=r"the loss `l1` at step \d+ is (nan|inf), .*\.png") as caught:
        train(build(TrainConfig, tree))
    assert "--lr" in caught.value.hint
    assert (out / "last" / "checkpoint.pt").read_bytes() == kept


def test_a_full_disk_is_one_clear_error_and_keeps_the_checkpoint(
    data: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    train(make(data, out, iterations=4))
    kept = state(out)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        "facesr.files.paths.os.fsync", full
    )  # writing is buffered; this is where a disk says no
    tree = {**TrainConfig.defaults({}, {"resume": out}), "resume": str(out), "iterations": 8}
    with pytest.raises(RunError, match=r"cannot write .*checkpoint\.pt: No space left on device"):
        train(build(TrainConfig, tree))
    same(state(out), kept)
    assert [path.name for path in (out / "last").iterdir()] == ["checkpoint.pt"]


def test_what_cannot_be_resumed_or_started_is_refused(data: dict, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(make(data, out, iterations=1, validate_every=0))
    with pytest.raises(ConfigError, match="already contains a run"):
        train(make(data, out))
    with pytest.raises(ConfigError, match=r"env\.json is a file"):
        train(make(data, out / "env.json"))
    kept = resumed_config(out)
    with pytest.raises(ConfigError, match=r"has `blocks` \d, which `--resume` cannot change"):
        train(replace(kept, args={**kept.args, "blocks": 9}))
    (out / "last" / "checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(RunError, match="damaged checkpoint"):
        resume(out)
    for place in (tmp_path / "nothing", tmp_path, out / "other"):
        for call in (resume, lambda run: train(TrainConfig(resume=run))):
            with pytest.raises(ConfigError, match=r"is not a run folder \(no `config.toml` in it\)"):
                call(place)
    with pytest.raises(DeviceError, match="does not run in fp16"):
        train(make(data, tmp_path / "other", arch="edsr", dtype="fp16"))
    with pytest.raises(ConfigError, match="no argument `depth`"):
        train(make(data, tmp_path / "other", args={"depth": 3}))
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        train(make(data, tmp_path / "file" / "run"))


def test_a_run_is_continued_by_what_lies_in_it_and_its_weights_are_hinted_at(
    data: dict, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train(make(data, out, iterations=1, validate_every=1))
    for place in ("", "last", "last/checkpoint.pt", "config.toml", "metrics.jsonl", "samples"):
        assert resumed_config(out / place).resume == out
        assert TrainConfig(resume=out / place).resolved().resume == out
    for place in ("best", "best/model.safetensors"):
        with pytest.raises(ConfigError, match="names weights, not a run") as caught:
            resumed_config(out / place)
        assert f"`--resume {out}`" in caught.value.hint
        assert f"`--init {out / 'best'}`" in caught.value.hint
    for place in ("", "config.toml", "best/config.json", "samples"):
        with pytest.raises(WeightsError, match="not a weight") as refused:
            facesr.load_model(out / place)
        assert refused.value.hint == f"use the weights `{out / 'best'}`"
    with pytest.raises(WeightsError, match="not a weight folder") as refused:
        facesr.load_model(out / "last")
    assert refused.value.hint == f"use the weights `{out / 'last' / 'checkpoint.pt'}`"
    (out / "best" / "config.json").unlink()
    with pytest.raises(WeightsError, match="not a weight folder") as refused:
        facesr.load_model(out / "best")
    assert refused.value.hint == f"use the weights `{out / 'last' / 'checkpoint.pt'}`"


def test_a_configuration_beside_another_is_no_run(tmp_path: Path) -> None:
    for name in ("config.toml", "mine.toml"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"mine.toml` is not a run folder"):
        resumed_config(tmp_path / "mine.toml")


def test_a_run_without_a_checkpoint_starts_again_either_way(data: dict, tmp_path: Path) -> None:
    config = make(data, tmp_path / "a", iterations=4)
    train(config)
    for name, how in (("b", resume), ("c", None)):
        out = tmp_path / name
        train(replace(config, out=out))
        shutil.rmtree(out / "last")  # as if it had been killed before the first
        shutil.rmtree(out / "best")
        _ = how(out) if how else train(replace(config, out=out))
        equal_runs(tmp_path / "a", out)


def test_a_resumed_run_without_a_checkpoint_says_that_it_starts_again(data: dict, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(make(data, out, iterations=1, validate_every=0))
    shutil.rmtree(out / "last")
    listener = Listener()
    train(resumed_config(out), listener)
    assert any("no checkpoint yet" in warning for warning in listener.warnings)


@pytest.mark.parametrize("how", ["new", "resumed"])
def test_the_best_weights_of_a_run_that_lost_its_checkpoint_stay(
    how: str, data: dict, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    config = make(data, out, iterations=3)
    train(config)
    shutil.rmtree(out / "last")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="no checkpoint to resume from"):
        train(config if how == "new" else resumed_config(out))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("how", ["new", "resumed"])
def test_two_processes_do_not_train_in_one_folder(
    how: str, data: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesr.training.run_folder._LOCK_WAIT_S", 0.01)
    out = tmp_path / "run"
    config = make(data, out, iterations=3)
    if how == "resumed":
        train(config, Interrupting(signal.SIGTERM, after=1))
        config = resumed_config(out)
    with (
        RunFolder(out).lock(),
        pytest.raises(ConfigError, match="another process is training in"),
    ):
        train(config)
    assert train(config).step == 3  # and it lets go of the folder at the end
    with RunFolder(out).lock():
        pass


def test_a_resumed_run_takes_other_degradations_and_sharpening(data: dict, tmp_path: Path) -> None:
    out = tmp_path / "run"
    sharp = {**data, "usm_source": True, "degradation": ["default", "mild"]}
    train(make(sharp, out, iterations=1))
    file = read_toml(out / "config.toml")
    file["data"] |= {"degradation": ["clean=2", "mild"], "usm_source": False}
    changed = build(TrainConfig, {**file, "resume": str(out), "iterations": 2}).data
    assert list(changed.degradations) == ["clean", "mild"]
    assert not any(one.usm_source for one in changed.degradations.values())
    assert train(build(TrainConfig, {**file, "resume": str(out), "iterations": 2})).step == 2


def test_a_pair_without_any_error_leaves_the_scores_finite(data: dict, tmp_path: Path) -> None:
    for folder, side in ((data["val_hq"], 48), (data["val_lq"][0], 12)):
        Image.new("RGB", (side, side)).save(Path(folder) / "black.png")  # which bicubic enlarges exactly
    train(make(data, tmp_path / "run", iterations=3))
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "Infinity" not in text
    assert "NaN" not in text
    assert lines(tmp_path / "run")[-1]["validation"]["bicubic"]["lq"]["psnr"] < 100


def test_another_optimiser_is_no_damage(data: dict, tmp_path: Path) -> None:
    train(make(data, tmp_path / "run", iterations=1))
    changed = replace(resumed_config(tmp_path / "run"), optim=OptimConfig(method="muon"), iterations=2)
    with pytest.raises(ConfigError, match=r"another `optim\.method`"):
        train(changed)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_degradation_of_another_size_is_one_clear_error(workers: int, data: dict, tmp_path: Path) -> None:
    path = tmp_path / "nofit.toml"
    path.write_text("[degradation.steps.blur]\nkind = 'blur'\nfamilies = {iso = 1.0}\n")
    with pytest.raises(ConfigError) as caught:
        train(make({**data, "degradation": [str(path)], "workers": workers}, tmp_path / "run"))
    assert "Traceback" not in caught.value.message
    assert caught.value.hint


def test_the_checkpoint_of_a_run_without_validation_is_a_model(data: dict, tmp_path: Path) -> None:
    train(make(data, tmp_path / "run", iterations=2, validate_every=0))
    model = facesr.load_model(tmp_path / "run" / "last" / "checkpoint.pt", device="cpu")
    for key, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, state(tmp_path / "run")["ema"][key])


def test_a_resumed_run_keeps_its_network_and_needs_its_first_weights_no_more(
    data: dict, tmp_path: Path
) -> None:
    train(make(data, tmp_path / "a", iterations=3))
    shutil.copytree(tmp_path / "a" / "best", tmp_path / "weights")
    out = tmp_path / "b"
    config = make(data, out, iterations=3, init=str(tmp_path / "weights"))
    train(config, Interrupting(signal.SIGTERM, after=1))
    shutil.rmtree(tmp_path / "weights")
    assert resume(out).step == 3
    card = json.loads((out / "best" / "config.json").read_text())
    assert card["training"].endswith(f"from {tmp_path / 'weights'}.")
    with pytest.raises(ConfigError, match="`blocks` 1, which `--resume` cannot change"):
        train(replace(resumed_config(out), args={"blocks": 3, "features": 8}))


def age(run: Path, *, loss: str) -> None:
    """Turn a run of one loss into one of the version that knew `optim.loss` and one unnamed sum."""
    checkpoint = state(run)
    checkpoint["loss_sum"] = torch.tensor(checkpoint.pop("loss_sums")[loss])
    checkpoint["network_args"] = {"arch": "edsr", **TINY}  # `res_scale` was not known
    del checkpoint["objective"]
    torch.save(checkpoint, run / "last" / "checkpoint.pt")
    tree = read_toml(run / "config.toml")
    assert tree.pop("loss")[loss].items() >= {"weight": 1.0, "target": "sharpened"}.items()
    del tree["discriminator"]
    del tree["best_by"], tree["args"]["res_scale"]
    tree["optim"] |= {"loss": loss, "usm_target": True}
    (run / "config.toml").write_text(tomli_w.dumps(tree))


def test_a_run_of_an_earlier_version_goes_on_to_the_last_bit(data: dict, tmp_path: Path) -> None:
    settings = {"arch": "edsr", "loss": {"charbonnier": {"target": "sharpened"}}, "iterations": 6}
    train(make(data, tmp_path / "whole", **settings))
    train(make(data, tmp_path / "old", **settings), Interrupting(signal.SIGTERM, after=5))
    age(tmp_path / "old", loss="charbonnier")
    listener = Listener()
    assert train(resumed_config(tmp_path / "old"), listener).step == 6
    assert not any("best_by" in warning or "pictures" in warning for warning in listener.warnings)
    equal_runs(tmp_path / "whole", tmp_path / "old")


def test_a_run_of_two_losses_tells_of_both_and_resumes_to_the_last_bit(data: dict, tmp_path: Path) -> None:
    settings = {"loss": {"l1": {"weight": 0.25}, "mse": {"target": "sharpened"}}, "log_every": 3}
    train(make(data, tmp_path / "whole", **settings))
    reporter = Interrupting(signal.SIGTERM, after=4)
    train(make(data, tmp_path / "cut", **settings), reporter)
    assert {"loss", "l1", "mse"} <= reporter.facts.keys()
    assert resume(tmp_path / "cut").step == 6
    equal_runs(tmp_path / "whole", tmp_path / "cut")
    logged = [line for line in lines(tmp_path / "whole") if "loss" in line]
    for line in logged:
        assert line["losses"].keys() == {"l1", "mse"}
        assert line["loss"] == pytest.approx(0.25 * line["losses"]["l1"] + line["losses"]["mse"])
    card = json.loads((tmp_path / "whole" / "best" / "config.json").read_text())
    assert card["training"].startswith("Adam with the loss 0.25 l1 + mse. ")


def test_losses_that_change_on_resuming_begin_their_sums_again(data: dict, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(make(data, out, log_every=4), Interrupting(signal.SIGTERM, after=3))
    listener = Listener()
    changed = replace(resumed_config(out), loss={"mse": LossConfig(), "l1": LossConfig()})
    train(replace(changed, iterations=4), listener)
    whole = state(out)
    assert whole["loss_sums"].keys() == {"mse", "l1"}
    (line,) = [line for line in lines(out) if "loss" in line]
    assert line["losses"]["mse"] < line["losses"]["l1"] < 1


def test_a_loss_among_several_that_is_not_finite_is_named(
    data: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOSSES, "mse", lambda prediction, target: prediction.mean() * float("inf"))
    with pytest.raises(RunError, match="the loss `mse` at step 1 is"):
        train(make(data, tmp_path / "run", loss={"l1": {}, "mse": {}}))


def test_the_best_weights_are_chosen_by_the_metric_that_is_asked_for(
    data: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def distance(a: torch.Tensor, b: torch.Tensor, **_: object) -> torch.Tensor:
        return (a.double() - b.double()).abs().mean((1, 2, 3))

    monkeypatch.setitem(METRICS, "lpips", replace(METRICS["lpips"], function=distance))
    train(make(data, tmp_path / "run", best_by="lpips"))
    validations = [line for line in lines(tmp_path / "run") if "validation" in line]
    found = {
        (line["validation"][kind]["lq"]["lpips"], line["step"], kind)
        for line in validations
        for kind in ("ema", "raw")
    }
    lowest, step, kind = min(found)
    best = state(tmp_path / "run")["best"]
    assert (best["lpips"], best["step"], best["weights"]) == (lowest, step, kind)
    validation = next(line for line in validations if line["step"] == step)["validation"]
    assert best["psnr"] == validation[kind]["lq"]["psnr"]


def test_another_metric_for_the_best_starts_over_and_says_so(data: dict, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(make(data, out, iterations=3))
    assert state(out)["best"].keys() == {"step", "psnr", "weights"}  # as every version wrote it
    listener = Listener()
    train(replace(resumed_config(out), best_by="ssim"), listener)  # nothing is left to do
    assert not any("best_by" in warning for warning in listener.warnings)
    train(replace(resumed_config(out), best_by="ssim", iterations=6), listener)
    assert any("`best_by` was psnr and is ssim now" in warning for warning in listener.warnings)
    best = state(out)["best"]
    assert best["step"] == 6
    assert best.keys() == {"step", "psnr", "ssim", "weights"}
    assert facesr.load_model(out / "best", device="cpu").config.iterations == 6


def test_a_metric_without_a_value_for_an_image_cannot_choose_the_best(data: dict, tmp_path: Path) -> None:
    for folder, side in ((data["val_hq"], 8), (data["val_lq"][0], 2)):
        Image.fromarray(noise(side, side)).save(Path(folder) / "small.png")
    with pytest.raises(ConfigError, match="`best_by` is ssim, which has no value for some images of lq"):
        train(make(data, tmp_path / "run", best_by="ssim"))
    assert train(make(data, tmp_path / "run", iterations=1)).step == 1


@pytest.mark.parametrize("step", [3, 6])
def test_a_stop_at_a_validation_makes_up_for_it_later(step: int, data: dict, tmp_path: Path) -> None:
    train(make(data, tmp_path / "whole", iterations=6))
    result = train(make(data, tmp_path / "cut", iterations=6), Interrupting(signal.SIGTERM, after=step))
    assert (result.step, result.stopped_by) == (step, "SIGTERM")
    assert state(tmp_path / "cut")["validation_due"]
    assert resume(tmp_path / "cut").stopped_by == ""
    equal_runs(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("step", [3, 6])
@pytest.mark.parametrize("moment", ["first", "raw"])
def test_a_stop_during_a_validation_breaks_it_off(
    moment: str, step: int, data: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(make(data, tmp_path / "whole", iterations=6))
    scored = 0
    original = validation.measure_batch

    def measure_batch(*arguments: Any, **options: Any) -> list[dict[str, float]]:
        nonlocal scored
        run = tmp_path / "cut" / "last" / "checkpoint.pt"
        if run.exists() and state(tmp_path / "cut")["step"] == step:
            scored += 1
            if scored == {"first": 1, "raw": 3}[moment]:
                signal.raise_signal(signal.SIGTERM)
        return original(*arguments, **options)

    monkeypatch.setattr(validation, "measure_batch", measure_batch)
    result = train(make(data, tmp_path / "cut", iterations=6))
    assert (result.step, result.stopped_by) == (step, "SIGTERM")
    assert scored == {"first": 1, "raw": 3}[moment]
    assert resume(tmp_path / "cut").stopped_by == ""
    equal_runs(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("function", ["score", "write_samples"])
def test_a_run_that_dies_in_a_validation_has_lost_no_step(
    function: str, data: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(make(data, tmp_path / "whole", iterations=6))

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(validation.Validator, function, die)
    with pytest.raises(KeyboardInterrupt):
        train(make(data, tmp_path / "cut", iterations=6))
    monkeypatch.undo()
    assert state(tmp_path / "cut")["step"] == 3
    resume(tmp_path / "cut")
    equal_runs(tmp_path / "whole", tmp_path / "cut")


def test_the_first_signal_counts_and_none_is_lost_while_processes_agree(
    data: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = StopSignals()
    stop.receive(signal.SIGTERM, None)
    stop.receive(signal.SIGABRT, None)
    assert stop.number == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):
        stop.receive(signal.SIGINT, None)

    def reduce(number: torch.Tensor, *_: object, **__: object) -> None:
        stop.receive(signal.SIGTERM, None)  # as Python does once the call returns

    stop = StopSignals()
    monkeypatch.setattr("facesr.training.loop.dist.all_reduce", reduce)
    run = TrainingLoop.__new__(TrainingLoop)
    run._control = object()  # type: ignore[assignment]
    assert not run._agree(stop)
    monkeypatch.setattr("facesr.training.loop.dist.all_reduce", lambda *_, **__: None)
    assert run._agree(stop)
    assert stop.name == "SIGTERM"


def test_weights_that_are_not_finite_are_never_saved(data: dict, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(make(data, out, iterations=2))
    kept = (out / "last" / "checkpoint.pt").read_bytes()
    content = state(out)
    content["network"]["conv_last.bias"][0] = float("nan")
    torch.save(content, out / "last" / "checkpoint.pt")
    config = replace(resumed_config(out), iterations=4)
    with pytest.raises(RunError, match=r"the loss `l1` at step|no longer finite"):
        train(config)
    assert len(kept)
    assert torch.isnan(state(out)["network"]["conv_last.bias"][0])  # untouched, not saved over


def test_sets_of_one_name_are_told_apart(data: dict, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    shutil.copytree(tmp_path / "lq", tmp_path / "other" / "lq")
    both = [str(tmp_path / "lq"), str(tmp_path / "other" / "lq")]
    train(make({**data, "val_lq": both}, tmp_path / "run", iterations=1))
    assert set(lines(tmp_path / "run")[-1]["validation"]["ema"]) == set(both)


def test_nothing_readable_is_one_error_with_whole_pictures_too(data: dict, tmp_path: Path) -> None:
    for path in (tmp_path / "train").iterdir():
        path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ImageError, match="could not be read"):
        train(make({**data, "crop_px": 0}, tmp_path / "run"))


def test_turning_needs_squares(data: dict, tmp_path: Path) -> None:
    for path in (tmp_path / "train").iterdir():
        Image.fromarray(noise(48, 32)).save(path)
    with pytest.raises(ConfigError, match="cannot be turned in a batch"):
        train(make({**data, "crop_px": 0, "rotate_chance": 0.5}, tmp_path / "run"))


def test_the_psnr_loss_is_logged_as_it_is_and_drawn(data: dict, tmp_path: Path) -> None:
    train(make(data, tmp_path / "run", loss={"psnr": {}}))
    losses = [line["loss"] for line in lines(tmp_path / "run") if "loss" in line]
    assert all(-80 < loss < 0 for loss in losses)
    assert (tmp_path / "run" / "curve.png").stat().st_size > 0


def test_a_missing_extra_is_named(data: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facesr.training.curves.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="`tensorboard`") as caught:
        train(make(data, tmp_path / "run", tensorboard=True))
    assert "pip install 'facesr[tensorboard]'" in caught.value.hint


def test_best_is_recovered_if_the_process_died_while_it_was_replaced(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / ".best-old").mkdir()
    (tmp_path / ".best-old" / "model.safetensors").write_bytes(b"x")
    folder.recover()
    assert (tmp_path / "best" / "model.safetensors").read_bytes() == b"x"

    def fill() -> None:
        with folder.replacing_best() as new:
            new.mkdir()
            raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        fill()
    assert (tmp_path / "best" / "model.safetensors").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (65, "1 min 5 s"), (4000, "1 h 6 min"), (200_000, "2 d 7 h"), (0.2, "0 s")],
)
def test_durations_are_said_in_two_units(seconds: float, text: str) -> None:
    assert remaining(seconds) == text


@pytest.mark.parametrize("name", ["psnr", "face", "face-gpu", "sharp", "sharp-cpu", "original", "smoke"])
def test_recipes_are_valid(name: str) -> None:
    config = train_recipe(name)
    assert config.recipe == name
    if name == "original":
        assert (config.iterations, config.batch, config.data.crop_px) == (300_000, 8, 0)
        assert config.data.usm_source
        assert config.loss == {"l1": LossConfig(target="sharpened")}
        assert config.optim.periods == (150_000, 150_000)
    elif name.startswith("sharp"):
        assert config.args == {"noise": True}
        features = "stlpips_alex" if name == "sharp-cpu" else "stlpips_vgg"
        assert {key for key, one in config.loss.items() if one.counts and one.share} == {
            "texture",
            features,
            "gan",
            "phase",
            "dots",
            "repeats",
            "ldl",
        }
        assert (
            config.data.brightness_chance == config.data.contrast_chance == 0
        )  # clipped targets teach flats
    else:
        with_phase = {"psnr": LossConfig(), "phase": LossConfig(weight=4)}
        assert config.loss == (with_phase if name.startswith("face") else {"l1": LossConfig()})
        assert not config.data.usm_source


def test_the_recipe_for_a_gpu_sees_a_million_faces_and_the_variety_of_face() -> None:
    gpu, face = train_recipe("face-gpu"), train_recipe("face")
    assert gpu.iterations * gpu.batch == pytest.approx(1e6, rel=0.05)
    assert gpu.dtype == "bf16"
    assert replace(gpu.data, ring=face.data.ring, reuse=face.data.reuse) == face.data


def test_usm_is_off_by_default() -> None:
    assert not DataConfig().usm_source
    assert LossConfig().target == "hq"


# The rest runs `facesr train` as a process.

LONG = {
    "iterations": 60, "log_every": 1, "save_every": 4, "validate_every": 25, "sample_count": 0,
}  # fmt: skip


def command(data: dict[str, Any], out: Path, **settings: Any) -> list[str]:
    tree = {**LONG, **settings}
    arguments = [
        "train", "--recipe", "smoke", "--blocks", "1", "--set", "features=8", "--crop", "32", "-d", "cpu",
        "--train-hq", data["train_hq"][0], "--val-hq", data["val_hq"], "--val-lq", data["val_lq"][0],
        "--out", str(out),
    ]  # fmt: skip
    return [*arguments, *(word for key, value in tree.items() for word in ("--set", f"{key}={value}"))]


def script(
    data: dict[str, Any], folder: Path, text: str, *, many: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a script where processes are spawned, in a folder with the data where recipes look for it."""
    # So many that their names fill the pipe to a worker that does not read it.
    train_hq = Path(data["train_hq"][0])
    for index in range(many):
        (train_hq / f"{index}{'a' * 100}.png").hardlink_to(train_hq / "0.png")
    for name, place in (
        ("train/hq", data["train_hq"][0]),
        ("val/hq", data["val_hq"]),
        ("val/lq", data["val_lq"][0]),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(place)
    setting = "import multiprocessing\nmultiprocessing.set_start_method('spawn', force=True)\n"
    (folder / "mine.py").write_text(setting + text)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "mine.py"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


PAGE = Path(__file__).parents[2] / "docs" / "training.md"
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
SHORT = EXAMPLE.replace('"smoke", ', '"smoke", iterations=2, batch=2, data={"crop_px": 32, "workers": 1}, ')


def test_the_example_of_the_docs_is_a_script_where_processes_are_spawned(data: dict, tmp_path: Path) -> None:
    done = script(data, tmp_path / "here", SHORT)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) < 100


@pytest.mark.parametrize("many", [0, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_script_without_a_guard_is_told_so(many: int, data: dict, tmp_path: Path) -> None:
    unguarded = textwrap.dedent(SHORT.replace('if __name__ == "__main__":', "if True:"))
    done = script(data, tmp_path / "here", unguarded, many=many)
    assert done.returncode == 1
    assert 'has no `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
    assert "RunError" in done.stderr
    assert "bootstrapping" not in done.stderr


def finish(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "facesr", *arguments],
        env={**os.environ, "FACESR_NO_PROGRESS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


SHARES = {
    "loss.texture.share": 0.5, "loss.gan.share": 0.7, "loss.gan.part_px": 16, "discriminator.features": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("arch", "losses"), [("msrresnet", {}), ("edsr", {}), ("msrresnet", SHARES)], ids=str
)
def test_two_processes_give_the_losses_of_one(
    arch: str, losses: dict[str, Any], data: dict, tmp_path: Path
) -> None:
    settings = {
        "arch": arch, "iterations": 8, "log_every": 1, "save_every": 8, "validate_every": 8,
        "data.workers": 0, **losses,
    }  # fmt: skip
    finish(command(data, tmp_path / "one", **settings))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [*launcher, "-m", "facesr", *command(data, tmp_path / "two", **settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    one, two = (
        [line.get("losses", {"": line["loss"]}) for line in lines(tmp_path / name) if "loss" in line]
        for name in ("one", "two")
    )
    assert len(one) == 8
    for left, right in zip(one, two, strict=True):
        assert left == pytest.approx(right, abs=1e-5)
    best = [facesr.load_model(tmp_path / name / "best", device="cpu").network for name in ("one", "two")]
    for a, b in zip(best[0].parameters(), best[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_the_process_group_is_gone_when_training_is_over(tmp_path: Path) -> None:
    # One that lives on aborts the process at its exit, now and then: a thread of it may want the interpreter.
    (tmp_path / "two.py").write_text(
        "import weakref\n"
        "from facesr.config.train import TrainConfig\n"
        "from facesr.training.distributed import join_processes\n"
        "with join_processes(TrainConfig(device='cpu', batch=2)):\n"
        "    import torch.distributed as dist\n"
        "    from torch import nn\n"
        "    nn.parallel.DistributedDataParallel(nn.Linear(1, 1))\n"
        "    group = weakref.ref(dist.group.WORLD)\n"
        "assert group() is None\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, str(tmp_path / "two.py")], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("cores", "processes", "workers"), [(1, 1, 1), (6, 1, 6), (64, 4, 8), (8, 4, 2), (2, 4, 1)]
)
def test_workers_share_the_cores_among_the_processes_of_a_node(
    cores: int, processes: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesr.training.distributed.cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert worker_count(TrainConfig()) == workers
    assert worker_count(TrainConfig(data=DataConfig(workers=3))) == 3
