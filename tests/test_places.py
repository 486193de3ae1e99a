"""Where things are read and written: paths that cannot be any, and paths that are no UTF-8."""

import inspect
import json
import os
import shutil
from typing import get_args

import numpy as np
import pytest
from typer.models import ArgumentInfo, OptionInfo

import jepa_sweep as js
from jepa_sweep import cli, doctor

NONE = {"": "it is empty", " \t ": "it is blank", "a\0b": "it is 'a\\u0000b'", "a\ud800": "it is 'a\\ud800'"}
PLACES = {"SPEC", "RUN", "OTHER", "FILE", "FOLDER", "[FOLDER]", "PATH"}
COMMANDS = {command.name or command.callback.__name__: command.callback for command in cli.app.registered_commands}


def parameters(name):
    """Of a command: its arguments by what they stand for, and which of all its parameters are paths."""
    for parameter, annotation in inspect.get_annotations(COMMANDS[name], eval_str=True).items():
        for told in get_args(annotation)[1:]:
            if isinstance(told, ArgumentInfo):
                yield told.metavar, None
            elif isinstance(told, OptionInfo) and told.metavar in PLACES:
                own = isinstance(told.default, str) and told.default.startswith("--")
                yield told.metavar, told.default if own else f"--{parameter}".replace("_", "-")


CASES = [
    (name, number) for name in COMMANDS for number, (what, _) in enumerate(parameters(name)) if what in PLACES
]  # fmt: skip


@pytest.mark.parametrize(("name", "number"), CASES)
def test_every_command_refuses_a_path_that_cannot_be_one(name, number, finished, invoke, tmp_path, monkeypatch):
    """In every place where it takes one, found by what its help calls them."""
    monkeypatch.setattr(doctor, "_computing", lambda *_: {})  # which takes seconds
    np.save(tmp_path / "x.npy", np.ones((12, 1)))
    (tmp_path / "x.toml").write_text('name = "x"\naxes = { lam = 1.0, rho = 0.5, L = 1, eps = 1e-3 }\n')
    known = {"SPEC": "x.toml", "RUN": finished.path, "OTHER": finished.path, "NAME": "critical_times", "FILE": "x.npy"}
    for path, said in NONE.items():
        words = ["--to", "csv"] if name == "export" else []
        for place, (what, option) in enumerate(parameters(name)):
            value = path if place == number else known.get(what)
            words += [value] if option is None else [option, value] if place == number else []
        done = invoke(name, *(word for word in words if word is not None), cwd=tmp_path)
        if name == "doctor":  # which tells of a problem among its facts
            assert said in done.output
            continue
        assert done.exit_code == 2, (words, done.output, done.exception)
        assert done.stderr.startswith("error: A path must "), done.stderr
        assert said in done.stderr
        assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npy", "x.toml"]


def test_every_command_that_takes_a_path_is_asked():
    assert {name for name, _ in CASES} == COMMANDS.keys() - {"init", "schema"}


@pytest.mark.parametrize("path", [*NONE, 3, None, b"bytes"])
def test_python_refuses_it_too(path, finished, tiny):
    calls = {
        "run": lambda: js.run(tiny, out=path),
        "load": lambda: js.Sweep.load(path),
        "open": lambda: js.Store(path),
        "export": lambda: finished.export("csv", out=path),
        "figure": lambda: js.figure("critical_times", out=path, run=finished.path),
        "moments": lambda: js.moments(path),
        "compare": lambda: finished.compare(path),
    }
    for name, call in calls.items():
        if path is None and name in ("run", "export", "compare"):  # where it means the usual place
            continue
        if name == "moments" and not isinstance(path, str):
            continue
        with pytest.raises(js.SpecError, match="path must"):
            call()


def test_a_run_of_a_name_that_is_no_utf_8(invoke, tmp_path):
    """It is computed, looked at, exported and explored like any other."""
    here = tmp_path / os.fsdecode(b"caf\xe9 \xff")
    here.mkdir()
    (here / "x.toml").write_text(
        'name = "x"\naxes = { lam = 1.0, rho = 0.5, L = 1, eps = 1e-3 }\nsolver = { method = "exact" }\n'
    )
    run = here / os.fsdecode(b"r\xfcn")
    shutil.copy(here / "x.toml", here / os.fsdecode(b"\xfc.toml"))
    lines = [
        ["run", here / os.fsdecode(b"\xfc.toml"), "--out", run],
        ["run", here / "x.toml", "--out", run, "--json"],
        ["plan", here / "x.toml", "--out", run],
        ["status", run],
        ["query", run],
        ["query", run, "--sql", "select count(*) from points"],
        ["list", here],
        ["list", here, "--format", "csv"],
        ["compare", run, run],
        ["verify", run],
        ["repair", run],
        ["retry", run],
        ["export", run, "--to", "csv"],
        ["export", run, "--to", "duckdb"],
        ["export", run, "--to", "card"],
        ["export", run, "--to", "netcdf"],
        ["export", run, "--to", "zarr"],
        ["explore", run],
        ["explore", run, "--out", here / os.fsdecode(b"\xff.html")],
    ]
    for words in lines:
        done = invoke(*words)
        assert done.exit_code == 0, (words, done.output, done.exception)
    [found] = json.loads(invoke("list", here, "--json").stdout)
    assert found["run"] == str(run)
    assert {name.name for name in here.iterdir()} >= {os.fsdecode(b"r\xfcn.html"), os.fsdecode(b"r\xfcn.csv")}
