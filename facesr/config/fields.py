"""Fields of configuration dataclasses, and how they become options or arguments of a command."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_type_hints

from annotated_types import Ge, Gt, Lt

_KEY = "facesr"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every configuration dataclass. Rejects unknown keys and numbers that are not finite."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    @classmethod
    def translated(cls, tree: Mapping[str, Any]) -> dict[str, Any]:
        """Return a tree with keys of earlier versions replaced by today's."""
        return dict(tree)

    @classmethod
    def defaults(cls, file: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return defaults of lower precedence than the file and everything in `given`.

        Args:
            file: Values of the configuration file.
            given: Values of environment variables, `--set` and options.
        """
        return {}

    def resolved(self) -> Self:
        """Return the configuration with presets, `~` and other things that values only name filled in.

        `build` and the workflows call this, so you need not. Calling it twice changes nothing.

        Raises:
            ConfigError: Something that is named does not exist or cannot be read.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: _expanded(value) for name, value in values.items()})


def expand_home(path: Path) -> Path:
    """Replace a leading `~` that the shell left alone. Without a home folder it stays."""
    with suppress(RuntimeError):
        return path.expanduser()
    return path


def _expanded(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_expanded, value))
    return expand_home(value) if isinstance(value, Path) else value


@dataclass(frozen=True)
class Option:
    """How a field appears on the command line."""

    help: str  # one sentence, ending in a full stop
    kind: Literal["option", "argument", "key"] = "option"  # a key is of the configuration file only
    panel: str = ""  # heading that an option is grouped under
    flag: str = ""  # its name where that is not the field's own with dashes
    short: str = ""  # one-letter alias such as `-m`
    envvar: str = ""  # environment variable that stands in when the option is not given
    metavar: str = ""  # what `--help` shows for the value
    shown_default: str = ""  # what it shows for the default, where that is not the value


def opt(
    default: Any,
    help: str,  # noqa: A002 (the word that Typer's users know)
    *,
    panel: str,
    flag: str = "",
    short: str = "",
    envvar: str = "",
    metavar: str = "",
    shown_default: str = "",
) -> Any:
    """Return a dataclass field that is also a command-line option."""
    option = Option(
        help, panel=panel, flag=flag, short=short, envvar=envvar, metavar=metavar, shown_default=shown_default
    )
    return dataclasses.field(default=default, metadata={_KEY: option})


def arg(help: str, *, metavar: str, default: Any = dataclasses.MISSING) -> Any:  # noqa: A002
    """Return a dataclass field that is also a positional argument, required if it has no default."""
    option = Option(help, kind="argument", metavar=metavar)
    return dataclasses.field(default=default, metadata={_KEY: option})


def key(help: str, *, default: Any = dataclasses.MISSING, make: Any = dataclasses.MISSING) -> Any:  # noqa: A002
    """Return a documented dataclass field that can only be set in the configuration file or with `--set`."""
    metadata = {_KEY: Option(help, kind="key")}
    return dataclasses.field(default=default, default_factory=make, metadata=metadata)


@dataclass(frozen=True)
class Leaf:
    """A field that is not itself a configuration, with its dotted key."""

    key: str
    annotation: Any
    default: Any
    required: bool
    option: Option | None

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def flag(self) -> str:
        """Name on the command line: an option such as `--batch`, or an argument such as INPUT."""
        assert self.option is not None
        if self.option.kind == "argument":
            return self.option.metavar
        return self.option.flag or "--" + self.name.replace("_", "-")

    @property
    def is_shown(self) -> bool:
        """Whether the field is an option or an argument of a command."""
        return self.option is not None and self.option.kind != "key"


def leaves(cls: type[Config], prefix: str = "") -> Iterator[Leaf]:
    """Yield all fields of `cls` and of the configurations nested in it, in order of declaration."""
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        annotation = hints[field.name]
        if isinstance(annotation, type) and issubclass(annotation, Config):
            yield from leaves(annotation, f"{prefix}{field.name}.")
        else:
            required = field.default is dataclasses.MISSING
            default = None if required else field.default
            required &= field.default_factory is dataclasses.MISSING
            yield Leaf(prefix + field.name, annotation, default, required, field.metadata.get(_KEY))


Auto = Literal["auto"]
Positive = Annotated[float, Gt(0)]
Decay = Annotated[float, Ge(0), Lt(1)]  # of a running mean
Count = Annotated[int, Ge(1)]
WholeNumber = Annotated[int, Ge(0)]
