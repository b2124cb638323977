"""One run on a GPU machine: is facesr right there, and how fast. About 6 minutes on an H100.

python -m tests.benchmarks.gpu_check --out results/
python -m tests.benchmarks.gpu_check --device cpu --tiny      # whether this script works, without a GPU

Each section is guarded: an error is noted, and the next section runs. `gpu_check.json` is written after each.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import facesr
from facesr.config.model import DEFAULT_MODEL
from facesr.config.train import TrainConfig
from facesr.device import DTYPES
from facesr.errors import MissingExtra
from facesr.events import Reporter
from facesr.inference.enlarge import enlarge_pixels
from facesr.weights.load import load_model
from tests.benchmarks import cases
from tests.benchmarks.cases import B20

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
Facts = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """Where to run, and how much."""

    device: str
    tiny: bool
    out: Path
    scratch: Path

    @property
    def on_cuda(self) -> bool:
        return self.device != "cpu"

    def measure(self, case: cases.Case, *, once: bool = False) -> dict[str, float]:
        """Return images a second of each variant, of one run of it if it is long."""
        once = once or self.tiny
        medians = cases.measure(case, 1 if once else 3, warm_up=not once)
        return {f"{case.title}: {name}, images/s": 1 / seconds for name, seconds in medians.items()}


def environment(setup: Setup) -> Facts:
    facts: Facts = {"facesr": facesr.__version__, "torch": torch.__version__, "numpy": np.__version__}
    facts |= {"python": platform.python_version(), "cores": os.cpu_count()}
    dtypes = [torch.float32]
    if setup.on_cuda:
        properties = torch.cuda.get_device_properties(setup.device)
        facts |= {"gpu": properties.name, "memory_gib": properties.total_memory / 2**30}
        facts |= {"cuda": torch.version.cuda, "cudnn_tf32": torch.backends.cudnn.allow_tf32}
        dtypes += [torch.float16, torch.bfloat16]
    for dtype in dtypes:
        facts[f"matrix product, {dtype}, G multiply-adds/s"] = cases.matmul_rate(setup.device, dtype) / 1e9
    return facts


def cuda_tests(setup: Setup) -> Facts:
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-v", "-rs", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)
    (setup.out / "pytest-cuda.log").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout[-2000:]
    return {"summary": done.stdout.strip().splitlines()[-1]}


def agreement(setup: Setup) -> Facts:
    """Each network and precision against fp32 on the CPU, in grey levels, and what it costs in PSNR."""
    facts: Facts = {}
    side = 64 if setup.tiny else 128
    hq = torch.from_numpy(np.stack([cases.face(index, 4 * side) for index in range(2)]))
    lq = torch.from_numpy(np.stack([cases.face(index, side) for index in range(2)]))

    def score(images: torch.Tensor) -> float:
        return float(facesr.psnr(images.permute(0, 3, 1, 2), hq.permute(0, 3, 1, 2)).mean())

    for name in (DEFAULT_MODEL, B20):
        expected = enlarge_pixels(load_model(name, device="cpu").network, lq, CPU).wait()
        for dtype in DTYPES if setup.on_cuda else ("fp32", "bf16"):
            model = load_model(name, device=setup.device, dtype=dtype)
            found = enlarge_pixels(model.network, lq, model.device).wait()
            off = (found.int() - expected.int()).abs().float()
            facts[f"{name}, {dtype}"] = {
                "max": float(off.max()), "mean": float(off.mean()), "lost_db": score(expected) - score(found)
            }  # fmt: skip
            assert off.mean() < 0.5, (name, dtype, float(off.mean()))
    return facts


def memory(setup: Setup) -> Facts:
    """With less and less memory the results stay the same, and the run takes longer."""
    if not setup.on_cuda:
        return {"left out": "needs CUDA"}
    facts: Facts = {}
    model = load_model(B20, device=setup.device)
    pixels = torch.from_numpy(np.stack([cases.face(index, 256) for index in range(8)]))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    expected = enlarge_pixels(model.network, pixels, model.device).wait().clone()
    peak = torch.cuda.max_memory_allocated() - before
    total = torch.cuda.get_device_properties(setup.device).total_memory
    try:
        for part in (0.6, 0.3, 0.1):
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + peak * part) / total)
            start = time.perf_counter()
            found = enlarge_pixels(model.network, pixels, model.device).wait()
            off = (found.int() - expected.int()).abs().max()
            facts[f"{part} of the memory"] = {"seconds": time.perf_counter() - start, "max": int(off)}
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    return facts


def network(setup: Setup) -> Facts:
    facts = setup.measure(cases.network_case(DEFAULT_MODEL, 2 if setup.tiny else 32, setup.device))
    return facts | setup.measure(cases.network_case(B20, 1 if setup.tiny else 32, setup.device))


def folder(setup: Setup) -> Facts:
    facts: Facts = {}
    for file_format in ("jpg",) if setup.tiny else ("png", "jpg"):
        count = 2 if setup.tiny else 400
        facts |= setup.measure(cases.folder_case(setup.scratch, count, setup.device, file_format), once=True)
    return facts


def training_step(setup: Setup) -> Facts:
    size, side = (2, 32) if setup.tiny else (64, 128)
    return setup.measure(cases.training_case("faceunet", "face", size, side, setup.device))


def sharp_step(setup: Setup) -> Facts:
    """A step with a discriminator and losses by share, if the weights of ST-LPIPS are installed."""
    size, side = (2, 32) if setup.tiny else (16, 128)
    try:
        return setup.measure(cases.training_case("faceunet", "sharp", size, side, setup.device))
    except MissingExtra as error:
        return {"left out": error.message}


class StopAfter(Reporter):
    """Ends a run as a cluster does, by a signal after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def training_run(setup: Setup) -> Facts:
    """`train` with its data, and a stopped and resumed run, equal to the bit to one that was not stopped."""
    hq = setup.scratch / "hq"
    hq.mkdir()
    for index in range(4 if setup.tiny else 64):
        Image.fromarray(cases.face(index, 64 if setup.tiny else 512)).save(hq / f"{index:02}.png")
    small = {"args": {"blocks": 1, "features": 16, "detail_blocks": 1}} if setup.tiny else {}

    def config(name: str, steps: int, **changes: Any) -> TrainConfig:
        batch, out = 2 if setup.tiny else 32, str(setup.scratch / name)
        changes |= {
            "iterations": steps,
            "batch": batch,
            "out": out,
            "device": setup.device,
            "log_every": steps,
        }
        made = facesr.train_recipe("face", validate_every=0, **small, **changes)
        return replace(made, data=replace(made.data, train_hq=(hq,), ring=4 if setup.tiny else 256))

    def weights(name: str) -> dict[str, torch.Tensor]:
        path = setup.scratch / name / "last" / "checkpoint.pt"
        network: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)["network"]
        return network

    facts: Facts = {}
    for dtype in ("fp32", "bf16"):
        facesr.train(config(dtype, 2 if setup.tiny else 150, dtype=dtype))
        line = (setup.scratch / dtype / "metrics.jsonl").read_text().splitlines()[-1]
        facts[f"{dtype}, images/s with their data"] = json.loads(line)["samples_per_s"]
    steps = 4 if setup.tiny else 20
    try:
        facesr.train(config("whole", steps, deterministic=True))
        facesr.train(config("cut", steps, deterministic=True), StopAfter(steps // 2))
        facesr.train(facesr.resumed_config(setup.scratch / "cut"))
    finally:
        torch.use_deterministic_algorithms(False)
    whole, cut = weights("whole"), weights("cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole), "the resumed run differs"
    return facts | {"resumed run": "equal"}


def hidden_waits(setup: Setup) -> Facts:
    """Calls in `upscale` that make the host wait for the device, by PyTorch's own watch."""
    if not setup.on_cuda:
        return {"left out": "needs CUDA"}
    source = cases.folder_of(setup.scratch / "waits", 64)
    runtime = facesr.RuntimeConfig(device=setup.device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            facesr.upscale(
                facesr.UpscaleConfig(inputs=(source,), output=setup.scratch / "waited", runtime=runtime)
            )
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in caught if "synchroniz" in str(one.message)]
    return {place: places.count(place) for place in set(places)}


SECTIONS: tuple[Callable[[Setup], Facts], ...] = (
    environment, cuda_tests, agreement, memory, network, folder, training_step, sharp_step, training_run,
    hidden_waits,
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("only", nargs="*", help=" ".join(section.__name__ for section in SECTIONS))
    parser.add_argument("--device", default="cuda", help="cpu, cuda or cuda:N")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder of the results")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes, to see that the sections run")
    parser.add_argument("--budget", type=float, default=360, help="seconds after which no section starts")
    options = parser.parse_args()
    os.environ["FACESR_NO_PROGRESS"] = "1"
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Facts] = {"facts": {}, "errors": {}, "seconds": {}}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        setup = Setup(options.device, options.tiny, options.out, Path(scratch))
        for section in SECTIONS:
            name, start = section.__name__, time.perf_counter()
            if options.only and name not in options.only:
                continue
            print(f"\n== {name}, {start - started:.0f} s after the start", flush=True)
            try:
                assert start - started < options.budget, "left out, the budget is spent"
                results["facts"][name] = section(setup)
            except Exception as error:
                traceback.print_exc()
                results["errors"][name] = f"{type(error).__name__}: {error}"[-2000:]
            results["seconds"][name] = round(time.perf_counter() - start, 1)
            (options.out / "gpu_check.json").write_text(json.dumps(results, indent=1))
    print(json.dumps(results, indent=1))
    return 1 if results["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
