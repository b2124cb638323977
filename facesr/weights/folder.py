"""Writing a weight folder: tensors, configuration and model card."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import save
from torch import Tensor

from facesr.config import ModelConfig, Score
from facesr.files import write_atomic
from facesr.models import build_network, count_multiply_adds, count_parameters, resolve_args
from facesr.weights.checkpoint import check_state, shapes_of
from facesr.weights.locate import CARD_NAME, CONFIG_NAME, WEIGHTS_NAME


def save_folder(
    folder: Path, state: Mapping[str, Tensor], config: ModelConfig, *, dtype: torch.dtype = torch.float32
) -> ModelConfig:
    """Write a self-describing weight folder, the same on disk, in the package and on the Hub.

    Args:
        folder: Made if missing.
        state: The network's tensors.
        config: What is known; resolved arguments, counts and sha256 are filled in here.
        dtype: Of the tensors in the file; fp16 halves it, and is read back into fp32.

    Returns:
        The configuration as written.

    Raises:
        WeightsError: The tensors do not fit the architecture.
    """
    args = resolve_args(config.arch, config.args)
    network = build_network(config.arch, args)
    state = {key: tensor.detach().cpu().contiguous().to(dtype) for key, tensor in state.items()}
    check_state(state, shapes_of(network.state_dict()), path=folder, arch=config.arch)
    tensors = save(state)
    config = dataclasses.replace(
        config,
        args=args,
        parameters=count_parameters(network),
        multiply_adds=count_multiply_adds(config.arch, args),
        sha256=hashlib.sha256(tensors).hexdigest(),
    )
    document = json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False) + "\n"
    for name, content in (
        (WEIGHTS_NAME, tensors),
        (CARD_NAME, model_card(config).encode(errors="replace")),
        (CONFIG_NAME, document.encode(errors="replace")),
    ):
        write_atomic(folder / name, partial(_write, content))
    return config


def _gain(score: Score) -> str:
    if score.gain_low is None or score.gain_high is None:
        return f"{score.gain:+.2f}"
    return f"{score.gain:+.2f} ({score.gain_low:+.2f} to {score.gain_high:+.2f})"


def _write(content: bytes, stream: BinaryIO) -> None:
    stream.write(content)


def model_card(config: ModelConfig) -> str:
    """Return the model card as Markdown with the Hub's front matter."""
    license_ = config.license.lower() or "unknown"
    front = ["---", f"license: {license_}", "library_name: facesr", "pipeline_tag: image-to-image"]
    front += ["tags: [super-resolution, face-restoration]", "---", ""]
    facts: list[tuple[str, Any]] = [
        ("Architecture", f"{config.arch}, " + ", ".join(f"{k} {v}" for k, v in config.args.items())),
        ("Scale", f"{config.scale}x, RGB"),
        ("Parameters", f"{config.parameters:,}"),
        ("Multiply-adds at 128x128", f"{config.multiply_adds / 1e9:.2f} G"),
        ("Training data", config.data),
        ("Degradation", config.degradation),
        ("Training", config.training),
        ("Iterations", f"{config.iterations:,}" if config.iterations else ""),
        ("Batch", config.batch or ""),
        ("Training input", f"{config.patch_px} px" if config.patch_px else ""),
        ("Licence", config.license),
        ("sha256", f"`{config.sha256}`"),
    ]
    lines = [*front, f"# {config.name}", "", config.summary, "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts if value != ""]
    if config.scores:
        lines += ["", "## Scores", "", "PSNR in dB: RGB, no crop, 8-bit, mean of images.", ""]
        lines += ["| pairs | images | model | bicubic | gain (95 % interval) |", "|---|---|---|---|---|"]
        lines += [
            f"| {s.dataset} | {s.images} | {s.psnr:.2f} | {s.bicubic_psnr:.2f} | {_gain(s)} |"
            for s in config.scores
        ]
    if config.limits:
        lines += ["", "## Limits", "", config.limits]
    lines += [
        "",
        "A restored face is an estimate of what may have been there. It is not evidence of identity.",
        "",
        "```",
        f"facesr upscale faces/ out/ --model {config.name}",
        "```",
        "",
    ]
    return "\n".join(lines)
