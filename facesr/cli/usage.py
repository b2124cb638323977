"""Turns Typer's usage errors into errors of facesr.

Typer's exception classes are private. They are recognised by their message and by exit code 2.
"""

import re
from collections.abc import Sequence
from typing import Any

from facesr.errors import ConfigError

# What Typer puts in quotes, and names of options, which it sometimes leaves bare.
_LITERAL = re.compile(r"'([^']*)'|(?<![\w'-])(--?[A-Za-z][\w-]*)")

# Options of Real-ESRGAN's and GFPGAN's scripts, and what they are called here.
_CALLED_HERE = {
    "--ext": "--format", "--suffix": "--name", "-n": "--model", "--model_name": "--model",
    "--model_path": "--model", "-s": "--outscale", "-t": "--tile", "-g": "--device", "--gpu-id": "--device",
    "--fp32": "--dtype", "--face_enhance": "--faces",
}  # fmt: skip
_ARGUMENTS_THERE = {"-i", "--input", "-o", "--output"}


def is_usage_error(error: BaseException) -> bool:
    """Return whether Typer raised this for a command line that it cannot parse."""
    return hasattr(error, "format_message") and getattr(error, "exit_code", None) == ConfigError.exit_code


def usage_error(error: Any, command: str, words: Sequence[str]) -> ConfigError:
    """Turn a usage error of Typer into a `ConfigError`, for `command` followed by `words`."""
    see = f"see `{command} --help`"
    if getattr(error, "param", None) and (missing := _missing(error.ctx, words)):
        names = " and ".join(f"`{name}`" for name in missing)
        plural = "s" * (len(missing) > 1)
        usage = _usage(command, error.ctx.command.params)
        return ConfigError(f"missing argument{plural} {names}", hint=f"write `{usage}`, {see}")
    if ours := _spelling(error, command):
        see = f"use `{ours}`, {see}"
    text = _LITERAL.sub(lambda match: f"`{match[1] or match[2]}`", error.format_message()).rstrip(".")
    return ConfigError(text[:1].lower() + text[1:], hint=see)


def _spelling(error: Any, command: str) -> str:
    """Return what to write for an unknown option, empty if that is unknown too."""
    option = getattr(error, "option_name", "")
    params = error.ctx.command.params if option and error.ctx else []
    if not params or any(option in param.opts for param in params):
        return ""
    if option in _ARGUMENTS_THERE and _arguments(params):
        return _usage(command, params)
    ours: str = _CALLED_HERE.get(option, "")
    if any(ours in param.opts for param in params):
        return ours
    # The name of a configuration key, written as an option.
    spellings: dict[str, str] = getattr(error.ctx.command.callback, "spellings", {})
    return spellings.get(option.lstrip("-").replace("-", "_"), "")


def _usage(command: str, params: Any) -> str:
    """Return a command with its arguments as the help writes them."""
    return " ".join([command, *(one.metavar + "..." * (one.nargs == -1) for one in _arguments(params))])


def _arguments(params: Any) -> list[Any]:
    return [param for param in params if param.param_type_name == "argument"]


def _missing(ctx: Any, words: Sequence[str]) -> list[str]:
    """Return the arguments of a command that got no value, as the help writes them.

    Values count from the left. Typer itself assigns the only value of `facesr upscale in.jpg` to the last
    argument.
    """
    command = ctx.command
    lenient = {"parent": ctx.parent, "resilient_parsing": True}
    with command.make_context(ctx.info_name, list(words), **lenient) as parsed:
        values = parsed.params
    arguments = _arguments(command.params)
    given = [values.get(argument.name) for argument in arguments]
    count = sum(len(value) if isinstance(value, list | tuple) else value is not None for value in given)
    return [argument.metavar for argument in arguments[count:] if argument.required]
