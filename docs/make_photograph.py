"""Make the picture of a restored photograph in the README from the public-domain astronaut portrait.

Run from the repository's root with the `dev` extra installed: `PYTHONPATH=. python docs/make_photograph.py`.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import facesr
from tests.faces.sheets import group_sheet

IMAGES = Path(__file__).parent / "images"
SEED = 4
# Width of each face and its roll, in pixels of the ground truth and degrees.
FACES = ((200, -10), (150, 20), (100, -25), (170, 8))
CAPTION_PX = 26


def main() -> None:
    """Write `images/photograph.jpg`, before and after."""
    hq = Image.fromarray(group_sheet(FACES, height=440, width=1040))
    lq = facesr.degrade_image(hq, "mild", seed=SEED)
    before = lq.resize(hq.size, Image.Resampling.BICUBIC)
    panels = {
        f"before: {lq.width}x{lq.height}, bicubic": before,
        "facesr upscale photo.jpg out/": facesr.restore_faces(lq),
    }
    sheet = Image.new("RGB", (hq.width, len(panels) * (hq.height + CAPTION_PX)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (caption, image) in enumerate(panels.items()):
        top = row * (hq.height + CAPTION_PX)
        sheet.paste(image, (0, top))
        draw.text((6, top + hq.height + 5), caption, fill="black", font=ImageFont.load_default(14))
    sheet.save(IMAGES / "photograph.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main()
