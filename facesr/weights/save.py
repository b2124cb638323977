"""Writing a weight folder: tensors, configuration and model card."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors.torch import save
from torch import Tensor

from facesr.config.model import ModelConfig
from facesr.files.atomic import write_atomic
from facesr.models import build_network, count_multiply_adds, count_parameters, resolve_args
from facesr.weights.card import model_card
from facesr.weights.find import CARD_NAME, CONFIG_NAME, WEIGHTS_NAME
from facesr.weights.read import check_state, shapes_of


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
        scale=network.traits.scale,
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


def _write(content: bytes, stream: BinaryIO) -> None:
    stream.write(content)
