"""Plots of a run: `curve.png` (extra `plot`) and TensorBoard events (extra `tensorboard`)."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from facesr.errors import MissingExtra
from facesr.files.atomic import write_atomic
from facesr.training.run_folder import RunFolder


def draw_curve(folder: RunFolder) -> None:
    """Write `curve.png`: losses, and validation PSNR with that of bicubic. Without `plot` it does nothing."""
    if find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure  # without pyplot, which would keep global state

    lines = list(folder.metrics())
    validations = [line for line in lines if "validation" in line]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    losses = [
        (line["step"], {"loss": line["loss"], **line.get("losses", {})}) for line in lines if "loss" in line
    ]
    for name in dict.fromkeys(name for _, values in losses for name in values):
        curve = [(step, values[name]) for step, values in losses if name in values]
        left.plot(*zip(*curve, strict=True), label=name, linewidth=0.8)
    if len(left.lines) > 1:
        left.legend(fontsize="small")
    positive = all(loss > 0 for _, values in losses for loss in values.values())
    left.set(xlabel="step", ylabel="loss", yscale="log" if positive else "linear")
    # A run may continue with other validation images than it began with.
    for name in dict.fromkeys(name for line in validations for name in line["validation"]["ema"]):
        known = [line for line in validations if name in line["validation"]["ema"]]
        steps = [line["step"] for line in known]
        for kind, style in (("ema", "-"), ("raw", ":"), ("bicubic", "--")):
            values = [line["validation"][kind][name]["psnr"] for line in known]
            right.plot(steps, values, style, label=f"{name}, {kind}", linewidth=1)
    right.set(xlabel="step", ylabel="PSNR, dB")
    right.legend(fontsize="small")
    write_atomic(folder.path / "curve.png", lambda stream: figure.savefig(stream, format="png", dpi=120))


class EventWriter:
    """Writes numbers for TensorBoard. Raises `MissingExtra` if it is not installed."""

    def __init__(self, folder: Path) -> None:
        if find_spec("tensorboard") is None:
            raise MissingExtra("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(folder / "events")

    def write(self, line: dict[str, Any]) -> None:
        for name, value in line.items():
            if name != "step":
                self._writer.add_scalar(name, value, line["step"])
        self._writer.flush()
