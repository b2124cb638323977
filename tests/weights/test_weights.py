"""Good weights load from every form they come in; bad ones are one clear error, and run no code."""

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage.data import astronaut

import facesr
from facesr.config.build import build, read_toml
from facesr.config.model import ModelConfig
from facesr.config.train import TrainConfig
from facesr.errors import ConfigError, DeviceError, WeightsError
from facesr.metrics.sharpness import spectrum_gap
from facesr.models import ARCHITECTURES, build_network, count_multiply_adds, count_parameters, resolve_args
from facesr.models.base import Window
from facesr.models.msrresnet import MSRResNet
from facesr.weights import load as loading
from facesr.weights.card import model_card
from facesr.weights.find import BUNDLED, WeightFiles, bundled_models, find_weights, list_weights
from facesr.weights.load import load_model
from facesr.weights.save import save_folder
from tests.conftest import TINY, small_args, tiny_state
from tests.test_device import OUT_OF_MEMORY

WEIGHTS = Path(facesr.__file__).parent / "weights" / "bundled"
RUNS = Path(__file__).parents[2] / "docs" / "runs"


def load(path: Path | str | WeightFiles) -> facesr.weights.load.Model:  # type: ignore[name-defined]
    return load_model(path, device="cpu")


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_is_what_its_config_says(name: str) -> None:
    model = load(find_weights(name))
    config = model.config
    assert config.name == name
    assert config.parameters == count_parameters(model.network)
    assert config.multiply_adds == count_multiply_adds(model.network)
    assert config.license == "CC-BY-NC-SA-4.0"
    assert config.sha256
    assert config.scores
    assert (WEIGHTS / name / "README.md").read_text(encoding="utf-8") == model_card(config)
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


@pytest.mark.parametrize(("patch_px", "window"), [(0, 128), (8, 128), (48, 48), (256, 256)])
def test_a_network_with_a_view_of_all_works_at_the_size_it_was_trained_on(
    patch_px: int, window: int, tmp_path: Path
) -> None:
    args = {"blocks": 1, "features": 8}
    config = ModelConfig(name="x", arch="faceunet", args=args, patch_px=patch_px)
    save_folder(tmp_path, build_network("faceunet", args).state_dict(), config)
    assert load(tmp_path).network.traits.view == Window(window)


def test_bundled_models_lists_them_all() -> None:
    assert tuple(model.name for model in bundled_models()) == BUNDLED


def test_a_folder_gives_back_what_was_saved(tiny_folder: Path) -> None:
    model = load(tiny_folder)
    assert model.config.args == {**TINY, "scale": 4}
    for key, tensor in tiny_state().items():
        assert torch.equal(model.network.state_dict()[key], tensor)


def test_half_precision_in_the_file_is_half_the_size_and_read_back_into_fp32(tmp_path: Path) -> None:
    state, config = tiny_state(), ModelConfig(name="tiny", arch="msrresnet", args=TINY)
    save_folder(tmp_path, state, config, dtype=torch.float16)
    assert {t.dtype for t in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}
    for key, tensor in load(tmp_path).network.state_dict().items():
        assert torch.equal(tensor, state[key].half().float())
    with pytest.raises(WeightsError, match="not finite"):
        save_folder(tmp_path, {key: t * 1e9 for key, t in state.items()}, config, dtype=torch.float16)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 0.5])
def test_half_precision_that_gives_no_picture_is_given_up_for_fp32(
    value: float, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = MSRResNet.forward

    def broken(self: MSRResNet, x: torch.Tensor) -> torch.Tensor:
        out = forward(self, x)
        return out if self.conv_first.weight.dtype is torch.float32 else torch.full_like(out, value)

    monkeypatch.setattr(MSRResNet, "forward", broken)
    model = load_model(tiny_folder, device="cpu", dtype="bf16")
    assert model.notes == ("bfloat16 gives no usable image on cpu, so fp32 is used",)
    assert model.dtype is torch.float32
    for key, tensor in load(tiny_folder).network.state_dict().items():
        assert torch.equal(model.network.state_dict()[key], tensor)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("message", OUT_OF_MEMORY)
def test_a_full_device_is_one_clear_error(
    message: str, dtype: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(network: object, device: object, dtype: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(loading, "_place", full)
    with pytest.raises(DeviceError, match="cpu has too little free memory for `tiny`") as caught:
        load_model(tiny_folder, device="cpu", dtype=dtype)
    assert caught.value.hint == "close other programs that use it"


def test_a_model_names_the_precision_it_computes_in(tiny_folder: Path) -> None:
    model = load_model(tiny_folder, device="cpu")
    assert model.precision == "float32"
    assert replace(model, tf32=True).precision == "tf32"
    assert load_model(tiny_folder, device="cpu", dtype="bf16").precision == "bfloat16"


def test_another_fault_of_a_device_is_not_taken_for_a_lack_of_memory(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(network: object, device: object, dtype: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(loading, "_place", broken)
    with pytest.raises(RuntimeError, match="device-side assert"):
        load_model(tiny_folder, device="cpu")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_half_precision_that_works_stays(arch: str, tmp_path: Path) -> None:
    network = build_network(arch, small_args(arch))
    if torch.bfloat16 not in network.traits.dtypes:
        pytest.skip("it does not run in bf16")
    config = ModelConfig(name="tiny", arch=arch, args=small_args(arch))  # type: ignore[arg-type]
    save_folder(tmp_path, network.state_dict(), config)
    model = load_model(tmp_path, device="cpu", dtype="bf16")
    assert (model.dtype, model.notes) == (torch.bfloat16, ())
    assert {tensor.dtype for tensor in model.network.state_dict().values()} == {torch.bfloat16}


@pytest.mark.parametrize("arch", ["msrresnet", "edsr"])
@pytest.mark.parametrize("form", ["bare", "params", "params_ema", "module", "safetensors", "half"])
def test_a_file_loads_in_every_form(tmp_path: Path, arch: str, form: str) -> None:
    state, other = tiny_state(1, arch), tiny_state(2, arch)
    path = tmp_path / ("net.safetensors" if form == "safetensors" else "net.pth")
    if form == "safetensors":
        save_file(state, path)
    else:
        tree: Any = {
            "bare": state,
            "params": {"params": state},
            "params_ema": {"params": other, "params_ema": state},
            "module": {"params": {f"module.{key}": tensor for key, tensor in state.items()}},
            "half": {key: tensor.half() for key, tensor in state.items()},
        }[form]
        torch.save(tree, path)
    model = load(path)
    assert (model.config.arch, model.config.name) == (arch, "net")
    assert {"blocks": 1, "features": 8}.items() <= model.config.args.items()
    for key, tensor in model.network.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, state[key], atol=1e-3 if form == "half" else 0, rtol=0)


def refused(path: Path | str, *parts: str, error: type[Exception] = WeightsError) -> None:
    with pytest.raises(error) as caught:
        load(path)
    text = f"{caught.value} {caught.value.hint}"  # type: ignore[attr-defined]
    for part in parts:
        assert part in text, text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("body.0.rdb1.conv1.weight", "RRDBNet"),
        ("stylegan_decoder.style_mlp.1.weight", "GFPGAN"),
        ("quantize.embedding.weight", "CodeFormer"),
        ("layers.0.residual_group.blocks.0.norm1.weight", "SwinIR"),
        ("head.0.weight", "EDSR-PyTorch"),
        ("upsample.0.upsample_conv.weight", "mmagic"),
        ("some.thing", "some.thing"),
    ],
)
def test_another_architecture_is_named(tmp_path: Path, key: str, name: str) -> None:
    torch.save({"params_ema": {key: torch.zeros(2, 2)}}, tmp_path / "other.pth")
    refused(tmp_path / "other.pth", "other.pth", name)


def test_the_extra_that_runs_another_architecture_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    torch.save({"stylegan_decoder.style_mlp.1.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    refused(
        tmp_path / "other.pth", "holds GFPGAN, which needs the extra `compat`", "pip install 'facesr[compat]'"
    )


def test_the_mmagic_edsr_is_not_taken_for_ours(tmp_path: Path) -> None:
    state = tiny_state(arch="edsr")
    for index in (0, 2):
        for kind in ("weight", "bias"):
            tensor = state.pop(f"upsample.{index}.{kind}")
            state[f"upsample.{index // 2}.upsample_conv.{kind}"] = tensor
    torch.save(state, tmp_path / "mm.pth")
    refused(tmp_path / "mm.pth", "mmagic")


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, keep: int) -> None:
    path = tmp_path / name
    (save_file if path.suffix == ".safetensors" else torch.save)(tiny_state(), path)
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, name)


def test_missing_unexpected_misshapen_and_broken_tensors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    state = tiny_state()
    del state["conv_last.bias"]
    save_file(state, path)
    refused(path, "missing conv_last.bias")
    save_file({**tiny_state(), "extra": torch.zeros(1)}, path)
    refused(path, "unexpected extra")
    save_file({**tiny_state(), "conv_last.bias": torch.zeros(4)}, path)
    refused(path, "conv_last.bias is (4,) instead of (3,)")
    save_file({**tiny_state(), "conv_last.bias": torch.full((3,), torch.nan)}, path)
    refused(path, "conv_last.bias", "not finite")
    save_file({**tiny_state(), "conv_last.bias": torch.zeros(3, dtype=torch.int64)}, path)
    refused(path, "conv_last.bias")


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("save", [torch.save, lambda tree, path: path.write_bytes(pickle.dumps(tree, 2))])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, save: Any) -> None:
    ran = tmp_path / "ran"
    save({"params": Bomb(ran)}, tmp_path / "evil.pth")
    refused(tmp_path / "evil.pth", "evil.pth", "Nothing in it was run")
    assert not ran.exists()


def test_a_checkpoint_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "net.pth")
    refused(tmp_path / "net.pth", "no state dict", "epoch")
    torch.save([1, 2], tmp_path / "net.pth")
    refused(tmp_path / "net.pth", "a list")


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_folder(tmp_path / "w", tiny_state(), ModelConfig(name="w", arch="msrresnet", args=TINY))
    return tmp_path / "w"


def test_replaced_tensors_fail_the_checksum(folder: Path) -> None:
    save_file(tiny_state(9), folder / "model.safetensors")
    refused(folder, "sha256")
    edit_config(folder, sha256="")
    load(folder)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"arch": "edsr"}, "holds msrresnet (blocks "),
        ({"arch": "swinir"}, "arch"),
        ({"args": {"blocks": 10**9, "features": 8}}, "blocks"),
        ({"args": {"blocks": 1, "features": 8, "depth": 3}}, "no argument `depth`"),
        ({"shoe_size": 43}, "unknown key `shoe_size`"),
        ({"args": "none"}, "`args`"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(folder: Path, changes: dict[str, Any], part: str) -> None:
    edit_config(folder, **changes)
    refused(folder, str(folder), part)


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_a_config_that_is_not_one_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    refused(folder, "config.json")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    refused("no-such-model", "no-such-model", *BUNDLED, error=ConfigError)
    refused(tmp_path, "model.safetensors and config.json missing")
    (tmp_path / "x.txt").touch()
    refused(tmp_path / "x.txt", ".safetensors")
    (tmp_path / "best").mkdir()
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "best" / name).touch()
    refused(tmp_path, "model.safetensors and config.json missing", str(tmp_path / "best"))


def test_saving_refuses_tensors_of_another_network(tmp_path: Path) -> None:
    config = ModelConfig(name="w", arch="edsr", args=TINY)
    with pytest.raises(WeightsError, match="does not fit edsr"):
        save_folder(tmp_path / "w", tiny_state(), config)
    assert not (tmp_path / "w").exists()


def test_the_card_names_licence_and_scores() -> None:
    card = model_card(bundled_models()[0])
    assert card.startswith("---\nlicense: cc-by-nc-sa-4.0\n")
    assert "not evidence of identity" in card


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_tensors_are_plain_safetensors_in_half_precision(name: str) -> None:
    tensors = load_file(WEIGHTS / name / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert sum(tensor.numel() for tensor in tensors.values()) == load(name).config.parameters


@pytest.mark.parametrize("name", BUNDLED)
def test_the_configuration_and_log_of_each_stage_of_a_bundled_model_are_kept(name: str) -> None:
    config = load(name).config
    steps, args = 0, {}
    stages = sorted((RUNS / name).glob("training-?.toml"))
    assert [path.name for path in stages] == [f"training-{index + 1}.toml" for index in range(len(stages))]
    for path in (RUNS / name).glob("training-*.toml"):
        assert build(TrainConfig, read_toml(path)).arch == config.arch
    for path in stages:
        args = build(TrainConfig, read_toml(path)).args
        log = path.with_name(path.name.replace("training", "metrics")).with_suffix(".jsonl")
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        last = lines[-1]  # where the next stage went on from a checkpoint, the log ends with its step
        best = [line["best"]["step"] for line in lines if "best" in line]
        steps += last["step"] if "checkpoint" in last else best[-1]
    assert steps == config.iterations > 0
    assert resolve_args(config.arch, args) == config.args


def test_the_default_gains_what_was_aimed_at() -> None:
    second_order, first_order, clean = (score.gain for score in bundled_models()[0].scores)
    assert second_order >= 1.6
    assert first_order >= 1.65
    assert clean >= 1.45


def test_the_sharp_sibling_is_sharp_as_shipped_and_still_closer_than_bicubic() -> None:
    config = load("faceunet-sharp").config
    assert config.sharpness == 1
    assert config.scores[0].gain >= 0.5
    assert all(score.gain > 0 for score in config.scores)


def test_fine_detail_grows_with_sharpness_towards_the_ground_truth() -> None:
    truth = Image.fromarray(astronaut())
    lq = facesr.degrade_image(truth, "first-order", seed=0)
    gaps = []
    for sharpness in (0, 0.5, 1):
        result = facesr.upscale_image(lq, load_model(device="cpu", sharpness=sharpness))
        images = (torch.from_numpy(np.array(one)).permute(2, 0, 1)[None] for one in (result, truth))
        gaps.append(float(spectrum_gap(*images, band="fine")))
    assert gaps == sorted(gaps)
    assert abs(gaps[2]) < 0.5 * abs(gaps[0])


def test_all_bundled_weights_fit_in_15_mb() -> None:
    package = WEIGHTS.parents[1]
    assert sum(path.stat().st_size for path in package.rglob("*.safetensors")) <= 15_000_000


def test_the_default_beats_the_network_of_ten_times_its_work_on_every_set() -> None:
    default, other = (find_weights(name).config for name in ("faceunet", "msrresnet-b20"))
    assert default
    assert other
    assert 10 * default.multiply_adds <= other.multiply_adds
    assert [score.dataset for score in default.scores] == [score.dataset for score in other.scores]
    assert len(default.scores) == 3
    for ours, theirs in zip(default.scores, other.scores, strict=True):
        assert ours.gain > theirs.gain > 0
        assert ours.gain_low is not None
        assert ours.gain_high is not None
        assert 0 < ours.gain_low < ours.gain < ours.gain_high


def test_what_is_bundled_fits_a_wheel() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 15e6


def test_a_folder_that_may_not_be_looked_into_is_named_or_passed_over(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "open")
    (tmp_path / "closed").mkdir()

    def refuse(function: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def wrapped(path: Path) -> Any:
            if path.name == "closed" or "closed" in path.parent.parts:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path)

        return wrapped

    # Root may look into any folder, so its permissions are made up.
    monkeypatch.setattr(Path, "iterdir", refuse(Path.iterdir))
    monkeypatch.setattr(Path, "is_file", refuse(Path.is_file))
    assert list_weights(str(tmp_path)) == [str(tmp_path / "open")]
    for find in (find_weights, list_weights):
        with pytest.raises(WeightsError, match="closed: cannot be read, Permission denied"):
            find(str(tmp_path / "closed"))
