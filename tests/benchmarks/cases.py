"""What is timed: facesr beside a plain reference, each case for one device."""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from facesr.config.model import DEFAULT_MODEL, Arch
from facesr.config.runtime import Dtype
from facesr.config.steps import degradation_preset
from facesr.config.train import train_recipe
from facesr.data.batches import Batch
from facesr.degradation.degrader import degrade_pixels, draw
from facesr.device import DTYPES
from facesr.inference.enlarge import enlarge_pixels
from facesr.models import build_network
from facesr.models.base import enlarge
from facesr.training.trainer import Trainer
from facesr.weights.load import load_model
from tests.benchmarks import plain

B20 = "msrresnet-b20"
PORTRAIT = Image.open(Path(__file__).parents[2] / "docs" / "example" / "face-128px.png").convert("RGB")
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
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # a call on CUDA returns before its work is done
        return (time.perf_counter() - start) / count

    return clock


def face(index: int, side: int = 128) -> np.ndarray:
    """Return a face that differs with the index, with grain, so that files are as large as of photographs."""
    box = (index % 16, index % 16, 112, 112)
    portrait = PORTRAIT.resize((side, side), Image.Resampling.BICUBIC, box)
    grain = np.random.default_rng(index).normal(0, 2.5, (side, side, 1))
    return (np.asarray(portrait) + grain).round().clip(0, 255).astype(np.uint8)


def image_of(pixels: np.ndarray) -> torch.Tensor:
    """Return an (h, w, 3) picture as (1, 3, h, w) in [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()[None] / 255


def folder_of(path: Path, count: int) -> Path:
    """Write faces of 128 px, 64 different ones."""
    path.mkdir(parents=True)
    faces = [face(index) for index in range(min(count, 64))]
    for index in range(count):
        Image.fromarray(faces[index % 64]).save(path / f"{index:04}.png")
    return path


def matmul_rate(device: str, dtype: torch.dtype = torch.float32) -> float:
    """Return the best rate of a matrix multiplication there, multiply-adds a second."""
    side = 2048 if device == "cpu" else 8192
    left, right = torch.rand(2, side, side, device=device, dtype=dtype)
    return side**3 / min(timed(lambda: left @ right)() for _ in range(10))


def network_case(name: str, count: int, device: str) -> Case:
    """The network alone, faces in memory: one on each core of a CPU, `count` at a time on CUDA."""
    lq = image_of(face(0)).to(device)
    plain_network = plain.network_of(name).to(device)
    threads = torch.get_num_threads()
    executor = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    side_by_side, batch = (count, 1) if device == "cpu" else (1, count)

    def eager() -> None:
        torch.set_num_threads(threads)
        with torch.no_grad():
            for _ in range(count):
                plain_network(lq)

    def ours(dtype: str) -> Clock:
        network = load_model(name, device=device, dtype=dtype).network
        faces = lq.repeat(batch, 1, 1, 1).to(memory_format=torch.channels_last)

        def one(_: int) -> None:
            with torch.inference_mode():
                enlarge(network, faces)

        return timed(lambda: list(executor.map(one, range(side_by_side))), count)

    variants = {"eager, default layout": timed(eager, count)}
    for dtype in ("fp32",) if device == "cpu" else ("fp32", "fp16", "bf16"):
        if DTYPES[dtype] in plain_network.traits.dtypes:
            variants[f"facesr, {dtype}"] = ours(dtype)
    return Case(f"network, {name}", "face of 128 px", variants)


def run(*args: object) -> str:
    command = [sys.executable, "-m", *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def folder_case(scratch: Path, count: int, device: str, file_format: str) -> Case:
    """A folder to a folder, without the start of the process."""
    source, scratch = folder_of(scratch / file_format / "faces", count), scratch / file_format

    def script() -> float:
        options = ("--device", device, "--format", file_format)
        return float(run("tests.benchmarks.plain", B20, source, scratch / "plain", *options)) / count

    def facesr(*options: str) -> Clock:
        options += ("--device", device, "--format", file_format)

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
    return Case(f"folder to folder, {file_format}", "face of 128 px", variants)


def single_case(scratch: Path, device: str) -> Case:
    """One picture, cold: the whole process."""
    source = folder_of(scratch / "one", 1)
    variants: dict[str, Clock] = {
        "import torch": timed(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True))
    }
    for name in (DEFAULT_MODEL, B20):
        command = (
            "facesr",
            "upscale",
            source,
            scratch / "single",
            "--overwrite",
            "-q",
            "-m",
            name,
            "-d",
            device,
        )
        variants[f"facesr, {name}"] = timed(lambda command=command: run(*command))  # type: ignore[misc]
    return Case("single picture, cold", "picture of 128 px", variants)


def tiled_case(device: str) -> Case:
    """A large picture in pieces."""
    pixels = torch.from_numpy(face(0, 512))
    network, lq = plain.network_of(B20).to(device), image_of(face(0, 512)).to(device)

    def ours(name: str) -> Clock:
        model = load_model(name, device=device)
        return timed(lambda: enlarge_pixels(model.network, pixels[None], model.device).wait())

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
    from tests.degradation import reference  # needs SciPy, which a GPU machine may lack

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


def training_case(arch: Arch, recipe: str, size: int, side: int, device: str) -> Case:
    """One step on data that waits, `size` LQ images of `side` px."""
    torch.manual_seed(0)
    lq = torch.randint(0, 256, (size, side, side, 3), dtype=torch.uint8)
    hq = torch.randint(0, 256, (size, 4 * side, 4 * side, 3), dtype=torch.uint8)
    batch = Batch(lq, hq, ("",) * size, ())
    network = build_network(arch, {}).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def plain_step() -> None:
        images = [one.permute(0, 3, 1, 2).contiguous().to(device).float() / 255 for one in (lq, hq)]
        plain.train_step(network, optimizer, *images)

    def facesr(dtype: Dtype) -> Clock:
        config = train_recipe(recipe, dtype=dtype, batch=size, device=device)
        trainer = Trainer(build_network(arch, config.args), config, torch.device(device))
        trainer.step = config.iterations // 2  # where all losses count
        return timed(lambda: trainer.train_step(batch), size)

    variants = {"plain loop, Adam": timed(plain_step, size)}
    precisions: tuple[Dtype, ...] = ("fp32",) if device == "cpu" else ("fp32", "bf16")
    for dtype in precisions:
        variants[f"facesr, {dtype} (averages the weights too)"] = facesr(dtype)
    return Case(f"training step, {arch}, recipe {recipe}, batch {size}", f"pair, LQ of {side} px", variants)


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


def measure(case: Case, rounds: int, *, warm_up: bool = True) -> dict[str, float]:
    """Print a table: ratio to the first variant, median, smallest and largest. Return medians, seconds."""
    for clock in case.variants.values() if warm_up else ():
        clock()
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
    return {name: statistics.median(seconds) for name, seconds in times.items()}
