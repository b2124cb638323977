"""TIFF in every layout that its writers use: read as an independent library reads it, or refused."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from facesr.errors import ImageError
from facesr.images.formats import read_size
from facesr.images.image import ImageData
from facesr.images.read import from_pil, read_image
from facesr.images.write import encode_image
from tests.conftest import noise

HEIGHT, WIDTH = 37, 45


class Layout(NamedTuple):
    dtype: str
    samples: int
    photometric: str
    planar: str
    byte_order: str
    tile: tuple[int, int] | None
    compression: str | None
    has_predictor: bool
    is_big: bool


def is_possible(layout: Layout) -> bool:
    dtype, samples, photometric = layout[:3]
    if samples not in {"rgb": (3, 4), "cmyk": (4,), "ycbcr": (3,), "palette": (1,)}.get(photometric, (1, 2)):
        return False
    if dtype not in {"ycbcr": ("u1",), "palette": ("u1", "u2")}.get(photometric, (dtype,)):
        return False
    if samples == 1 and layout.planar == "separate":
        return False
    if layout.has_predictor and layout.compression in {None, "packbits", "jpeg"}:
        return False
    return layout.compression != "jpeg" or dtype == "u1"


def layouts() -> Iterator[Layout]:
    every = itertools.product(
        ["u1", "u2", "u4", "f2", "f4", "f8"],
        [1, 2, 3, 4],
        ["miniswhite", "minisblack", "rgb", "cmyk", "ycbcr", "palette"],
        ["contig", "separate"],
        "<>",
        [None, (16, 16)],
        [None, "lzw", "zlib", "packbits", "zstd", "jpeg"],
        [False, True],
        [False, True],
    )
    return filter(is_possible, itertools.starmap(Layout, every))


def write(path: Path, layout: Layout) -> bool:
    """Write random samples, and tell whether there is such a file."""
    rng = np.random.default_rng(0)
    shape = (HEIGHT, WIDTH, layout.samples)
    dtype = np.dtype(layout.dtype)
    if dtype.kind == "f":
        samples = rng.random(shape).astype(dtype)
    else:
        limit = 255 if layout.dtype == "u1" else 65_535
        samples = rng.integers(0, limit, shape, endpoint=True).astype(dtype)
    if layout.samples == 1:
        samples = samples[..., 0]
    elif layout.planar == "separate":
        samples = np.moveaxis(samples, 2, 0)
    options: dict[str, Any] = {}
    if layout.photometric == "palette":
        options["colormap"] = rng.integers(0, 65_535, (3, 256**dtype.itemsize)).astype("u2")
    if layout.samples == 2 or (layout.samples == 4 and layout.photometric == "rgb"):
        options["extrasamples"] = ["unassalpha"]
    if layout.samples > 1:
        options["planarconfig"] = layout.planar
    if layout.has_predictor:
        options["predictor"] = 3 if dtype.kind == "f" else 2
    if layout.tile is None:
        options["rowsperstrip"] = 8
    try:
        tifffile.imwrite(
            path,
            samples,
            photometric=layout.photometric,
            byteorder=layout.byte_order,
            tile=layout.tile,
            compression=layout.compression,
            bigtiff=layout.is_big,
            metadata=None,
            **options,
        )
    except (ValueError, RuntimeError, TypeError):
        return False
    return True


def expected(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return (height, width, 3) RGB and (height, width) alpha, both from 0 to 1."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        samples, photometric, table = page.asarray(), page.photometric.name, page.colormap
        is_jpeg = page.compression == 7
        if page.planarconfig == 2 and samples.ndim == 3:
            samples = np.moveaxis(samples, 0, 2)
    if samples.ndim == 2:
        samples = samples[..., None]
    if photometric == "PALETTE":
        return np.moveaxis(table[:, samples[..., 0]], 0, 2) / 65_535, None
    limit = {"u1": 255, "f": 1}.get(samples.dtype.str[1:] if samples.dtype.kind == "u" else "f", 65_535)
    values = samples.astype(np.float64) / limit
    if photometric == "SEPARATED":
        return (1 - values[..., :3]) * (1 - values[..., 3:]), None
    if photometric == "YCBCR" and not is_jpeg:  # whose decoder makes RGB of it
        y, blue, red = values[..., 0], values[..., 1] - 128 / 255, values[..., 2] - 128 / 255
        rgb = [y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue]
        return np.stack(rgb, axis=2).clip(0, 1), None
    count = 3 if photometric in {"RGB", "YCBCR"} else 1
    colours = values[..., :count]
    if photometric == "MINISWHITE":
        colours = 1 - colours
    alpha = values[..., count] if values.shape[2] > count else None
    return np.broadcast_to(colours, (*colours.shape[:2], 3)), alpha


def as_fraction(levels: Any) -> NDArray[np.float64]:
    fraction: NDArray[np.float64] = levels / np.float64(np.iinfo(levels.dtype).max)
    return fraction


def outcome_of(path: Path, layout: Layout) -> str:
    """Tell whether a file is read right, is refused, or is read wrong."""
    try:
        image = read_image(path)
    except ImageError:
        return "refused"
    rgb, alpha = expected(path)
    level = 1 / 255 if image.rgb.dtype == np.uint8 else 1 / 65_535
    # What JPEG's decoders, and conversions to RGB in whole numbers, differ by.
    tolerance = 4 / 255 if layout.compression == "jpeg" or layout.photometric == "ycbcr" else 1.01 * level
    shown = np.ones(rgb.shape[:2], bool) if alpha is None else alpha > 0
    if image.rgb.shape != rgb.shape or np.abs(as_fraction(image.rgb) - rgb)[shown].max() > tolerance:
        return f"wrong {layout}"
    if (alpha is None) != (image.alpha is None):
        return f"wrong alpha {layout}"
    if alpha is not None and np.abs(as_fraction(image.alpha) - alpha).max() > 1.01 * level:
        return f"wrong alpha {layout}"
    return "deep" if image.rgb.dtype == np.uint16 else "shallow"


def check(some: Iterator[Layout], path: Path) -> Counter[str]:
    outcomes = Counter(outcome_of(path, layout) for layout in some if write(path, layout))
    assert not [outcome for outcome in outcomes if outcome.startswith("wrong")]
    return outcomes


# Tifffile wants JPEG's and Zstandard's older names only in some versions.
@pytest.mark.filterwarnings("ignore")
def test_no_layout_is_read_wrongly_and_hardly_one_is_refused(tmp_path: Path) -> None:
    outcomes = check(itertools.islice(layouts(), 0, None, 7), tmp_path / "a.tif")
    assert outcomes["deep"] > 400
    assert outcomes["shallow"] > 80
    assert outcomes["refused"] < outcomes.total() / 15


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_layout_at_all_is_read_wrongly(tmp_path: Path) -> None:
    outcomes = check(layouts(), tmp_path / "a.tif")
    assert outcomes["deep"] == 3200


@pytest.mark.filterwarnings("ignore")
def test_the_size_of_every_layout_is_known_without_decoding(tmp_path: Path) -> None:
    path, read = tmp_path / "a.tif", 0
    for layout in itertools.islice(layouts(), 0, None, 29):
        if write(path, layout) and outcome_of(path, layout) in {"deep", "shallow"}:
            assert read_size(path) == (HEIGHT, WIDTH), layout
            read += 1
    assert read > 100


@pytest.mark.parametrize("byte_order", "<>")
@pytest.mark.parametrize("samples", [3, 4])
def test_separate_planes_of_16_bits_keep_every_bit(samples: int, byte_order: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(1, 65_536, (20, 30, samples), dtype=np.uint16)
    extra = {"extrasamples": ["unassalpha"]} if samples == 4 else {}
    planes = np.moveaxis(pixels, 2, 0)
    tifffile.imwrite(
        tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", byteorder=byte_order, **extra
    )
    image = read_image(tmp_path / "a.tif")
    assert np.array_equal(image.rgb, pixels[..., :3])
    assert samples == 3 or np.array_equal(image.alpha, pixels[..., 3])


def test_signed_samples_of_a_byte_are_levels_of_8_bits(tmp_path: Path) -> None:
    planes = np.random.default_rng(6).integers(0, 128, (3, 20, 30), dtype=np.int8)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    found = read_image(tmp_path / "a.tif").rgb
    assert found.dtype == np.uint8
    assert np.array_equal(found, planes.transpose(1, 2, 0))


def test_pillow_s_own_wrong_pixels_are_refused(tmp_path: Path) -> None:
    planes = np.random.default_rng(1).integers(0, 65_536, (3, 20, 30), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    with Image.open(tmp_path / "a.tif") as image, pytest.raises(ImageError, match="give facesr the file"):
        from_pil(image)


@pytest.mark.parametrize("samples", [2, 4])
def test_premultiplied_alpha_is_divided_out(samples: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    alpha = rng.integers(20_000, 65_536, (20, 30, 1))
    colours = rng.integers(0, 65_536, (20, 30, samples - 1))
    stored = np.concatenate([colours * alpha // 65_535, alpha], axis=2).astype(np.uint16)
    photometric = "rgb" if samples == 4 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric, extrasamples=["assocalpha"])
    image = read_image(tmp_path / "a.tif")
    assert np.array_equal(image.alpha, alpha[..., 0])
    assert np.abs(image.rgb - np.broadcast_to(colours, (20, 30, 3))).max() <= 65_535 / 20_000


def test_samples_beyond_the_colours_that_are_not_alpha_are_left_out(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 65_536, (20, 30, 5), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unspecified"] * 2)
    image = read_image(tmp_path / "a.tif")
    assert image.alpha is None
    assert np.array_equal(image.rgb, pixels[..., :3])


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_profile_of_cmyk_is_not_carried_into_rgb(dtype: str, planar: str, tmp_path: Path) -> None:
    profile = bytes(16) + b"CMYK" + bytes(108)
    shape = (20, 30, 4) if planar == "contig" else (4, 20, 30)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.full(shape, 9, dtype),
        photometric="separated",
        planarconfig=planar,
        iccprofile=profile,
    )
    assert read_image(tmp_path / "a.tif").icc is None


@pytest.mark.parametrize("layout", ["contig", "separate"])
def test_pages_after_the_first_are_named(layout: str, tmp_path: Path) -> None:
    pixels = np.zeros((3, 20, 30), np.uint16) if layout == "separate" else np.zeros((20, 30, 3), np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for _ in range(2):
            file.write(pixels, photometric="rgb", planarconfig=layout, metadata=None)
    assert read_image(tmp_path / "a.tif").notes == ("only the first page is used",)


def test_a_size_beyond_the_limit_is_refused_before_decoding(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30, 3), np.uint16), photometric="rgb")
    with pytest.raises(ImageError, match="30x20 is more than 599 pixels"):
        read_image(tmp_path / "a.tif", max_pixels=599)


def test_a_file_cut_anywhere_is_refused_or_right(tmp_path: Path) -> None:
    pixels = np.random.default_rng(4).integers(0, 65_536, (20, 30, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="zlib", rowsperstrip=8)
    content = (tmp_path / "a.tif").read_bytes()
    refused = 0
    for length in range(0, len(content), 7):
        (tmp_path / "b.tif").write_bytes(content[:length])
        try:
            assert np.array_equal(read_image(tmp_path / "b.tif").rgb, pixels)
        except ImageError:
            refused += 1
    assert refused > 400


@pytest.mark.parametrize("tile", [(16, 1 << 30), (1 << 20, 1 << 20)])
def test_tiles_of_an_impossible_size_are_refused(tile: tuple[int, int], tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((20, 30), np.uint16), photometric="minisblack", tile=(16, 16)
    )
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages.first.tags["TileWidth"].overwrite(tile[0])
        file.pages.first.tags["TileLength"].overwrite(tile[1])
    with pytest.raises(ImageError, match="impossible size"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_an_independent_library_reads_what_is_written(samples: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 65_536, (300, 333, samples), dtype=np.uint16)
    grey = samples == 2
    colours = pixels[..., :1].repeat(3, axis=2) if grey else pixels[..., :3]
    alpha = None if samples == 3 else pixels[..., -1]
    (tmp_path / "a.tif").write_bytes(encode_image(ImageData(colours, grey=grey, alpha=alpha), ".tiff"))
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), pixels)


def test_a_description_of_the_layout_is_not_carried(tmp_path: Path) -> None:
    planes = np.random.default_rng(6).integers(0, 65_536, (3, 20, 30), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    image = read_image(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(encode_image(image, ".tif"))
    assert np.array_equal(tifffile.imread(tmp_path / "b.tif"), np.moveaxis(planes, 0, 2))


def test_an_8_bit_file_is_left_to_pillow(tmp_path: Path) -> None:
    Image.fromarray(noise(20, 30)).save(tmp_path / "a.tif")
    assert np.array_equal(read_image(tmp_path / "a.tif").rgb, noise(20, 30))
