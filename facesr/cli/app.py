"""The `facesr` command: its sub-commands, and how errors and signals end it."""

import errno
import io
import signal
import sys
import warnings
from collections.abc import Iterable
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from facesr.cli import degrade, demo, evaluate, export, models, train, upscale
from facesr.cli.stderr import print_errors
from facesr.cli.usage import is_usage_error, usage_error
from facesr.errors import FacesrError
from facesr.processes import is_switched_on
from facesr.version import __version__

# What the next run makes of one that was broken off. Others keep nothing.
_AFTER_STOP = {
    "upscale": "run the same command again to continue",
    "degrade": "run the same command again to continue",
    "train": "continue a run that has begun with `--resume` and its folder",
}
_NOTHING_KEPT = "nothing was saved. Run the same command again"


class Terminated(BaseException):
    """Raised on SIGTERM. It unwinds the stack, so that nothing is left half-written."""


# What is said after each stop, and the exit code.
_STOPS: dict[type[BaseException], tuple[str, int]] = {
    KeyboardInterrupt: ("interrupted", 130),
    Terminated: ("terminated", 143),
}


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


class _Group(TyperGroup):
    """Ends a command with `error:`, `hint:` and an exit code instead of a traceback."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        words = list(args)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except Exception as error:
            if not words or not is_usage_error(error):  # without a word, the help is shown
                raise
            _leave(usage_error(error, "facesr", words))

    def invoke(self, ctx: Any) -> Any:
        words = list(ctx.args)
        try:
            return super().invoke(ctx)
        except BaseException as error:
            if stop := _stop_behind(error):
                word, code = stop
                _leave(FacesrError(word, hint=_AFTER_STOP.get(ctx.invoked_subcommand, _NOTHING_KEPT)), code)
            if is_usage_error(error):
                command = " ".join(filter(None, ["facesr", ctx.invoked_subcommand]))
                _leave(usage_error(error, command, words))
            if is_switched_on("FACESR_DEBUG"):
                raise
            if isinstance(error, FacesrError):
                _leave(error)
            if isinstance(error, OSError) and error.errno != errno.EPIPE:
                _leave(FacesrError(f"{error.filename or 'the system'}: {error.strerror or error}"))
            raise


def _leave(error: FacesrError, code: int | None = None) -> NoReturn:
    """Print an error and exit with its own exit code, or with `code`."""
    print_errors([error.message], [error.hint])
    raise typer.Exit(error.exit_code if code is None else code) from None


def _stop_behind(error: BaseException | None) -> tuple[str, int] | None:
    """Return message and exit code of the stop signal behind an error, even if a library wrapped it."""
    while error and type(error) not in _STOPS:
        error = error.__cause__ or error.__context__
    return _STOPS[type(error)] if error else None


app = typer.Typer(
    cls=_Group,
    help="4x blind face super-resolution: restores faces in photographs and enlarges small or bad images.",
    epilog="A restored face is an estimate, not evidence of identity.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"facesr {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


def _epilog(examples: Iterable[str]) -> str:
    return "\n\n".join(["Examples:", *examples])


app.command(epilog=_epilog(upscale.EXAMPLES))(upscale.upscale)
app.command("eval", epilog=_epilog(evaluate.EXAMPLES))(evaluate.evaluate)
app.command(epilog=_epilog(train.EXAMPLES))(train.train)
app.command(epilog=_epilog(degrade.EXAMPLES))(degrade.degrade)
app.command(epilog=_epilog(models.EXAMPLES))(models.models)
app.command(epilog=_epilog(export.EXAMPLES))(export.export)
app.command(epilog=_epilog(demo.EXAMPLES))(demo.demo)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _terminate)
    # Windows has few characters for what is redirected. The others are escaped, as on stderr.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    # What Pillow finds odd in a file is no news to whoever reads whether it was done.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        app()
    except Terminated:  # before the command began, or after it
        sys.exit(143)
