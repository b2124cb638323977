"""Writing a weight folder: tensors, configuration and model card."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from operator import methodcaller
from pathlib import Path

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
        folder: Folder to write.
        state: Tensors of the network.
        config: Metadata. Arguments, counts and sha256 are filled in.
        dtype: Dtype of the tensors in the file. fp16 halves its size, and is read back as fp32.

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
        multiply_adds=count_multiply_adds(network),
        sha256=hashlib.sha256(tensors).hexdigest(),
    )
    document = json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False) + "\n"
    card = model_card(config)
    write_atomic(folder / WEIGHTS_NAME, methodcaller("write", tensors))
    write_atomic(folder / CARD_NAME, methodcaller("write", card.encode(errors="replace")))
    write_atomic(folder / CONFIG_NAME, methodcaller("write", document.encode(errors="replace")))
    return config
