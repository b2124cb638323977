"""Every kind of picture, from folder to folder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facesr.config.runtime import RuntimeConfig
from facesr.config.upscale import UpscaleConfig
from facesr.errors import ConfigError
from facesr.images.read import read_image
from facesr.results import UpscaleResult
from facesr.workflows.upscale import upscale
from tests.conftest import Listener, noise


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    """Return a folder of twenty-six awkward files, two of them folders deeper, four of them no pictures."""
    root = tmp_path / "in"
    (root / "Ordner ä" / "deep").mkdir(parents=True)
    rgb = Image.fromarray(noise(10, 14))
    grey = rgb.convert("L")
    alpha = rgb.convert("RGBA")
    alpha.putalpha(Image.fromarray((np.indices((10, 14)).sum(0) % 2 * 255).astype(np.uint8)))
    rotated = Image.Exif()
    rotated[0x0112] = 6
    rgb.save(root / "rgb.png")
    rgb.save(root / "photo.jpg", exif=rotated)
    rgb.save(root / "photo.JPEG", quality=80)
    rgb.save(root / "lossy.webp")
    rgb.save(root / "bitmap.bmp")
    rgb.save(root / "scan.tif")
    rgb.convert("P").save(root / "palette.png")
    rgb.convert("P").save(root / "clear-palette.png", transparency=3)
    rgb.convert("1").save(root / "bilevel.png")
    rgb.convert("CMYK").save(root / "cmyk.jpg")
    rgb.convert("CMYK").save(root / "cmyk.tiff")
    grey.save(root / "grey.png")
    grey.save(root / "grey.jpg")
    grey.convert("LA").save(root / "grey-alpha.png")
    alpha.save(root / "alpha.png")
    alpha.save(root / "alpha.webp", lossless=True)
    Image.fromarray(noise(10, 14)[..., 0].astype(np.uint16) * 257).save(root / "deep.png")
    Image.fromarray(noise(10, 14)[..., 0].astype(np.uint16) * 257).save(root / "deep.tiff")
    rgb.save(root / "moving.webp", save_all=True, append_images=[rgb.rotate(90)], lossless=True)
    Image.new("RGB", (1, 1), "red").save(root / "dot.png")
    rgb.save(root / "ünïcödé 名前 with spaces.png")
    rgb.save(root / "Ordner ä" / "nested.png")
    rgb.save(root / "Ordner ä" / "deep" / "nested.png")
    (root / "text.png").write_text("no picture")
    (root / "empty.jpg").touch()
    (root / "truncated.jpg").write_bytes((root / "photo.jpg").read_bytes()[:300])
    (root / "readme.txt").write_text("left alone")
    return root


def run(source: Path, out: Path, tiny_folder: Path, **options: object) -> tuple[UpscaleResult, list[str]]:
    listener = Listener()
    base = {"inputs": (source,), "output": out, "model": str(tiny_folder), "recursive": True}
    config = UpscaleConfig(**{**base, "runtime": RuntimeConfig(device="cpu"), **options})
    return upscale(config, listener), listener.warnings


def test_every_kind_gives_what_is_described(awkward: Path, tmp_path: Path, tiny_folder: Path) -> None:
    out = tmp_path / "out"
    result, warnings = run(awkward, out, tiny_folder)
    assert {failure.file.name for failure in result.failed} == {"text.png", "empty.jpg", "truncated.jpg"}
    expected = {
        "rgb.png": ("RGB", 56, 40), "photo.jpg": ("RGB", 40, 56), "photo.JPEG": ("RGB", 56, 40),
        "lossy.webp": ("RGB", 56, 40), "bitmap.png": ("RGB", 56, 40), "scan.tif": ("RGB", 56, 40),
        "palette.png": ("RGB", 56, 40), "clear-palette.png": ("RGBA", 56, 40), "bilevel.png": ("L", 56, 40),
        "cmyk.jpg": ("RGB", 56, 40), "cmyk.tiff": ("RGB", 56, 40), "grey.png": ("L", 56, 40),
        "grey.jpg": ("L", 56, 40), "grey-alpha.png": ("LA", 56, 40), "alpha.png": ("RGBA", 56, 40),
        "alpha.webp": ("RGBA", 56, 40), "deep.png": ("I;16", 56, 40), "deep.tiff": ("I;16", 56, 40),
        "moving.webp": ("RGB", 56, 40), "dot.png": ("RGB", 4, 4),
        "ünïcödé 名前 with spaces.png": ("RGB", 56, 40), "Ordner ä/nested.png": ("RGB", 56, 40),
        "Ordner ä/deep/nested.png": ("RGB", 56, 40),
    }  # fmt: skip
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file():
            with Image.open(path) as image:
                found[str(path.relative_to(out))] = (image.mode, *image.size)
    assert found == expected
    assert warnings == [f"only the first frame of an animation is used: {awkward / 'moving.webp'}"]
    with Image.open(out / "photo.jpg") as image:
        assert image.getexif().get(0x0112, 1) == 1


def test_a_picture_of_one_dot_keeps_its_colour(awkward: Path, tmp_path: Path, tiny_folder: Path) -> None:
    run(awkward / "dot.png", tmp_path / "out", tiny_folder)
    assert read_image(tmp_path / "out" / "dot.png").rgb[..., 0].min() > 150


def test_16_bit_grey_is_finer_than_8_bits(awkward: Path, tmp_path: Path, tiny_folder: Path) -> None:
    run(awkward / "deep.png", tmp_path / "out", tiny_folder)
    deep = read_image(tmp_path / "out" / "deep.png").rgb
    assert deep.dtype == np.uint16
    assert len(np.unique(deep % 257)) > 100


def test_flattening_alpha_for_jpeg_is_said(awkward: Path, tmp_path: Path, tiny_folder: Path) -> None:
    result, warnings = run(
        awkward / "alpha.png", tmp_path / "out", tiny_folder, format="jpg", name="{stem}_big"
    )
    assert [path.name for path in result.written] == ["alpha_big.jpg"]
    assert warnings == [f"transparency is replaced by white: {awkward / 'alpha.png'}"]


@pytest.mark.parametrize(("scale", "size"), [(2.0, (20, 28)), (1.0, (10, 14)), (6.5, (65, 91))])
def test_another_final_size(
    awkward: Path, tmp_path: Path, tiny_folder: Path, scale: float, size: tuple[int, int]
) -> None:
    for name in ("alpha.png", "deep.png", "grey.png"):
        run(awkward / name, tmp_path / "out", tiny_folder, outscale=scale)
        picture = read_image(tmp_path / "out" / name)
        assert (picture.size, picture.rgb.dtype == np.uint16) == (size, name == "deep.png")


def test_max_pixels_and_templates_are_checked(awkward: Path, tmp_path: Path, tiny_folder: Path) -> None:
    result, _ = run(awkward / "rgb.png", tmp_path / "out", tiny_folder, max_pixels=100)
    assert "14x10 is more than 100 pixels" in result.failed[0].reason
    for name in ("same", "a/{stem}"):
        with pytest.raises(ConfigError, match=r"needs \{stem\} in it"):
            run(awkward, tmp_path / "out", tiny_folder, name=name)


def test_a_result_that_needs_much_memory_is_refused_unless_more_pixels_are_allowed(
    awkward: Path, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesr.inference.upscale_files.MAX_PIXELS", 10)
    result, _ = run(awkward / "rgb.png", tmp_path / "out", tiny_folder, max_pixels=140)
    (failure,) = result.failed
    assert "the result would be 56x40" in failure.reason
    assert "`--outscale`, such as 1, or allow it with `--max-pixels 280`" in failure.hint
    for changes in ({"max_pixels": 280}, {"max_pixels": 140, "outscale": 2.0}):
        result, _ = run(awkward / "rgb.png", tmp_path / "out", tiny_folder, overwrite=True, **changes)
        assert not result.failed


def test_shards_write_together_what_one_run_writes(awkward: Path, tmp_path: Path, tiny_folder: Path) -> None:
    whole, _ = run(awkward, tmp_path / "whole", tiny_folder)
    parts = [run(awkward, tmp_path / "parts", tiny_folder, shard=f"{index}/3")[0] for index in range(3)]
    assert sum(len(part.written) for part in parts) == len(whole.written)
    for path in whole.written:
        other = tmp_path / "parts" / path.relative_to(tmp_path / "whole")
        assert other.read_bytes() == path.read_bytes()
