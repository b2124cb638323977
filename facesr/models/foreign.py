"""Networks of other authors, recognised and built by spandrel (extra `compat`)."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from facesr.errors import FacesrError, MissingExtra
from facesr.models.base import Margin, SizeRule, SRNetwork, Traits, Window

# Side of an aligned face, which networks of that purpose take and give.
ALIGNED_PX = 512

# Around a tile, whose view spandrel does not state, and the side of windows where it discourages tiles.
_MARGIN_PX, _WINDOW_PX = 32, 256

# Keys that tell networks apart without spandrel, for the error that names what was found.
_KEYS = {
    "encoder.down.0.block.0.norm1.weight": "RestoreFormer",
    "position_emb": "CodeFormer",
    "quantize.embedding.weight": "CodeFormer or another VQGAN",
    "stylegan_decoder.style_mlp.1.weight": "GFPGAN",
    "layers.0.residual_group.blocks.0.norm1.weight": "SwinIR or another transformer",
    "layers.0.blocks.0.norm1.weight": "DAT or another transformer",
    "block_1.c1_r.sk.weight": "SPAN",
    "body.0.rdb1.conv1.weight": "RRDBNet of another shape",
    "head.0.weight": "EDSR in the EDSR-PyTorch or super-image layout",
    "upsample.0.upsample_conv.weight": "EDSR in the mmagic layout",
}

# Licences of the networks' code. Those in spandrel are permissive by its own word, the others are not.
_PERMISSIVE, _RESTRICTED = "MIT, Apache-2.0 or public domain", "restricted, see spandrel_extra_arches"
_EXTRA = {"CodeFormer": "S-Lab License 1.0, non-commercial"}


def _call_signed(network: Any, x: Tensor) -> Tensor:
    out: Tensor = network(2 * x - 1)[0]
    return (out + 1) / 2


# These work in -1 to 1, as their own scripts run them. Of spandrel's calls, RestoreFormer's alone maps to it.
_SIGNED = {"GFPGAN", "RestoreFormer", "CodeFormer"}


class ForeignNetwork(SRNetwork):
    """A network from spandrel, with its traits.

    Attributes:
        arch: Name of its architecture, such as SwinIR.
        code_license: Licence of its code, in words. The weights have their own licence.
    """

    memory_format = torch.contiguous_format  # what others' views rely on

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.arch: str = descriptor.architecture.name
        is_extra = type(descriptor.architecture).__module__.startswith("spandrel_extra_arches")
        self.code_license = _EXTRA.get(self.arch, _RESTRICTED) if is_extra else _PERMISSIVE
        self.network = descriptor.model
        # The descriptor's own call clamps, and pads otherwise than `enlarge`.
        self._call = _call_signed if self.arch in _SIGNED else descriptor._call_fn
        rule = descriptor.size_requirements
        is_face = descriptor.purpose == "FaceSR"
        halves = ((descriptor.supports_half, torch.float16), (descriptor.supports_bfloat16, torch.bfloat16))
        size = SizeRule(minimum=max(1, rule.minimum), multiple_of=rule.multiple_of, square=rule.square)
        multiple = rule.multiple_of
        margin = Margin(-(-_MARGIN_PX // multiple) * multiple)
        window = Window(max(rule.minimum, -(-_WINDOW_PX // multiple) * multiple))
        self.traits = Traits(
            scale=descriptor.scale,
            view=margin if descriptor.tiling.name == "SUPPORTED" else window,
            size=SizeRule(minimum=ALIGNED_PX, square=True) if is_face else size,
            dtypes=(torch.float32, *(dtype for supported, dtype in halves if supported)),
            channels=descriptor.input_channels,
            purpose="aligned-face" if is_face else "sr",
        )

    def forward(self, x: Tensor) -> Tensor:
        weight = next(self.network.parameters())
        # Some draw noise as they run; here one input has one result.
        with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
            torch.manual_seed(0)
            out: Tensor = self._call(self.network, x.to(weight.dtype).contiguous())
        return out.to(x.dtype)


def build_foreign(state: Mapping[str, Tensor]) -> ForeignNetwork:
    """Build the network that tensors belong to.

    Raises:
        FacesrError: The network is unknown, or it needs packages that are not installed. The message says
            what was found, without the file.
    """
    some = ", ".join(list(state)[:3])
    found = next((name for key, name in _KEYS.items() if key in state), f"tensors named {some}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the networks concern no user
        return ForeignNetwork(_load(state, found))


def _load(state: Mapping[str, Tensor], found: str) -> Any:
    """Return spandrel's descriptor of a network, of which `found` describes what is known."""
    try:
        import spandrel
    except ImportError as error:
        missing = MissingExtra("compat")
        raise FacesrError(f"{found}, which needs the extra `compat`", hint=missing.hint) from error
    except Exception as error:  # torchvision of another version fails in many ways as it is imported
        raise FacesrError(
            f"{found}, for which spandrel cannot be imported",
            hint="run `pip install --upgrade torch torchvision spandrel` for versions that fit",
        ) from error
    _add_extra_architectures()
    if found in _EXTRA and found not in spandrel.MAIN_REGISTRY:
        raise FacesrError(
            f"{found} ({_EXTRA[found]}), which needs the package `spandrel_extra_arches`",
            hint="run `pip install spandrel_extra_arches` if its licence allows your use",
        )
    try:
        descriptor = spandrel.MAIN_REGISTRY.load(dict(state))
    except Exception as error:  # loaders read sizes from any tensors there are
        raise FacesrError(f"{found}, which spandrel cannot build") from error
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise FacesrError(f"{descriptor.architecture.name}, which needs a mask")
    if descriptor.input_channels != descriptor.output_channels or descriptor.input_channels not in {1, 3}:
        channels = f"{descriptor.input_channels} to {descriptor.output_channels} channels"
        raise FacesrError(f"{descriptor.architecture.name} from {channels}, not RGB")
    return descriptor


def _add_extra_architectures() -> None:
    try:
        import spandrel_extra_arches
    except ImportError:
        return
    spandrel_extra_arches.install(ignore_duplicates=True)
