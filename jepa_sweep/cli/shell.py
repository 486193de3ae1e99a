"""What all commands share: the application, common arguments, how results and errors are written, signals."""

import contextlib
import contextvars
import functools
import io
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import typer
import typer.core

import jepa_sweep
from jepa_sweep.errors import JepaSweepError, Problem, SpecWarning, escaped

FAILED_POINTS, STOPPED, INTERRUPTED = 3, 4, 130
JSON = "--json"

Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A spec file (TOML).", show_default=False)]
Run = Annotated[
    str, typer.Argument(metavar="RUN", help="A run directory, or a place like s3://bucket/run.", show_default=False)
]
Out = Annotated[
    str | None, typer.Option("--out", "-o", metavar="FOLDER", help="The run directory; runs/<name> by default.")
]
Device = Annotated[str, typer.Option(metavar="KIND", help="auto, cpu, gpu or tpu; gpu:0,1 names some of a kind.")]
Folder = Annotated[str, typer.Option("--out", "-o", metavar="FOLDER", help="The folder for PNG and PDF.")]
Json = Annotated[bool, typer.Option(JSON, metavar="", help="Print JSON instead of text, errors included.")]


_asked_for_json = contextvars.ContextVar("asked_for_json", default=False)  # of the command that is running
_warned: contextvars.ContextVar[list[str]] = contextvars.ContextVar("warned")  # what that has warned of


@contextlib.contextmanager
def _printable() -> Iterator[None]:
    """What is wrong with how a command is typed, with escapes for what would steer a terminal."""
    try:
        yield
    except typer.TyperException as error:
        error.message = escaped(error.message)
        raise


class _Commands(typer.core.TyperGroup):
    """The commands; where JSON is asked for, what is wrong with how they are typed is JSON, too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _printable():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _printable():
            return super().invoke(ctx)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        words = sys.argv[1:] if args is None else list(args)
        asked = JSON in words or any(form in " ".join(words) for form in ("--format json", "--format=json"))
        before = _asked_for_json.set(asked)
        standalone = standalone_mode and not asked
        try:
            code = super().main(words, prog_name, complete_var, standalone, windows_expand_args, **extra)
        except typer.TyperException as error:
            if not standalone_mode:
                raise
            put_error(error.format_message(), error.exit_code)
            code = error.exit_code
        finally:
            _asked_for_json.reset(before)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code


app = typer.Typer(
    cls=_Commands,
    help="Sweeps over the learning dynamics of JEPA and MAE, every row beside its closed form.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        say(f"jepa_sweep {jepa_sweep.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # the callback answers it
        bool, typer.Option("--version", metavar="", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the console script."""
    # Run-time checks in equinox call back into Python, and XLA does not keep programs that do. As NaN they end in a
    # status like any other. Read when equinox is imported, so it must be set before.
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    # Up to jaxlib 0.10.1 XLA calls every kept program one for another machine (JAX issue 38445), in kilobytes of log.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    code: Any = 0
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal of few letters lacks ends no command
    try:
        app()
    except SystemExit as end:
        code = end.code
    with contextlib.suppress(OSError):  # the reader of the pipe has gone
        sys.stdout.flush()
        sys.stderr.flush()
    # All is durable by now. Taking Python down while threads of libraries still run has ended in an abort.
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Print warnings and errors meant for the user, and end with the exit code of an error."""
    told: list[str] = []
    before = _warned.set(told)

    def tell(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        if issubclass(category, SpecWarning):
            told.append(str(message))
            say(f"warning: {message}", aside=True)
        else:
            usual(message, category, *where, **options)

    with warnings.catch_warnings():
        usual, warnings.showwarning = warnings.showwarning, tell
        warnings.simplefilter("always", SpecWarning)
        try:
            yield
        except JepaSweepError as error:
            put_error(str(error), error.exit_code, getattr(error, "problems", ()))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            said = "interrupted: what was committed stays; run the same command again to go on."
            put_error(said, INTERRUPTED)
            raise typer.Exit(INTERRUPTED) from None
        finally:
            _warned.reset(before)


def command(function: Callable[..., None] | None = None, *, name: str | None = None) -> Callable[..., Any]:
    """Make a function a command that prints its warnings and errors as messages; `name` is that of it by default."""
    if function is None:
        return functools.partial(command, name=name)
    return app.command(name)(_explained()(function))


def warned() -> list[str]:
    """The warnings that the command that is running has printed so far."""
    return list(_warned.get())


def ready_to_compute(*, here: bool = True) -> None:
    """Use all cores, unless other machines compute, and keep compiled programs."""
    from jepa_sweep.engine import devices

    if here:
        devices.use_all_cores()
    devices.keep_compiled_programs()


def say(text: str, *, aside: bool = False) -> None:
    """Print a text, with escapes for what would steer a terminal; `aside` what is no result.

    All that commands print goes through here, so that none can forget that a store may be a stranger's.
    """
    typer.echo(escaped(text), err=aside)


def put(result: Any, text: str, as_json: bool) -> None:
    """Print a result as text or as JSON."""
    say(json.dumps(result, indent=2, default=float) if as_json else text)


def put_error(message: str, code: int, problems: Sequence[Problem] = ()) -> None:
    """Print what went wrong: on stderr, or in place of the result where that would be JSON."""
    if _asked_for_json.get():
        listed = {"problems": [problem._asdict() for problem in problems]} if problems else {}
        say(json.dumps({"error": message, "code": code, **listed}, indent=2))
    else:
        say(f"error: {message}" if code != INTERRUPTED else message, aside=True)


def split(given: list[str] | None) -> list[str]:
    """All values of an option that may be repeated, and whose values may be separated by commas."""
    return [word.strip() for text in given or () for word in text.split(",") if word.strip()]


def stop_on_signal() -> Callable[[], bool]:
    """SIGTERM and SIGUSR1 (what batch systems send) end a run after the chunk at hand, a second one at once.

    SIGINT interrupts at once, or before the next chunk where Python was about something that lets no exception pass.
    """
    received: list[int] = []

    def note(number: int, _: object) -> None:
        received.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if len(received) > 1:
            sys.exit(STOPPED)

    def stopped() -> bool:
        if signal.SIGINT in received:
            raise KeyboardInterrupt
        return bool(received)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, note)
    return stopped
