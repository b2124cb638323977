"""Options of `facesr demo`."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Le

from facesr.config.fields import Config, Count, opt
from facesr.config.model import MODEL
from facesr.config.runtime import RuntimeConfig


@dataclass(frozen=True, kw_only=True)
class DemoConfig(Config):
    """Restore faces on a page in your browser."""

    host: str = opt(
        "127.0.0.1",
        "Address to listen on. 0.0.0.0 lets other machines open the page.",
        panel="Page",
        metavar="ADDRESS",
    )
    port: Annotated[int, Ge(1), Le(65_535)] | None = opt(
        None, "Port to listen on.", panel="Page", metavar="N", shown_default="the first free one from 7860"
    )
    browser: bool = opt(True, "Open the page in your browser.", panel="Page")
    model: str = MODEL
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    max_pixels: Count = opt(
        25_000_000, "Reject images with more pixels than this, before decoding them.", panel="Input"
    )
