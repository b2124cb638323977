"""Turns Typer's usage errors into errors of facesr.

Typer's exception classes are private. They are recognised by their message and by exit code 2.
"""

import re
from collections.abc import Sequence
from typing import Any

from facesr.errors import ConfigError

# What Typer puts in quotes, and names of options, which it sometimes leaves bare.
_LITERAL = re.compile(r"'([^']*)'|(?<![\w'-])(--?[A-Za-z][\w-]*)")

# Options of other tools, and what they are called here.
_CALLED_HERE = {"--ext": "--format", "--suffix": "--name"}


def is_usage_error(error: BaseException) -> bool:
    """Return whether Typer raised this for a command line that it cannot parse."""
    return hasattr(error, "format_message") and getattr(error, "exit_code", None) == ConfigError.exit_code


def usage_error(error: Any, command: str, words: Sequence[str]) -> ConfigError:
    """Turn a usage error of Typer into a `ConfigError`, for `command` followed by `words`."""
    see = f"see `{command} --help`"
    if getattr(error, "param", None):
        arguments, missing = _arguments(error.ctx, words)
        if missing:
            names = " and ".join(f"`{name}`" for name in missing)
            plural = "s" * (len(missing) > 1)
            usage = " ".join([command, *arguments])
            return ConfigError(f"missing argument{plural} {names}", hint=f"write `{usage}`, {see}")
    ours = _CALLED_HERE.get(getattr(error, "option_name", ""))
    if ours and any(ours in param.opts for param in error.ctx.command.params):
        see = f"use `{ours}`, {see}"
    text = _LITERAL.sub(lambda match: f"`{match[1] or match[2]}`", error.format_message()).rstrip(".")
    return ConfigError(text[:1].lower() + text[1:], hint=see)


def _arguments(ctx: Any, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return a command's arguments as the help writes them, and those that got no value.

    Values count from the left. Typer itself assigns the only value of `facesr upscale in.jpg` to the last
    argument.
    """
    command = ctx.command
    lenient = {"parent": ctx.parent, "resilient_parsing": True}
    with command.make_context(ctx.info_name, list(words), **lenient) as parsed:
        values = parsed.params
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    given = [values.get(argument.name) for argument in arguments]
    count = sum(len(value) if isinstance(value, list | tuple) else value is not None for value in given)
    written = [argument.metavar + ("..." if argument.nargs == -1 else "") for argument in arguments]
    return written, [argument.metavar for argument in arguments[count:] if argument.required]
