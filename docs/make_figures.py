"""Make the example pictures and the README's before/after from the public-domain astronaut portrait.

Run from the repository's root with the `dev` extra installed: `python docs/make_figures.py`.
"""

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from skimage import data

import facesr

DOCS = Path(__file__).parent
HEAD = (96, 0, 352, 256)
SMALL_FACE = (160, 32, 288, 160)
TILE_PX = 256


def main() -> None:
    """Write `example/` and `images/before-after.png`."""
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
            ("facesr", facesr.upscale_image(bad, model)),
            ("truth", truth),
        ],
        [("128 px crop, bicubic", _bicubic(small)), ("facesr", facesr.upscale_image(small, model)), None],
    ]
    _sheet(rows).save(DOCS / "images" / "before-after.png", optimize=True)


def _degrade(truth: Image.Image) -> Image.Image:
    small = truth.resize((TILE_PX // 4, TILE_PX // 4), Image.Resampling.BILINEAR, reducing_gap=None)
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=60)
    return Image.open(jpeg).convert("RGB")


def _bicubic(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 4, image.height * 4), Image.Resampling.BICUBIC)


def _sheet(rows: list[list[tuple[str, Image.Image] | None]]) -> Image.Image:
    caption_px = 22
    sheet = Image.new("RGB", (3 * TILE_PX, 2 * (TILE_PX + caption_px)), "white")
    draw = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            if cell is None:
                continue
            caption, image = cell
            left, top = x * TILE_PX, y * (TILE_PX + caption_px)
            sheet.paste(image.resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS), (left, top))
            draw.text((left + 4, top + TILE_PX + 4), caption, fill="black", font=ImageFont.load_default(13))
    return sheet


if __name__ == "__main__":
    main()
