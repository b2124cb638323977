"""Images that training pairs are made of."""

from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import noise


@pytest.fixture
def hq(tmp_path: Path) -> Path:
    """Return a folder of six small images."""
    folder = tmp_path / "hq"
    folder.mkdir()
    for index in range(6):
        Image.fromarray(noise(32, 32, seed=index)).save(folder / f"{index}.png")
    return folder
