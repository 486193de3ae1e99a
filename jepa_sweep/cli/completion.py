"""What a shell offers for the arguments and options of commands. It must answer at once, so nothing here computes."""

import contextlib
import inspect
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import typer
from typer.models import ArgumentInfo, OptionInfo

from jepa_sweep.cli.forms import FORMS
from jepa_sweep.errors import JepaSweepError
from jepa_sweep.spec import shipped
from jepa_sweep.store.folder import Folder
from jepa_sweep.store.location import MARK

FIGURES = ("fig1", "fig2", "fig3", "fig4", "fig5", "mlp", "loss", "inversion", "critical_times")
STATUSES = ("failed", "max_steps", "non_finite", "oom", "diverged", "inaccurate")
TABLES = ("points", "failures", "trajectories", "features", "losses", "covariances")
DEVICES = ("auto", "cpu", "gpu", "tpu")
SYSTEMS = ("reduced", "network", "training", "temporal")
EXPORTS = ("csv", "duckdb", "netcdf", "zarr", "card")

Offer = Callable[[typer.Context, str], Iterator[str]]


def _words(*words: str) -> Offer:
    return lambda ctx, incomplete: (word for word in words if word.startswith(incomplete))


def _listed(offer: Offer) -> Offer:
    """The same for the last of several, separated by commas."""

    def last(ctx: typer.Context, incomplete: str) -> Iterator[str]:
        before, comma, rest = incomplete.rpartition(",")
        return (f"{before}{comma}{word}" for word in offer(ctx, rest))

    return last


def _files(*endings: str, runs: bool = False) -> Offer:
    """Folders to go into, and files of these endings; a run is offered without a slash, to be the whole argument."""

    def found(ctx: typer.Context, incomplete: str) -> Iterator[str]:
        folder, name = os.path.split(incomplete)
        try:
            entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            if not entry.name.startswith(name) or (entry.name.startswith(".") and not name):
                continue
            path = os.path.join(folder, entry.name)
            if entry.is_dir():
                is_run = runs and os.path.exists(os.path.join(path, MARK))
                yield path if is_run else f"{path}/"
            elif entry.name.endswith(endings or ("/",)):
                yield path

    return found


def _described(ctx: typer.Context) -> dict[str, list[str]]:
    """The columns of each table of the run on the line; empty where there is none that can be read."""
    for word in (ctx.params.get("run"), *ctx.args):  # where an option lacks its value yet, arguments are not assigned
        # Not by `manifest.read`, which takes its time to import; whatever the file says otherwise is offered to nobody.
        with contextlib.suppress(JepaSweepError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
            tables = json.loads(Folder(Path(str(word))).read(MARK))["tables"]
            columns = {name: [str(column["name"]) for column in tables[name]] for name in tables}
            return {name: [one for one in found if one.isprintable()] for name, found in columns.items()}
    return {}


def _tables(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    return _words(*(_described(ctx) or TABLES))(ctx, incomplete)


def _columns(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """The columns of the table on the line; where rows are sorted, `-` may stand before one."""
    minus = incomplete[: incomplete.startswith("-")]
    names = _described(ctx).get(ctx.params.get("table") or "points", ())
    return (minus + name for name in names if name.startswith(incomplete.removeprefix(minus)))


OFFERS: dict[str, Offer] = {  # by the name of the parameter, whichever command has it, or of one command alone
    "spec": _files(".toml"),
    "run": _files(runs=True),
    "other": _files(runs=True),
    "out": _files(),
    "folder": _files(),
    "file": _files(".npy", ".parquet"),
    "y_file": _files(".npy", ".parquet"),
    "figure.name": _words(*FIGURES),
    "figure": lambda ctx, incomplete: _words(*shipped.specs())(ctx, incomplete),
    "system": _words(*SYSTEMS),
    "to": _words(*EXPORTS),
    "device": _words(*DEVICES),
    "cluster": _words("ray", "ray:"),
    "format": _words(*FORMS),
    "table": _tables,
    "columns": _listed(_columns),
    "sort": _listed(_columns),
    "status": _listed(_words(*STATUSES)),
}


def offer(app: typer.Typer) -> None:
    """Have the shell offer values for the parameters of all commands."""
    for command in app.registered_commands:
        assert command.callback is not None, "every command is a function"
        called = command.name or command.callback.__name__
        for name, parameter in inspect.signature(command.callback, eval_str=True).parameters.items():
            for told in get_args(parameter.annotation)[1:]:
                if isinstance(told, ArgumentInfo | OptionInfo):
                    told.autocompletion = OFFERS.get(f"{called}.{name}", OFFERS.get(name))
