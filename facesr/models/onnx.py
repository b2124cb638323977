"""Networks as ONNX files, and running such a file in the place of the network (extra `onnx`)."""

import hashlib
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facesr.errors import FacesrError, MissingExtra
from facesr.files.atomic import write_atomic
from facesr.models.base import SRNetwork, enlarge

INPUT_NAME, OUTPUT_NAME = "lq", "prediction"


# Largest difference from PyTorch, of values in [0, 1].
_TOLERANCE = 1e-4


class _AnySize(nn.Module):
    def __init__(self, network: SRNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, lq: Tensor) -> Tensor:
        return enlarge(self.network, lq)


class _Clamped(_AnySize):
    def forward(self, lq: Tensor) -> Tensor:
        return super().forward(lq).clamp(0, 1)


def export_onnx(network: SRNetwork, path: Path, *, facts: dict[str, str] | None = None) -> None:
    """Write a network as one ONNX file, for any batch and any size.

    Its input `lq` is (n, 3, h, w) and its output `prediction` (n, 3, 4h, 4w), both fp32 RGB in [0, 1]. It
    takes a picture of any size as a whole.

    Args:
        network: In fp32 on the CPU.
        path: The file, written all or nothing.
        facts: That the file carries, such as the licence.

    Raises:
        MissingExtra: Without the extra `onnx`.
        FacesrError: The file cannot be written.
    """
    _write(_Clamped(network), path, facts=facts or {})


def _write(module: nn.Module, path: Path, *, facts: dict[str, str]) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch.onnx wants it)
    except ImportError as error:
        raise MissingExtra("onnx") from error
    sides = {0: torch.export.Dim("n"), 2: torch.export.Dim("h", min=1), 3: torch.export.Dim("w", min=1)}
    with _quiet_exporter():
        program = torch.onnx.export(
            module.eval(),
            (torch.rand(2, 3, 48, 64),),
            dynamo=True,
            dynamic_shapes=(sides,),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, facts)
    try:
        write_atomic(path, lambda stream: stream.write(proto.SerializeToString()))
    except OSError as error:
        raise FacesrError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hold back what the exporter says about packages and deprecations that concern no user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class OnnxNetwork(SRNetwork):
    """A network that ONNX Runtime computes on the CPU, from a file made on first use and then kept.

    One pass takes as many cores as PyTorch would in the same thread.

    Args:
        network: In fp32 on the CPU.
        identity: Of its weights, such as their sha256.

    Raises:
        MissingExtra: Without the extra `onnx`.
        FacesrError: The file cannot be written, or its results differ from the network's.
    """

    def __init__(self, network: SRNetwork, *, identity: str) -> None:
        super().__init__()
        self.declare_like(network)
        self.multiple_of = 1  # the file pads for itself
        self.dtypes = (torch.float32,)
        self._lock = threading.Lock()
        self._sessions: dict[int, Any] = {}
        # Arguments that no tensor records, such as EDSR's factor, show in the printed network.
        digest = hashlib.sha256(f"{identity} {network!r} {version('facesr')}".encode()).hexdigest()
        self._path = _cache_folder() / f"{digest[:40]}.onnx"
        if not self._is_readable():
            _write(_AnySize(network), self._path, facts={})  # not clamped, as no network's result is
            self._check(network)

    def forward(self, x: Tensor) -> Tensor:
        (prediction,) = self._session().run([OUTPUT_NAME], {INPUT_NAME: x.contiguous().numpy()})
        return torch.from_numpy(prediction)

    def _session(self) -> Any:
        threads = torch.get_num_threads()
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = _open_session(self._path, threads)
            return self._sessions[threads]

    def _is_readable(self) -> bool:
        if not self._path.exists():
            return False
        try:
            self._session()
        except MissingExtra:
            raise
        except Exception:  # ONNX Runtime raises many kinds; a damaged file is made anew
            return False
        return True

    @torch.inference_mode()
    def _check(self, network: SRNetwork) -> None:
        noise = torch.rand(1, 3, 33, 47, generator=torch.Generator().manual_seed(0))
        off = float((self(noise) - enlarge(network, noise)).abs().max())
        if not off <= _TOLERANCE:
            self._path.unlink(missing_ok=True)
            raise FacesrError(f"ONNX Runtime is {off:.1e} off PyTorch", hint="use `--backend torch`")


def _open_session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnx") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "facesr"
