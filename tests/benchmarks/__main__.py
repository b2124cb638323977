"""Interleaved timings of facesr and of plain references, medians and spread, as Markdown.

python -m tests.benchmarks                     # everything
python -m tests.benchmarks network folder      # some
python -m tests.benchmarks --rounds 3 memory
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

from facesr.config.model import DEFAULT_MODEL
from facesr.config.steps import degradation_preset
from facesr.config.train import train_recipe
from facesr.data.batches import Batch
from facesr.degradation.degrader import degrade_pixels, draw
from facesr.inference.enlarge import enlarge_pixels
from facesr.models import build_network
from facesr.training.trainer import Trainer
from facesr.weights.load import load_model
from tests.benchmarks import plain
from tests.degradation import reference

B20 = "msrresnet-b20"
CPU = torch.device("cpu")
Clock = Callable[[], float]


@dataclass(frozen=True)
class Case:
    """Variants of one thing, the first of them the reference; each returns seconds."""

    title: str
    unit: str
    variants: dict[str, Clock]


def timed(function: Callable[[], object], count: int = 1) -> Clock:
    def clock() -> float:
        start = time.perf_counter()
        function()
        return (time.perf_counter() - start) / count

    return clock


def face(index: int, side: int = 128) -> np.ndarray:
    """Return a head that differs with the index."""
    portrait = Image.fromarray(data.astronaut()).crop((128 + index % 16, index % 16, 320, 192))
    return np.asarray(portrait.resize((side, side), Image.Resampling.BICUBIC))


def image_of(pixels: np.ndarray) -> torch.Tensor:
    """Return an (h, w, 3) picture as (1, 3, h, w) in [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()[None] / 255


def folder_of(path: Path, count: int) -> Path:
    path.mkdir()
    for index in range(count):
        Image.fromarray(face(index)).save(path / f"{index:04}.png")
    return path


def matmul_rate() -> float:
    """Return the best rate of fp32 matrix multiplication here, multiply-adds a second."""
    side = 2048
    left, right = torch.rand(side, side), torch.rand(side, side)
    return side**3 / min(timed(lambda: left @ right)() for _ in range(10))


def network_case(name: str, count: int) -> Case:
    """The network alone on one face after another; facesr's way has a face on each core."""
    lq = image_of(face(0))
    plain_network = plain.network_of(name)
    threads = torch.get_num_threads()
    executor = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))

    def eager() -> None:
        torch.set_num_threads(threads)
        with torch.no_grad():
            for _ in range(count):
                plain_network(lq)

    network = load_model(name, device="cpu").network

    def one(_: int) -> None:
        with torch.inference_mode():
            network(lq.to(memory_format=torch.channels_last))

    variants = {
        "eager, default layout": timed(eager, count),
        "facesr": timed(lambda: list(executor.map(one, range(count))), count),
    }
    return Case(f"network, {name}", "face of 128 px", variants)


def run(*args: object) -> str:
    command = [sys.executable, "-m", *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def folder_case(scratch: Path, count: int) -> Case:
    """A folder to a folder, without the start of the process."""
    source = folder_of(scratch / "faces", count)

    def script() -> float:
        return float(run("tests.benchmarks.plain", B20, source, scratch / "plain")) / count

    def facesr(*options: str) -> Clock:
        def clock() -> float:
            target = scratch / "out"
            shutil.rmtree(target, ignore_errors=True)
            document = json.loads(run("facesr", "upscale", source, target, "--json", *options))
            assert len(document["written"]) == count
            stages = ", ".join(f"{name} {s / count:.4f}" for name, s in document["stages"].items())
            print(f"core-seconds a face, {' '.join(options)}: {stages}")
            return float(document["seconds"]) / count

        return clock

    variants = {f"plain script, {B20}": script, f"facesr, {B20}": facesr("-m", B20)}
    variants[f"facesr, {DEFAULT_MODEL}"] = facesr()
    return Case("folder to folder", "face of 128 px", variants)


def single_case(scratch: Path) -> Case:
    """One picture, cold: the whole process."""
    source = folder_of(scratch / "one", 1)
    variants: dict[str, Clock] = {
        "import torch": timed(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True))
    }
    for name in (DEFAULT_MODEL, B20):
        command = ("facesr", "upscale", source, scratch / "single", "--overwrite", "-q", "-m", name)
        variants[f"facesr, {name}"] = timed(lambda command=command: run(*command))  # type: ignore[misc]
    return Case("single picture, cold", "picture of 128 px", variants)


def tiled_case() -> Case:
    """A large picture in pieces."""
    pixels = torch.from_numpy(data.astronaut().copy())
    network, lq = plain.network_of(B20), image_of(data.astronaut())

    def ours(name: str) -> Clock:
        model = load_model(name, device="cpu")
        return timed(lambda: enlarge_pixels(model.network, pixels[None], CPU).wait())

    return Case(
        "large picture in pieces",
        "picture of 512 px",
        {
            f"plain tiler, {B20}": timed(lambda: plain.upscale_tiled(network, lq)),
            f"facesr, {B20}": ours(B20),
            f"facesr, {DEFAULT_MODEL}": ours(DEFAULT_MODEL),
        },
    )


def degradation_case(count: int = 8) -> Case:
    """Second-order degradation of HQ faces."""
    config = degradation_preset("default")
    faces = [face(index, 512) for index in range(count)]
    images = [image_of(pixels) for pixels in faces]
    draws = [draw(config, index) for index in range(count)]

    def ours() -> None:
        for pixels, steps in zip(faces, draws, strict=True):
            degrade_pixels(pixels, steps, scale=4)

    def theirs() -> None:
        for image, steps in zip(images, draws, strict=True):
            reference.degrade(image, steps)

    return Case(
        "degradation",
        "face of 512 px",
        {"plain reference": timed(theirs, count), "facesr": timed(ours, count)},
    )


def training_case() -> Case:
    """One step on data that waits, 8 crops of 32 px."""
    lq = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8)
    hq = torch.randint(0, 256, (8, 128, 128, 3), dtype=torch.uint8)
    network = build_network("msrresnet", {})
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    images = [one.permute(0, 3, 1, 2).contiguous().float() / 255 for one in (lq, hq)]
    trainer = Trainer(build_network("msrresnet", {}), train_recipe("psnr"), CPU)
    batch = Batch(lq, hq, ("",) * 8, ())
    return Case(
        "training step, msrresnet",
        "step of 8 crops",
        {
            "plain loop": timed(lambda: plain.train_step(network, optimizer, *images)),
            "facesr (averages the weights too)": timed(lambda: trainer.train_step(batch)),
        },
    )


def startup_case() -> Case:
    """Whole processes that do nothing."""
    python = [sys.executable, "-c"]
    return Case(
        "start-up",
        "process",
        {
            "import typer.rich_utils": timed(
                lambda: subprocess.run([*python, "import typer.rich_utils"], check=True)
            ),
            "facesr --help": timed(lambda: run("facesr", "--help")),
            "facesr --version": timed(lambda: run("facesr", "--version")),
        },
    )


def memory(scratch: Path) -> None:
    """Print the peak resident memory of `facesr upscale` by the number of pictures."""
    # Linux; `ru_maxrss` would begin with what this process held when it started the other.
    code = (
        "import sys; from facesr.cli.app import main\ntry: main()\n"
        "finally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    print("| faces | peak resident memory, MiB |\n|---|---|")
    for count in (100, 500, 2000):
        source = folder_of(scratch / f"memory{count}", count)
        command = [sys.executable, "-c", code, "upscale", str(source), str(scratch / f"m{count}"), "-q"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"| {count} | {int(done.stderr.split()[-1]) // 1024} |", flush=True)


def measure(case: Case, rounds: int) -> None:
    """Print a table: ratio to the first variant, median, smallest and largest."""
    for clock in case.variants.values():
        clock()  # warms up
    times: dict[str, list[float]] = {name: [] for name in case.variants}
    for _ in range(rounds):
        for name, clock in case.variants.items():
            times[name].append(clock())
    print(f"\n### {case.title}\n\n| | times as fast | seconds a {case.unit} | spread |\n|---|---|---|---|")
    reference_s = times[next(iter(times))]
    for name, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(reference_s, seconds, strict=True))
        spread = f"{min(seconds):.4f} to {max(seconds):.4f}"
        print(f"| {name} | {ratio:.2f} | {statistics.median(seconds):.4f} | {spread} |", flush=True)


def yardstick() -> None:
    """Print what the multiply-adds of each network take at the rate of a matrix product."""
    rate = matmul_rate()
    print(f"\nfp32 matrix product: {rate / 1e9:.0f} G multiply-adds a second")
    for name in (DEFAULT_MODEL, B20):
        count = load_model(name, device="cpu").config.multiply_adds
        print(f"{name}: {count / 1e9:.2f} G, {count / rate:.4f} s a face at that rate")


def cases(scratch: Path, faces: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    yield "network", lambda: network_case(B20, 4)
    yield "network", lambda: network_case(DEFAULT_MODEL, 32)
    yield "folder", lambda: folder_case(scratch, faces)
    yield "single", lambda: single_case(scratch)
    yield "tiled", tiled_case
    yield "degradation", degradation_case
    yield "training", training_case
    yield "startup", startup_case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="network folder single tiled degradation training startup memory"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--faces", type=int, default=57)
    options = parser.parse_args()
    os.environ["FACESR_NO_PROGRESS"] = "1"
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, ", end="")
    print(f"PyTorch {torch.__version__}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as scratch:
        yardstick()
        for name, make in cases(Path(scratch), options.faces):
            if not options.names or name in options.names:
                measure(make(), options.rounds)
        if not options.names or "memory" in options.names:
            memory(Path(scratch))


if __name__ == "__main__":
    main()
