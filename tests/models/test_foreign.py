"""Networks of other authors run by the facts that they state."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor, nn

from facesr.faces import paste
from facesr.models import build_network, count_multiply_adds, foreign
from facesr.models.base import enlarge
from facesr.models.foreign import ForeignNetwork, build_foreign
from tests.conftest import Run, noise


class Painter(nn.Module):
    """Paints aligned faces red alone. It has views, and weights of five dimensions, as GFPGAN."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1, 3, 3, 3))
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 512, 512)
        assert not torch.equal(x[..., -1], x[..., -2]), "the face was padded"
        self.convolution(x).view(len(x), -1)
        return torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand_as(x)


def as_foreign(network: nn.Module) -> ForeignNetwork:
    """Return a network for aligned faces as if it came from spandrel."""
    return ForeignNetwork(
        SimpleNamespace(
            architecture=SimpleNamespace(name=type(network).__name__),
            model=network,
            _call_fn=lambda model, x: model(x),
            size_requirements=SimpleNamespace(minimum=512, multiple_of=1, square=False),
            tiling=SimpleNamespace(name="SUPPORTED"),
            purpose="FaceSR",
            supports_half=False,
            supports_bfloat16=True,
            scale=1,
            input_channels=3,
        )
    )


@pytest.fixture
def painter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(foreign, "build_foreign", lambda state: as_foreign(Painter()))
    monkeypatch.setattr(paste, "_strength", lambda crop, face: 1.0)
    torch.save({"some.thing": torch.ones(2)}, tmp_path / "painter.pth")
    return tmp_path / "painter.pth"


@pytest.mark.parametrize("outscale", [1, 2])
def test_a_network_for_aligned_faces_restores_those_of_a_photograph(
    outscale: int, painter: Path, run: Run, tmp_path: Path
) -> None:
    photo = Image.fromarray(data.astronaut()).crop((60, 0, 380, 280))
    photo.save(tmp_path / "photo.png")
    arguments: tuple[object, ...] = ("--faces", "auto", "--outscale", outscale, "-d", "cpu")
    result = run("upscale", tmp_path / "photo.png", tmp_path / "out.png", "-m", painter, *arguments)
    assert result.exit_code == 0, result.output
    out = Image.open(tmp_path / "out.png")
    assert out.size == (320 * outscale, 280 * outscale)
    expected = photo if outscale == 1 else photo.resize(out.size, Image.Resampling.BICUBIC)
    difference = np.abs(np.asarray(out).astype(int) - np.asarray(expected)).max(axis=2)
    red = (np.asarray(out) == (255, 0, 0)).all(axis=2)
    assert 0.02 < red.mean() < 0.3
    assert (difference[: 10 * outscale] <= 1).all()


def test_such_a_network_is_refused_where_no_faces_are_looked_for(
    painter: Path, run: Run, faces: Path, tmp_path: Path
) -> None:
    result = run("upscale", faces, tmp_path / "out", "-m", painter, "-d", "cpu", "--faces", "off")
    assert result.exit_code == 2
    assert "`painter` restores faces alone, 512x512 px each" in result.stderr
    assert "--faces auto" in result.stderr
    assert not (tmp_path / "out").exists()


def test_eval_compares_the_models_that_fit_and_names_the_others(
    painter: Path, run: Run, faces: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    hq = tmp_path / "hq"
    hq.mkdir()
    for path in faces.iterdir():
        image = Image.open(path)
        image.resize((4 * image.width, 4 * image.height)).save(hq / path.name)

    torch.save(
        build_network("srvgg", {"blocks": 1, "features": 4, "scale": 2}).state_dict(), tmp_path / "x2.pth"
    )
    pairs: tuple[object, ...] = ("eval", "--hq", hq, "--lq", faces, "-d", "cpu")
    others: tuple[object, ...] = ("-m", tmp_path / "x2.pth", "-m", painter)
    result = run(*pairs, "-m", tiny_folder, *others)
    assert result.exit_code == 0, result.output
    assert "x2 enlarges 2 times" in result.stderr
    assert "painter restores aligned faces of 512x512 px, but" in result.stderr
    assert "tiny" in result.stdout
    assert "x2" not in result.stdout
    alone = run(*pairs, *others)
    assert alone.exit_code == 2
    assert "x2 enlarges 2 times" in alone.stderr
    assert "painter restores" in alone.stderr


class Echo(Painter):
    """Gives back the aligned faces that it gets."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 512, 512)
        return x


def test_eval_gives_such_a_network_each_lq_face_enlarged_bicubically(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "build_foreign", lambda state: as_foreign(Echo()))
    torch.save({"some.thing": torch.ones(2)}, tmp_path / "echo.pth")
    for folder, side in (("hq", 512), ("lq", 128)):
        (tmp_path / folder).mkdir()
        for index in range(2):
            Image.fromarray(noise(side, side, seed=index)).save(tmp_path / folder / f"{index}.png")
    folders: tuple[object, ...] = ("--hq", tmp_path / "hq", "--lq", tmp_path / "lq")
    result = run("eval", *folders, "-m", tmp_path / "echo.pth", "-d", "cpu", "--json")
    assert result.exit_code == 0, result.stderr
    for image in json.loads(result.stdout)["images"]:
        assert image["scores"]["echo"] == image["scores"]["bicubic"]


def test_tensors_of_nothing_known_are_named(tmp_path: Path) -> None:
    pytest.importorskip("spandrel", reason="needs the extra `compat`")
    with pytest.raises(Exception, match=r"tensors named some\.thing, which spandrel cannot build"):
        build_foreign({"some.thing": torch.ones(2)})


@pytest.mark.filterwarnings("ignore")  # of the networks themselves
def test_spandrel_runs_a_network_for_any_image() -> None:
    pytest.importorskip("spandrel", reason="needs the extra `compat`")
    from spandrel.architectures.SwinIR import SwinIR, SwinIRArch

    torch.manual_seed(1)
    state = (
        SwinIR(
            img_size=16, window_size=8, embed_dim=12, depths=[2], num_heads=[2], upscale=2,
            mlp_ratio=2, upsampler="pixelshuffledirect",
        ).state_dict()
    )  # fmt: skip
    network = build_foreign(state).eval()
    theirs = SwinIRArch().load(dict(state))
    assert (network.arch, network.traits.scale, network.traits.purpose) == ("SwinIR", 2, "sr")
    image = torch.rand(1, 3, 16, 24)
    with torch.inference_mode():
        torch.testing.assert_close(enlarge(network, image), theirs.model.eval()(image), atol=1e-5, rtol=0)
        assert enlarge(network, torch.rand(1, 3, 5, 7)).shape == (1, 3, 10, 14)


# Where the networks for aligned faces come from.
_MODULES = {
    "GFPGAN": "spandrel.architectures.GFPGAN",
    "RestoreFormer": "spandrel.architectures.RestoreFormer",
    "CodeFormer": "spandrel_extra_arches.architectures.CodeFormer",
}


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["GFPGAN", "RestoreFormer", "CodeFormer"])
def test_spandrel_runs_a_network_for_aligned_faces_from_minus_one_to_one(name: str) -> None:
    made = pytest.importorskip(_MODULES[name], reason=f"needs {_MODULES[name]}")
    torch.manual_seed(1)
    small = {"ch": 32, "ch_mult": (1, 1, 1, 1, 1, 2), "num_res_blocks": 1}
    state = getattr(made, name)(**small if name == "RestoreFormer" else {}).state_dict()
    network = build_foreign(state).eval()
    traits = network.traits
    assert (network.arch, traits.purpose, traits.scale) == (name, "aligned-face", 1)
    assert torch.float16 not in traits.dtypes
    image = torch.rand(1, 3, 512, 512)
    with torch.inference_mode():
        out = network(image)
        torch.manual_seed(0)
        expected = (network.network(2 * image - 1)[0] + 1) / 2
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
        if name == "RestoreFormer":  # of which alone spandrel's own call maps the range
            theirs = made.RestoreFormerArch().load(dict(state))
            torch.testing.assert_close(out.clamp(0, 1), theirs(image), atol=1e-5, rtol=0)
    assert count_multiply_adds(network) > 1e9
