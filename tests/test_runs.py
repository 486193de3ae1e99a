"""`status` and `status --watch`, the help of all commands, and what a shell offers to complete."""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import typer
from conftest import ROOT, TINY
from test_imports import imported_by

import jepa_sweep as js
from jepa_sweep import cli
from jepa_sweep.analysis import export
from jepa_sweep.cli import completion, manual, watching
from jepa_sweep.engine import devices
from jepa_sweep.running import following
from jepa_sweep.running.standing import Records
from jepa_sweep.running.summary import status_of
from jepa_sweep.store import table
from jepa_sweep.store.schema import noun_of
from jepa_sweep.systems.registry import BUILT_IN
from jepa_sweep.systems.shared import FAILED
from jepa_sweep.view.catalog import PICTURES

EXACT = {**TINY, "solver": {"method": "exact"}}
NAMES = [command.name or command.callback.__name__ for command in cli.app.registered_commands]


def part(path, shard=None):
    return js.run(js.Sweep(**EXACT), path, chunk_points=6, shard=shard)


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_is_in_groups_and_tells_samples_from_points(finished, invoke):
    text = invoke("status", finished.path).stdout
    assert text.startswith(f"{finished.path}: complete\n  reduced, dopri8 at rtol 1e-08, float64\n")
    assert re.findall(r"^(\w[\w ]*)$", text, re.M) == ["holds", "status of points", "took", "specs", "writers"]
    assert re.search(r"^  points +72$", text, re.M)
    assert re.search(r"^  samples of trajectories +288$", text, re.M)
    assert re.search(r"^  learned +72$", text, re.M)


def test_large_numbers_have_separators(stored, invoke, monkeypatch):
    rows = {"points": 1_234_567, "trajectories": 79_012_288, "failures": 0}
    counts = {"points": {"learned": 1_234_567}, "failures": {}}
    monkeypatch.setattr("jepa_sweep.store.reader.Reader.rows", lambda _, table: rows[table])
    monkeypatch.setattr("jepa_sweep.store.reader.Reader.counts", lambda _, table, column: counts[table])
    text = invoke("status", stored.path).stdout
    assert re.search(r"points +1,234,567\n +samples of trajectories +79,012,288\n", text)
    assert re.search(r"learned +1,234,567", text)


def test_status_reads_no_more_than_it_tells(tmp_path, monkeypatch):
    axes = {"lam": 1.0, "rho": [0.5, 0.7, 0.9], "L": 2, "eps": [1e-3, 0.5, 2.0]}
    sweep = js.Sweep(**{**EXACT, "combine": "zip", "axes": axes})
    held, read, real = js.run(sweep, tmp_path).overview(), [], table.rows
    assert len(held.statuses) > 1

    def rows(location, part, schema, names, *more):
        read.append(names)
        return real(location, part, schema, names, *more)

    monkeypatch.setattr(table, "rows", rows)
    told = status_of(tmp_path)
    assert ({name: told[name] for name in held.rows}, told["statuses"]) == (held.rows, held.statuses)
    assert all(names == ["status"] for names in read)


def test_one_status_is_told_from_the_ends_of_files(finished, monkeypatch):
    monkeypatch.setattr(table, "rows", lambda *_: pytest.fail("no table is to be read"))
    assert status_of(finished.path)["statuses"] == {"learned": 72}


def test_status_of_a_part_says_what_is_missing(tmp_path, invoke):
    part(tmp_path / "run", "0/3")
    text = invoke("status", tmp_path / "run").stdout
    assert text.startswith(f"{tmp_path / 'run'}: 48 of 72 points are missing\n")
    assert re.search("tiny +72 points +48 missing", text)


def test_rows_of_samples_are_called_so():
    for system in BUILT_IN.values():
        for name, columns in system.columns().items():
            sampled = "t" in [column.name for column in columns]
            assert ("samples" in noun_of(name)) == sampled, name


# --- watching ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(monkeypatch):
    """What happens while somebody waits between two looks."""
    happens = []
    real = following.follow

    def follow(store, every):
        return real(store, every, lambda _: happens.pop(0)(), lambda: 0.0)

    monkeypatch.setattr(following, "follow", follow)
    return happens


def test_watch_writes_a_line_for_what_is_new(tmp_path, invoke, waiting):
    run = tmp_path / "run"
    part(run, "0/3")
    waiting += [lambda: None, lambda: part(run, "1/3"), lambda: part(run)]
    done = invoke("status", run, "--watch")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "24/72 points, 0 failed, nobody is at work",
        "48/72 points, 0 failed, nobody is at work",
        "complete: all 72 points are there",
    ]


def test_a_rate_that_falls_while_nothing_comes_is_no_line(tmp_path, capsys):
    now, show = Records(part(tmp_path, "0/3").reader).look(), watching._Lines(watching._line)
    for standing, rate in ((now, 12.0), (now, 6.0), (now._replace(done=25), 6.0)):
        show(following.Followed(standing, rate))
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == ["24/72 points", "25/72 points"]


def test_watch_as_json_is_one_object_a_line(tmp_path, invoke, waiting):
    run = tmp_path / "run"
    part(run, "0/3")
    waiting += [lambda: part(run)]
    seen = [json.loads(line) for line in invoke("status", run, "--watch", "--json").stdout.splitlines()]
    assert [(facts["done"], facts["asked"], facts["complete"]) for facts in seen] == [(24, 72, False), (72, 72, True)]
    whole = json.loads(invoke("status", run, "--json").stdout)
    assert {name: whole[name] for name in seen[-1].keys() & whole.keys()} == {
        name: seen[-1][name] for name in seen[-1].keys() & whole.keys()
    } | {"points_per_second": whole["points_per_second"]}


def test_whoever_has_seen_enough_stops(tmp_path, invoke, waiting):
    def interrupt():
        raise KeyboardInterrupt

    part(tmp_path / "run", "0/3")
    waiting += [interrupt]
    done = invoke("status", tmp_path / "run", "--watch")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("24/72 points")


def test_watch_writes_nothing_into_the_run(tmp_path, invoke, waiting):
    def files():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}

    part(tmp_path / "run")
    before = files()
    assert invoke("status", tmp_path / "run", "--watch").exit_code == 0
    assert files() == before


def test_on_a_terminal_there_is_a_bar_and_who_is_at_work(tmp_path):
    from rich.console import Console

    from jepa_sweep.cli.watching import _picture

    store = part(tmp_path, "0/3")
    writer = {"writer": "host-7-abc", "chunks": 1, "points": 24, "seconds": 2.0, "computing": 2, "last_commit": None}
    now = Records(store.reader).look()._replace(failed=3, writers=[writer])
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(_picture(following.Followed(now, 12.0)))
    text = console.export_text()
    assert "33.3%" in text
    assert "24/72 points, 12 points/s, 4 seconds left, 3 failed, 1 writer at work" in text
    assert re.search("host-7-abc +24 points in 1 chunks +computing 2 now", text)


@pytest.mark.process
def test_watching_brings_no_library_that_computes(tmp_path):
    part(tmp_path / "run")
    text, loaded = imported_by(["status", "run", "--watch"], tmp_path)
    assert text == "complete: all 72 points are there\n"
    assert loaded.isdisjoint({"jax", "jaxlib", "pandas", "scipy"})


# --- help -------------------------------------------------------------------------------------------------------------


def test_help_has_headings_in_the_order_of_a_newcomer(invoke):
    text = invoke("--help").stdout
    headings = re.findall(r"╭─ (.*?) ─", text)
    assert headings == ["Options", *manual.EXAMPLES]
    order = [name for examples in manual.EXAMPLES.values() for name in examples]
    assert [name for name in order if name in NAMES] == NAMES
    listed = re.findall(r"^│ (\w+)  ", text, re.M)
    assert listed == NAMES


def test_every_command_has_one_example_that_can_be_typed(invoke):
    group = typer.main.get_command(cli.app)
    for examples in manual.EXAMPLES.values():
        for name in examples.keys() & set(NAMES):
            assert f"Example: jepa-sweep {examples[name]}" in " ".join(invoke(name, "--help").stdout.split())
            first, *words = shlex.split(examples[name])
            assert first == name
            with group.commands[name].make_context(name, words):  # raises where an option is unknown
                pass


RUN = ["plan", "list", "status", "query", "compare", "verify", "repair", "retry", "explore"]


@pytest.mark.parametrize("name", RUN)
def test_examples_work(stored, tmp_path, invoke, name):
    [example] = [examples[name] for examples in manual.EXAMPLES.values() if name in examples]
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    (tmp_path / "runs").mkdir()
    if name != "plan":  # the run is of another spec
        stored.path.rename(tmp_path / "runs/quickstart")
    done = invoke(*shlex.split(example), cwd=tmp_path)
    assert done.exit_code == 0, done.output
    assert done.stdout


# --- completion -------------------------------------------------------------------------------------------------------


@pytest.fixture
def offered(tmp_path, stored):
    """What bash is offered for the last of some words, and the packages that were imported to say so."""
    (tmp_path / "runs/deep").mkdir(parents=True)
    shutil.copytree(stored.path, tmp_path / "runs/tiny")
    (tmp_path / "x.toml").write_text("")
    (tmp_path / "x.txt").write_text("")
    code = """
import sys
from jepa_sweep.cli import app
try:
    app(prog_name="jepa-sweep")
finally:
    print(*sys.modules, file=sys.stderr)
"""

    def complete(*words):
        told = {"COMP_WORDS": shlex.join(["jepa-sweep", *words[:-1]]) + f" {words[-1]}", "COMP_CWORD": str(len(words))}
        env = {**os.environ, **told, "_JEPA_SWEEP_COMPLETE": "complete_bash"}
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
        return done.stdout.split(), {name.split(".")[0] for name in done.stderr.split()}

    return complete


OFFERED = {
    ("figure", "fig"): ["fig1", "fig2", "fig3", "fig4", "fig5"],
    ("plan", ""): ["run/", "runs/", "x.toml"],
    ("status", "runs/"): ["runs/deep/", "runs/tiny"],
    ("run", "x.toml", "--device", ""): ["auto", "cpu", "gpu", "tpu"],
    ("retry", "runs/tiny", "--status", "max_steps,o"): ["max_steps,oom"],
    ("query", "runs/tiny", "--table", ""): ["points", "trajectories", "failures"],
    ("query", "runs/tiny", "--columns", "lam,t_n"): ["lam,t_numeric"],
    ("query", "runs/tiny", "--table", "trajectories", "--sort", "lam,-co"): ["lam,-condition"],
    ("export", "runs/tiny", "--to", "c"): ["csv", "card"],
    ("init", "--system", "t"): ["training", "temporal"],
    ("init", "--figure", "q"): ["quickstart"],
    ("init", "f"): [],  # a name of one's own
    ("sta",): ["status"],
}


@pytest.mark.process
@pytest.mark.parametrize("words", OFFERED, ids=" ".join)
def test_a_shell_is_offered_values(offered, words):
    found, loaded = offered(*words)
    assert found == OFFERED[words]
    assert "typer" in loaded
    assert loaded.isdisjoint({"jax", "numpy", "pandas", "pyarrow", "scipy", "diffrax"})


def test_what_is_offered_is_what_there_is():
    """It is written twice, because looking it up would import what computes."""
    assert tuple(PICTURES) == completion.FIGURES
    assert completion.DEVICES == devices.KINDS
    assert tuple(BUILT_IN) == completion.SYSTEMS
    assert {*completion.EXPORTS} == {*export.SUFFIXES, "card"}
    assert set(completion.STATUSES) == {"failed", *FAILED}
    assert set(completion.TABLES) == {table for system in BUILT_IN.values() for table in system.tables}
