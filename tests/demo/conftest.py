"""A photograph for the page."""

from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import noise

FACE = Path(__file__).parents[2] / "docs" / "example" / "face-128px.png"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a JPEG with EXIF of two faces."""
    face = Image.open(FACE).convert("RGB")
    sheet = Image.fromarray(noise(200, 400) // 4 + 90)
    sheet.paste(face, (30, 36))
    sheet.paste(face.resize((100, 100)), (250, 50))
    exif = Image.Exif()
    exif[271] = "a camera"
    path = tmp_path / "two faces.jpg"
    sheet.save(path, quality=92, exif=exif)
    return path
