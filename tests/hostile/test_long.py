"""Nothing grows with the number of pictures: not the memory, not the threads, not the open files."""

import gc
import os
import threading
from pathlib import Path

import pytest
from PIL import Image

from facesr.config.degrade import DegradeConfig
from facesr.config.runtime import RuntimeConfig
from facesr.config.upscale import UpscaleConfig
from facesr.events import Reporter
from facesr.workflows.degrade import degrade
from facesr.workflows.upscale import upscale
from tests.conftest import noise


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (a count)


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch(Reporter):
    """Notes the memory after some numbers of pictures."""

    def __init__(self, at: tuple[int, ...]) -> None:
        self.at, self.done = at, 0
        self.mib: dict[int, float] = {}

    def advance(self, count: int = 1) -> None:
        self.done += count
        if self.done in self.at:
            gc.collect()
            self.mib[self.done] = resident_mib()


def faces_in(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index in range(count):
        Image.fromarray(noise(8, 8, seed=index)).save(folder / f"{index}.png")
    (folder / "broken.png").write_text("no picture")  # a failure holds on to nothing either
    return folder


def config(faces: Path, out: Path, model: Path) -> UpscaleConfig:
    return UpscaleConfig(inputs=(faces,), output=out, model=str(model), runtime=RuntimeConfig(device="cpu"))


def test_upscale_leaves_no_thread_and_no_open_file(tiny_folder: Path, tmp_path: Path) -> None:
    faces = faces_in(tmp_path / "faces", 200)
    upscale(config(faces, tmp_path / "first", tiny_folder))  # PyTorch's own threads stay
    before = descriptors(), threading.active_count()
    result = upscale(config(faces, tmp_path / "out", tiny_folder))
    assert (len(result.written), len(result.failed)) == (200, 1)
    assert (descriptors(), threading.active_count()) == before


def test_degrade_leaves_no_thread_and_no_open_file(tmp_path: Path) -> None:
    faces = faces_in(tmp_path / "faces", 200)
    degrade(DegradeConfig(hq=faces, lq=tmp_path / "first"))
    before = descriptors(), threading.active_count()
    result = degrade(DegradeConfig(hq=faces, lq=tmp_path / "lq"))
    assert (len(result.written), len(result.failed)) == (200, 1)
    assert (descriptors(), threading.active_count()) == before


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_is_flat_over_5000_pictures(tiny_folder: Path, tmp_path: Path) -> None:
    faces = faces_in(tmp_path / "faces", 5000)
    watch = Watch((1000, 3000, 5000))
    upscale(config(faces, tmp_path / "warm", tiny_folder))
    before = descriptors(), threading.active_count()
    result = upscale(config(faces, tmp_path / "out", tiny_folder), watch)
    assert len(result.written) == 5000
    print(f"MiB after 1000, 3000, 5000 pictures: {watch.mib}")  # noqa: T201 (for the table in the docs)
    assert watch.mib[5000] <= 1.05 * watch.mib[1000]
    assert (descriptors(), threading.active_count()) == before
