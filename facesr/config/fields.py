"""Fields of configuration dataclasses: what makes a field an option or an argument of a command."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, get_type_hints

_KEY = "facesr"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every configuration dataclass: unknown keys are refused."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Option:
    """How a field shows on the command line.

    Attributes:
        help: One sentence, ending in a full stop.
        panel: The heading that it is grouped under; empty for a positional argument.
        flag: Its name where that is not the field's own with dashes.
        short: A one-letter alias such as `-m`.
        envvar: The environment variable that stands in when the option is not given.
        metavar: What `--help` shows for the value.
    """

    help: str
    panel: str = ""
    flag: str = ""
    short: str = ""
    envvar: str = ""
    metavar: str = ""

    @property
    def is_argument(self) -> bool:
        return not self.panel


def opt(
    default: Any,
    help: str,  # noqa: A002 (the word that Typer's users know)
    *,
    panel: str,
    flag: str = "",
    short: str = "",
    envvar: str = "",
    metavar: str = "",
) -> Any:
    """Return a dataclass field that is also a command-line option."""
    option = Option(help=help, panel=panel, flag=flag, short=short, envvar=envvar, metavar=metavar)
    return dataclasses.field(default=default, metadata={_KEY: option})


def arg(help: str, *, metavar: str) -> Any:  # noqa: A002
    """Return a required dataclass field that is a positional argument of the command."""
    return dataclasses.field(metadata={_KEY: Option(help=help, metavar=metavar)})


@dataclass(frozen=True)
class Leaf:
    """A field that is not itself a configuration, with its dotted key."""

    key: str
    annotation: Any
    default: Any
    option: Option | None

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]


def leaves(cls: type[Config], prefix: str = "") -> Iterator[Leaf]:
    """Walk `cls` and the configurations nested in it, in order of declaration."""
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        annotation = hints[field.name]
        if isinstance(annotation, type) and issubclass(annotation, Config):
            yield from leaves(annotation, f"{prefix}{field.name}.")
        else:
            default = None if field.default is dataclasses.MISSING else field.default
            yield Leaf(prefix + field.name, annotation, default, field.metadata.get(_KEY))
