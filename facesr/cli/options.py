"""From a configuration dataclass to a command's options, and from the command line back to it."""

import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import typer

from facesr.cli.console import Console
from facesr.config.build import build, merge, nest, parse_override, read_toml
from facesr.config.fields import Config, Leaf, leaves

T = TypeVar("T", bound=Config)


_FILE_PANEL = "Configuration"


_OUTPUT_PANEL = "Reporting"


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with any of the keys below.", rich_help_panel=_FILE_PANEL),
]


Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one key of the configuration; may be repeated.",
        rich_help_panel=_FILE_PANEL,
    ),
]


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout.", rich_help_panel=_OUTPUT_PANEL)
]


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="Print only paths on stdout, errors on stderr.", rich_help_panel=_OUTPUT_PANEL
    ),
]


def config_options(cls: type[T]) -> Callable[[Callable[[T, Console], None]], Callable[..., None]]:
    """Give a command one option for each documented field of `cls`, and its body the built configuration.

    Precedence: option, then `--set`, then environment variable, then `--config`, then default.
    """
    shown = {leaf.name: leaf for leaf in leaves(cls) if leaf.is_shown}

    def decorate(body: Callable[[T, Console], None]) -> Callable[..., None]:
        def command(ctx: typer.Context, **values: Any) -> None:
            console = Console(json=values.pop("json"), quiet=values.pop("quiet"))
            file, overrides = values.pop("config_file"), values.pop("override") or []
            source = {name: getattr(ctx.get_parameter_source(name), "name", "") for name in values}
            given, environment = (
                [nest(shown[name].key, values[name]) for name in values if source[name] == kind]
                for kind in ("COMMANDLINE", "ENVIRONMENT")
            )
            in_file = read_toml(file) if file else {}
            said = merge([*environment, *map(parse_override, overrides), *given])
            body(build(cls, merge([cls.base(in_file, said), in_file, said])), console)

        parameters = [inspect.Parameter("ctx", _KEYWORD, annotation=typer.Context)]
        parameters += [_parameter(leaf) for leaf in shown.values()]
        parameters += [
            inspect.Parameter("config_file", _KEYWORD, default=None, annotation=ConfigFile),
            inspect.Parameter("override", _KEYWORD, default=None, annotation=Overrides),
            inspect.Parameter("json", _KEYWORD, default=False, annotation=Json),
            inspect.Parameter("quiet", _KEYWORD, default=False, annotation=Quiet),
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__doc__ = body.__doc__
        command.__name__ = body.__name__
        return command

    return decorate


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _parameter(leaf: Leaf) -> inspect.Parameter:
    option = leaf.option
    assert option is not None
    annotation = _typer_type(leaf.annotation)
    default = list(leaf.default) if isinstance(leaf.default, tuple) else leaf.default
    if option.kind == "argument":
        info = typer.Argument(help=option.help, metavar=option.metavar)
        default = inspect.Parameter.empty if leaf.required else default
        return inspect.Parameter(leaf.name, _KEYWORD, default=default, annotation=Annotated[annotation, info])
    flag = option.flag or "--" + leaf.name.replace("_", "-")
    if annotation is bool and not option.flag:
        flag += f"/--no-{leaf.name.replace('_', '-')}"
    info = typer.Option(
        *filter(None, (flag, option.short)),
        help=option.help,
        metavar=option.metavar or None,
        envvar=option.envvar or None,
        rich_help_panel=option.panel,
        show_default=option.shown_default or True,
    )
    return inspect.Parameter(leaf.name, _KEYWORD, default=default, annotation=Annotated[annotation, info])


def _typer_type(annotation: Any) -> Any:
    """Say a field's type in terms that Typer parses; anything else is read as text and validated later."""
    origin = get_origin(annotation)
    if origin in {Union, types.UnionType}:
        parts = set(get_args(annotation)) - {types.NoneType}
        return annotation if len(parts) == 1 else str
    if origin is tuple:
        element = get_args(annotation)[0]
        return list[element] if isinstance(element, type) else list[str]  # type: ignore[valid-type]
    return annotation
