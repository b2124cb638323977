"""Write `docs/reference.md` from the commands' configurations: `python docs/make_reference.py`."""

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from facesr.config.degrade import DegradeConfig
from facesr.config.demo import DemoConfig
from facesr.config.evaluate import EvalConfig
from facesr.config.export import ExportConfig
from facesr.config.fields import Leaf, leaves
from facesr.config.models import ModelsConfig
from facesr.config.train import TrainConfig
from facesr.config.upscale import UpscaleConfig

COMMANDS = {
    "upscale": UpscaleConfig,
    "eval": EvalConfig,
    "train": TrainConfig,
    "degrade": DegradeConfig,
    "models": ModelsConfig,
    "export": ExportConfig,
    "demo": DemoConfig,
}
TARGET = Path(__file__).with_name("reference.md")


def render() -> str:
    """Return the page."""
    lines = [
        "# Reference",
        "",
        "Generated from the configuration by `python docs/make_reference.py`.",
        "",
        "Every option is also a key for `--config FILE.toml` and `--set KEY=VALUE`. Arguments, in capitals,"
        " are not. Keys without an option can only be set that way. Precedence: option, `--set`, environment"
        " variable, file, default. `~` at the start of a path is your home folder.",
    ]
    for command, config in COMMANDS.items():
        lines += ["", f"## facesr {command}", "", "| option | key | value | default | meaning |"]
        lines += ["|---|---|---|---|---|", *(_row(leaf) for leaf in leaves(config))]
    return "\n".join(lines) + "\n"


def _row(leaf: Leaf) -> str:
    option = leaf.option
    flag, help_ = "", ""
    if option is not None:
        help_ = option.help + (f" Environment: `{option.envvar}`." if option.envvar else "")
        flag = ", ".join(f"`{name}`" for name in (leaf.flag, option.short) if name) if leaf.is_shown else ""
    default = "required" if leaf.required else "" if leaf.default is None else f"`{leaf.default}`"
    return f"| {flag} | `{leaf.key}` | {_describe(leaf.annotation)} | {default} | {help_} |"


def _describe(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if origin in {Union, types.UnionType}:
        return " or ".join(_describe(part) for part in get_args(annotation))
    if origin is tuple:
        return f"list of {_describe(get_args(annotation)[0])}"
    names = {int: "whole number", float: "number", bool: "yes or no", str: "text", Path: "path"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
