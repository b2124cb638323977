"""A note in the EXIF of each file that `facesr upscale` writes, which says how it was made."""

import warnings
from pathlib import Path

from PIL import Image

from facesr.files.jobs import foreign
from facesr.files.paths import is_there
from facesr.images.formats import opened

TAG = 11  # ProcessingSoftware, which every format that is written can hold
PREFIX = "facesr "


def add_note(exif: bytes | None, note: str) -> bytes:
    """Return an EXIF block with an ASCII note added, or a new block."""
    block = Image.Exif()
    block.load(exif or b"")
    block[TAG] = PREFIX + note
    return block.tobytes()


def read_note(path: Path) -> str:
    """Return the note in a file, or an empty string if there is no note or the file cannot be read."""
    try:
        with warnings.catch_warnings(), path.open("rb") as stream, opened(stream) as (image, _):
            warnings.simplefilter("ignore")
            # For a PNG without EXIF in its header Pillow would decode the pixels to look behind them.
            has_exif = image.format != "PNG" or "exif" in image.info
            text = str(image.getexif().get(TAG, "")) if has_exif else ""
    except Exception:  # Pillow raises any kind for damaged files
        return ""
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else ""


def check_replaceable(path: Path) -> None:
    """Reject a result if its file exists and is not from facesr.

    Raises:
        ImageError: The file exists and has no note.
    """
    if is_there(path) and not read_note(path):
        raise foreign(path)
