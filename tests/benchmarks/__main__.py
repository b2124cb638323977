"""Interleaved timings of facesr and of plain references, medians and spread, as Markdown.

python -m tests.benchmarks                     # everything
python -m tests.benchmarks network folder      # some
python -m tests.benchmarks folder --device cuda --format jpg --faces 2000
python -m tests.benchmarks --rounds 3 memory
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from facesr.config.model import DEFAULT_MODEL
from facesr.weights.load import load_model
from tests.benchmarks import cases
from tests.benchmarks.cases import B20, Case


def memory(scratch: Path, device: str) -> None:
    """Print the peak resident memory of `facesr upscale` by the number of pictures."""
    # Linux; `ru_maxrss` would begin with what this process held when it started the other.
    code = (
        "import sys; from facesr.cli.app import main\ntry: main()\n"
        "finally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    print("| faces | peak resident memory, MiB |\n|---|---|")
    for count in (100, 500, 2000):
        source = cases.folder_of(scratch / f"memory{count}", count)
        target = scratch / f"m{count}"
        command = [sys.executable, "-c", code, "upscale", str(source), str(target), "-q", "-d", device]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"| {count} | {int(done.stderr.split()[-1]) // 1024} |", flush=True)


def yardstick(device: str) -> None:
    """Print what the multiply-adds of each network take at the rate of a matrix product."""
    rate = cases.matmul_rate(device)
    print(f"\nfp32 matrix product: {rate / 1e9:.0f} G multiply-adds a second")
    for name in (DEFAULT_MODEL, B20):
        count = load_model(name, device="cpu").config.multiply_adds
        print(f"{name}: {count / 1e9:.2f} G, {count / rate:.6f} s a face at that rate")


def chosen(scratch: Path, options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Give the cases with their names, each made when it is its turn."""
    device, on_cpu = options.device, options.device == "cpu"
    yield "network", lambda: cases.network_case(B20, 4 if on_cpu else 32, device)
    yield "network", lambda: cases.network_case(DEFAULT_MODEL, 32, device)
    yield "folder", lambda: cases.folder_case(scratch, options.faces, device, options.format)
    yield "single", lambda: cases.single_case(scratch, device)
    yield "tiled", lambda: cases.tiled_case(device)
    yield "degradation", cases.degradation_case
    yield "training", lambda: cases.training_case("msrresnet", "psnr", 8, 32, device)
    yield "training", lambda: cases.training_case("faceunet", "face", 8 if on_cpu else 64, 128, device)
    yield "startup", cases.startup_case


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help="network folder single tiled degradation training startup memory"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--faces", type=int, default=57)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--format", default="png", choices=("png", "jpg"), help="of the results of `folder`")
    options = parser.parse_args()
    os.environ["FACESR_NO_PROGRESS"] = "1"
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, ", end="")
    print(f"PyTorch {torch.__version__}, Python {platform.python_version()}")
    if options.device != "cpu":
        print(torch.cuda.get_device_name(options.device))
    with tempfile.TemporaryDirectory() as scratch:
        yardstick(options.device)
        for name, make in chosen(Path(scratch), options):
            if not options.names or name in options.names:
                cases.measure(make(), options.rounds)
        if not options.names or "memory" in options.names:
            memory(Path(scratch), options.device)


if __name__ == "__main__":
    main()
