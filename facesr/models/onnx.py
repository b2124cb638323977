"""Exporting networks to ONNX files (extra `onnx`)."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from facesr.errors import FacesrError, MissingExtra
from facesr.files.atomic import write_atomic
from facesr.models.base import SRNetwork, enlarge


class _AnySize(nn.Module):
    def __init__(self, network: SRNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, lq: Tensor) -> Tensor:
        return enlarge(self.network, lq).clamp(0, 1)


def export_onnx(network: SRNetwork, path: Path, *, facts: dict[str, str] | None = None) -> None:
    """Write a network as one ONNX file, for any batch size and image size.

    The input `lq` is (n, 3, h, w) and the output `prediction` is (n, 3, scale h, scale w), both fp32 RGB in
    [0, 1]. Images are processed as a whole, without tiles.

    Args:
        network: Network in fp32 on the CPU.
        path: Path of the file, which is written atomically.
        facts: Metadata to store in the file, such as the licence.

    Raises:
        MissingExtra: The extra `onnx` is not installed.
        FacesrError: The file cannot be written.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch.onnx wants it)
    except ImportError as error:
        raise MissingExtra("onnx") from error
    sides = {0: torch.export.Dim("n"), 2: torch.export.Dim("h", min=1), 3: torch.export.Dim("w", min=1)}
    with _quiet_exporter():
        program = torch.onnx.export(
            _AnySize(network).eval(),
            (torch.rand(2, 3, 48, 64),),
            dynamo=True,
            dynamic_shapes=(sides,),
            input_names=["lq"],
            output_names=["prediction"],
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, facts or {})
    try:
        write_atomic(path, lambda stream: stream.write(proto.SerializeToString()))
    except OSError as error:
        raise FacesrError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide the exporter's messages about packages and deprecations, which do not concern users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
