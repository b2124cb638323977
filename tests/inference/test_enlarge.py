"""One picture in any of its forms gives one result."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import facesr
from facesr.errors import ImageError
from facesr.images.image import ImageData
from facesr.images.read import read_image
from facesr.inference import enlarge as inference
from facesr.inference.enlarge import enlarge_pixels
from facesr.models import ARCHITECTURES, build_network
from facesr.models.base import Halo, SizeRule, SRNetwork, Traits, enlarge
from facesr.weights.load import Model, load_model
from tests.conftest import noise, small_args


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Model:
    return load_model(tiny_folder, device="cpu")


def test_every_kind_gives_the_same_pixels(model: Model) -> None:
    array = noise(9, 13)
    expected = facesr.upscale_image(array, model)
    assert expected.shape == (36, 52, 3)
    assert expected.dtype == np.uint8
    assert np.array_equal(np.asarray(facesr.upscale_image(Image.fromarray(array), model)), expected)
    assert np.array_equal(facesr.upscale_image(ImageData(array), model).rgb, expected)
    for dtype in (torch.float32, torch.float64):
        tensor = torch.from_numpy(array).permute(2, 0, 1)[None].to(dtype) / 255
        out = facesr.upscale_image(tensor, model)
        assert out.dtype == dtype
        assert float(out.min()) >= 0
        assert float(out.max()) <= 1
        assert not out.is_inference()  # so that it can go on into what is trained
        assert np.array_equal((out[0] * 255).round().byte().permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_large_tensor_goes_through_the_same_pieces_as_an_array(
    arch: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_TILE_PX", 64)
    torch.manual_seed(0)
    network = build_network(arch, small_args(arch)).eval()
    arrays = [noise(200, 150, seed=seed) for seed in range(2)]
    tensor = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255
    before = tensor.clone()
    out = facesr.upscale_image(tensor, replace(model, network=network))
    assert torch.equal(tensor, before)
    for array, found in zip(arrays, (out * 255).round().byte().permute(0, 2, 3, 1).numpy(), strict=True):
        expected = facesr.upscale_image(array, replace(model, network=network))
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_a_tensor_keeps_the_precision_of_fp32(model: Model) -> None:
    lq = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = enlarge(model.network, lq.float()).clamp(0, 1)
    assert len(expected.unique()) > 1000
    out = facesr.upscale_image(lq.requires_grad_(), model)
    torch.testing.assert_close(out.float(), expected, atol=2e-6, rtol=0)
    assert not out.requires_grad


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_pillow_modes_keep_grey_and_alpha(mode: str, model: Model) -> None:
    out = facesr.upscale_image(Image.fromarray(noise(5, 6)).convert(mode), model)
    assert out.size == (24, 20)
    assert out.mode == {"P": "RGB", "1": "L", "CMYK": "RGB"}.get(mode, mode)


def test_a_pillow_image_keeps_its_profile_and_exif(model: Model) -> None:
    original = Image.fromarray(noise(5, 6))
    exif = Image.Exif()
    exif[0x010F] = "maker"
    original.info |= {"icc_profile": b"profile", "exif": exif.tobytes()}
    out = facesr.upscale_image(original, model)
    assert (out.info["icc_profile"], out.getexif()[0x010F]) == (b"profile", "maker")


def test_a_truncated_pillow_image_is_one_error(model: Model) -> None:
    encoded = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(encoded, "JPEG")
    with pytest.raises(ImageError, match="cannot be read, image file is truncated"):
        facesr.upscale_image(Image.open(io.BytesIO(encoded.getvalue()[:1200])), model)


def test_the_service_in_the_documents_answers_and_refuses() -> None:
    page = (Path(__file__).parents[2] / "docs" / "upscaling.md").read_text(encoding="utf-8")
    (block,) = (
        block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "read_image" in block
    )
    names: dict[str, Any] = {}
    exec(block, names)
    face = io.BytesIO()
    Image.fromarray(noise(20, 24)).save(face, "JPEG")
    answer = read_image(io.BytesIO(names["enlarge"](face.getvalue())))
    assert np.array_equal(
        answer.rgb, facesr.upscale_image(read_image(io.BytesIO(face.getvalue())), names["model"]).rgb
    )
    large = io.BytesIO()
    Image.new("1", (2001, 2000)).save(large, "PNG")
    for data, reason in ((b"no picture", "known format"), (large.getvalue(), "more than 4,000,000 pixels")):
        with pytest.raises(ImageError, match=reason):
            names["enlarge"](data)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        torch.zeros(3, 4, 4),
        torch.zeros(1, 1, 4, 4),
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        "face.png",
    ],
    ids=lambda bad: f"{type(bad).__name__}-{getattr(bad, 'shape', '')}",
)
def test_other_things_are_refused(bad: object, model: Model) -> None:
    with pytest.raises(ImageError, match="expected a"):
        facesr.upscale_image(bad, model)  # type: ignore[type-var]


def test_a_batch_equals_the_loop(model: Model) -> None:
    pixels = torch.stack([torch.tensor(noise(8, 8, seed=seed)) for seed in range(3)])
    loop = torch.cat([enlarge_pixels(model.network, one[None], model.device).wait() for one in pixels])
    assert (enlarge_pixels(model.network, pixels, model.device).wait().int() - loop.int()).abs().max() <= 1


def test_results_are_rounded_half_to_even(model: Model) -> None:
    class Halves(SRNetwork):
        traits = Traits(scale=4, view=Halo(1))

        def forward(self, x: Tensor) -> Tensor:
            values = torch.tensor([0.5, 1.5, 2.5, 300.0]) / 255
            return values.view(1, 1, 1, 4).expand(x.shape[0], 3, 4, 4)

    row = enlarge_pixels(Halves(), torch.zeros(1, 1, 1, 3, dtype=torch.uint8), model.device).wait()[
        0, 0, :, 0
    ]
    assert row.tolist() == [0, 2, 2, 255]


@pytest.mark.parametrize("size", [(1, 1), (8, 16), (9, 23)])
def test_sides_are_padded_to_the_multiple_and_cropped(size: tuple[int, int]) -> None:
    class Nearest(SRNetwork):
        traits = Traits(scale=4, view=Halo(1), size=SizeRule(multiple_of=8))

        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[-1] % 8 == x.shape[-2] % 8 == 0
            return x.repeat_interleave(4, 2).repeat_interleave(4, 3)

    lq = torch.rand(2, 3, *size)
    assert torch.equal(enlarge(Nearest(), lq), lq.repeat_interleave(4, 2).repeat_interleave(4, 3))
