"""Turns a configuration dataclass into a command's options, and the command line back into it."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from facesr.cli.console import Console
from facesr.config.build import T, build, merge, nest, parse_override, read_toml
from facesr.config.fields import Leaf, leaves

_FILE_PANEL, _OUTPUT_PANEL = "Configuration", "Reporting"
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_METAVARS = {int: "N", float: "NUMBER", Path: "PATH"}

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file with values for these options. An option on the command line overrides it.",
        rich_help_panel=_FILE_PANEL,
    ),
]

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one key of the configuration. May be repeated.",
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
    """Give a command one option for each documented field of `cls`, and call its body with a built `cls`.

    Precedence: option, then `--set`, then environment variable, then `--config`, then default.
    """
    shown = {leaf.name: leaf for leaf in leaves(cls) if leaf.is_shown}
    spellings = {leaf.name: f"--set {leaf.key}=VALUE" for leaf in leaves(cls)}
    spellings |= {name: leaf.flag for name, leaf in shown.items()}

    def decorate(body: Callable[[T, Console], None]) -> Callable[..., None]:
        def command(ctx: typer.Context, **values: Any) -> None:
            console = Console(json=values.pop("json"), quiet=values.pop("quiet"))
            file, overrides = values.pop("config_file"), values.pop("override") or []
            sources = {name: getattr(ctx.get_parameter_source(name), "name", "") for name in values}
            environment, given = (
                {shown[name]: value for name, value in values.items() if sources[name] == source}
                for source in ("ENVIRONMENT", "COMMANDLINE")
            )
            in_file = read_toml(file) if file else {}
            said = merge([*_trees(environment), *map(parse_override, overrides), *_trees(given)])
            names = {leaf.key: leaf.option.envvar for leaf in environment if leaf.option}
            for text in overrides:
                names.pop(text.partition("=")[0].strip(), None)
            names |= {leaf.key: leaf.flag for leaf in given}
            tree = merge([cls.defaults(in_file, said), in_file, said])
            body(build(cls, tree, names=names, hint=f"see `facesr {ctx.info_name} --help`"), console)

        parameters = [
            inspect.Parameter("ctx", _KEYWORD, annotation=typer.Context),
            *map(_parameter, shown.values()),
            inspect.Parameter("config_file", _KEYWORD, default=None, annotation=ConfigFile),
            inspect.Parameter("override", _KEYWORD, default=None, annotation=Overrides),
            inspect.Parameter("json", _KEYWORD, default=False, annotation=Json),
            inspect.Parameter("quiet", _KEYWORD, default=False, annotation=Quiet),
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__doc__ = body.__doc__
        command.__name__ = body.__name__
        # Typer copies it to its own wrapper, where `usage_error` finds it.
        command.spellings = spellings  # type: ignore[attr-defined]
        return command

    return decorate


def _trees(values: Mapping[Leaf, Any]) -> list[dict[str, Any]]:
    return [nest(leaf.key, value) for leaf, value in values.items()]


def _parameter(leaf: Leaf) -> inspect.Parameter:
    """Describe an option to Typer as a flag, a path, a text, or a list of these.

    Typer never parses values. `build` does, so that every wrong value gets the same kind of error.
    """
    option = leaf.option
    assert option is not None
    several = get_origin(leaf.annotation) is tuple
    kind = _type_of_one(leaf.annotation)
    one = kind if kind in {bool, Path} else str
    annotation: Any = list[one] if several else one  # type: ignore[valid-type]
    default = leaf.default
    if default is not None and annotation is not bool:
        default = [*map(str, default)] if several else str(default)
    if option.kind == "argument":
        info = typer.Argument(help=option.help, metavar=option.metavar)
        default = inspect.Parameter.empty if leaf.required else default
        return inspect.Parameter(leaf.name, _KEYWORD, default=default, annotation=Annotated[annotation, info])
    flag = leaf.flag
    if annotation is bool and not option.flag:
        flag += f"/--no-{leaf.name.replace('_', '-')}"
    choices = [str(choice) for choice in get_args(kind)]
    info = typer.Option(
        *filter(None, (flag, option.short)),
        help=option.help,
        metavar=option.metavar or "|".join(choices) or _METAVARS.get(kind),
        envvar=option.envvar or None,
        rich_help_panel=option.panel,
        show_default=option.shown_default or True,
        autocompletion=(lambda: choices) if choices else None,
    )
    return inspect.Parameter(leaf.name, _KEYWORD, default=default, annotation=Annotated[annotation, info])


def _type_of_one(annotation: Any) -> Any:
    """Return the type of one value, such as int or a Literal, from a list or an optional."""
    while get_args(annotation) and get_origin(annotation) is not Literal:
        annotation = get_args(annotation)[0]
    return annotation
