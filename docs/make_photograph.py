"""Make the picture of a restored photograph in the README from the public-domain astronaut portrait.

Run from the repository's root with the `dev` extra installed: `python docs/make_photograph.py`.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from skimage import data

import facesr

IMAGES = Path(__file__).parent / "images"
SEED = 3
CAPTION_PX = 26


def main() -> None:
    """Write `images/photograph.jpg`, before and after side by side."""
    hq = Image.fromarray(data.astronaut())
    lq = facesr.degrade_image(hq, "default", seed=SEED)
    panels = {
        f"before: {lq.width}x{lq.height} px, enlarged by bicubic interpolation": lq.resize(
            hq.size, Image.Resampling.BICUBIC
        ),
        "after: facesr upscale photo.jpg out/": facesr.restore_faces(lq),
    }
    sheet = Image.new("RGB", (len(panels) * hq.width, hq.height + CAPTION_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (caption, image) in enumerate(panels.items()):
        left = column * hq.width
        sheet.paste(image, (left, 0))
        draw.text((left + 6, hq.height + 5), caption, fill="black", font=ImageFont.load_default(14))
    sheet.save(IMAGES / "photograph.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main()
