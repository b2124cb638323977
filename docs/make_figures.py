"""Make the example pictures and the README's before/after from the public-domain astronaut portrait.

Run from the repository's root with the `dev` extra installed: `python docs/make_figures.py`.
"""

import csv
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from skimage import data

import facesr
from facesr.config.steps import degradation_preset
from facesr.degradation.degrader import draw
from facesr.degradation.steps import STEPS, Sizes
from facesr.reports.contact_sheet import describe
from facesr.weights.find import BUNDLED

DOCS = Path(__file__).parent
HEAD = (96, 0, 352, 256)
SMALL_FACE = (160, 32, 288, 160)
TILE_PX = 256
COLUMNS = 4
EXAMPLE_SEED = 14
MODEL_SEED = 3


def main() -> None:
    """Write `example/` and `images/`."""
    portrait = Image.fromarray(data.astronaut())
    truth = portrait.crop(HEAD)
    bad = _degrade(truth)
    small = portrait.crop(SMALL_FACE)
    bad.save(DOCS / "example" / "head-64px.png")
    small.save(DOCS / "example" / "face-128px.png")

    model = facesr.load_model(device="cpu")
    rows = [
        [
            ("64 px, blurred and JPEG, bicubic", _bicubic(bad)),
            ("facesr", facesr.restore_faces(bad, model)),
            ("ground truth", truth),
        ],
        [("128 px crop, bicubic", _bicubic(small)), ("facesr", facesr.upscale_image(small, model)), None],
    ]
    _sheet(rows).save(DOCS / "images" / "before-after.png", optimize=True)
    _degradation_steps(portrait.crop(HEAD).resize((512, 512), Image.Resampling.LANCZOS))
    _models(portrait.crop(HEAD).resize((512, 512), Image.Resampling.LANCZOS))
    _sharpness(portrait.crop(HEAD).resize((512, 512), Image.Resampling.LANCZOS))
    _curves()


def _degrade(truth: Image.Image) -> Image.Image:
    small = truth.resize((TILE_PX // 4, TILE_PX // 4), Image.Resampling.BILINEAR, reducing_gap=None)
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=60)
    return Image.open(jpeg).convert("RGB")


def _bicubic(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 4, image.height * 4), Image.Resampling.BICUBIC)


def _degradation_steps(truth: Image.Image) -> None:
    """Show one sample after each step, with what was drawn underneath."""
    images = torch.from_numpy(np.array(truth)).permute(2, 0, 1)[None] / 255
    sizes = Sizes(hq=(512, 512), lq=(128, 128))
    cells: list[tuple[str, Image.Image] | None] = [("ground truth, 512 px", truth)]
    for params in draw(degradation_preset(), seed=EXAMPLE_SEED):
        images = STEPS[params["type"]].apply(images, [params], sizes)
        pixels = images.clamp(0, 1).mul(255).round().byte()[0].permute(1, 2, 0).numpy()
        cells.append((f"{describe(params)} [{pixels.shape[1]} px]", Image.fromarray(pixels)))
    rows = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
    _sheet(rows).save(DOCS / "images" / "degradation-steps.jpg", quality=90)


def _models(truth: Image.Image) -> None:
    """Show what each bundled model makes of one head, degraded less and more."""
    models = [facesr.load_model(name, device="cpu") for name in BUNDLED]
    rows: list[list[tuple[str, Image.Image] | None]] = []
    for preset in ("clean", "mild", "first-order", "default"):
        lq = facesr.degrade_image(truth, preset, seed=MODEL_SEED)
        cells = [(preset, lq.resize(truth.size, Image.Resampling.NEAREST)), ("bicubic", _bicubic(lq))]
        cells += [(model.config.name, facesr.upscale_image(lq, model)) for model in models]
        rows.append([*cells, ("ground truth", truth)])
    _sheet(rows).save(DOCS / "images" / "models.jpg", quality=88)


def _sharpness(truth: Image.Image) -> None:
    """Show the middle of one head at 100 %, from faithful to sharp, degraded less and more."""
    middle = (128, 96, 384, 352)
    rows: list[list[tuple[str, Image.Image] | None]] = []
    for preset in ("first-order", "default"):
        lq = facesr.degrade_image(truth, preset, seed=MODEL_SEED)
        cells = [(f"{preset}, bicubic", _bicubic(lq))]
        for sharpness in (0, 0.5, 1):
            model = facesr.load_model(device="cpu", sharpness=sharpness)
            cells.append((f"--sharpness {sharpness:g}", facesr.upscale_image(lq, model)))
        rows.append([(name, image.crop(middle)) for name, image in [*cells, ("ground truth", truth)]])
    _sheet(rows).save(DOCS / "images" / "sharpness.jpg", quality=90)


def _curves() -> None:
    """Draw the gain over bicubic at the end of each stage, for the models that have a list of stages."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharex=True, sharey=True, layout="constrained")
    for axis, file in zip(axes, sorted((DOCS / "runs").glob("*/stages.csv")), strict=True):
        with file.open() as stream:
            stages = list(csv.DictReader(stream))
        for name in list(stages[0])[2:]:
            faces = [int(stage["faces"]) / 1000 for stage in stages]
            axis.plot(faces, [float(stage[name]) for stage in stages], marker="o", label=name)
        axis.set(title=file.parent.name, xlabel="thousand faces seen", xscale="log")
        axis.set_xticks([20, 50, 100, 200, 500], ["20", "50", "100", "200", "500"])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("PSNR over bicubic, dB")
    axes[1].legend(loc="lower right")
    figure.savefig(DOCS / "images" / "training.png", dpi=110)


def _sheet(rows: list[list[tuple[str, Image.Image] | None]]) -> Image.Image:
    caption_px = 22
    sheet = Image.new("RGB", (max(map(len, rows)) * TILE_PX, len(rows) * (TILE_PX + caption_px)), "white")
    draw = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            if cell is None:
                continue
            caption, image = cell
            left, top = x * TILE_PX, y * (TILE_PX + caption_px)
            sheet.paste(image.resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS), (left, top))
            draw.text((left + 4, top + TILE_PX + 4), caption, fill="black", font=ImageFont.load_default(10))
    return sheet


if __name__ == "__main__":
    main()
