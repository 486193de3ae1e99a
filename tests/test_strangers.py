"""A store of a stranger, whose every string would steer a terminal: no command prints one as it is."""

import inspect
import io
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from typer.models import ArgumentInfo, OptionInfo

import jepa_sweep as js
from jepa_sweep import cli, doctor
from jepa_sweep.cli import watching
from jepa_sweep.errors import escaped
from jepa_sweep.layout import FORMS
from jepa_sweep.store import overview
from jepa_sweep.store.records import Claim, Work
from jepa_sweep.store.schema import Column
from jepa_sweep.store.writer import Writer
from jepa_sweep.systems.registry import BUILT_IN

STEERS = "\x1b[31m\x07\r\n\u202e\x9b2J\x7f\u2028<b>,"  # colours, a bell, ends of lines, a direction, C1; and markup
ODD = os.fsdecode(b"o\xff\x1b[31m\x07\r\xc2\x9b\xe2\x80\xae<b>")  # as a name of a file, and no UTF-8
COMMANDS = {command.name or command.callback.__name__: command.callback for command in cli.app.registered_commands}
SPEC = 'name = "x"\nobjective = "jepa"\n[axes]\nlam = [1.0, 2.0, 3.0, 4.0]\nrho = 0.5\nL = 1\neps = 1e-3\n'


def assert_printable(text):
    """Nothing but what is seen, and ends of lines."""
    assert {c for c in text if not c.isprintable()} <= {"\n"}


def written(path, system="reduced"):
    """A whole store of four points, two of which failed, with such strings wherever there may be one."""
    columns = {name: [*found] for name, found in BUILT_IN["reduced"].columns().items() if name != "trajectories"}
    columns["points"].append(Column("m\x1b[31m\u202e<b>", "text", STEERS, STEERS, STEERS))
    frozen = {"system": system, "version": 1, "solver": {"method": STEERS, "coordinate": STEERS}, "trajectories": None}
    writer = Writer.create(path, frozen, columns, ["lam", "rho", "L", "eps"], "float64", "paper")
    words = dict.fromkeys(("device", "backend", "python", "platform"), STEERS)
    git, versions = {"revision": STEERS, "dirty": True}, {"jepa_sweep": STEERS, STEERS: STEERS}
    numbers = {"devices": 1, "cores": 2}
    environment = writer.add_environment({**words, **numbers, "argv": [STEERS], "git": git, "versions": versions})
    claim = Claim(writer.add_spec(f"{SPEC}# \u202e\u2028"), 0, 4, writer=STEERS)
    rows = {name: _rows(writer.reader.schema(name)) for name in columns}
    writer.commit(writer.claim(claim, {}), claim, rows, environment, Work(seconds=1.0))
    (path / ODD).write_text("")


def _rows(schema):
    words = [STEERS, "jepa"]
    arrays = [pa.array(words if pa.types.is_string(f.type) else np.arange(1, 3), f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema.remove_metadata())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of an odd name with stores, specs and pairs in it."""
    here = tmp_path_factory.mktemp("odd") / ODD
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "node", lambda: STEERS)
        written(here / "runs" / f"a {ODD}")
        written(here / "runs" / "damaged")
        written(here / "runs" / "unknown", STEERS)
    (here / "runs/damaged/commits/000007.json").write_text(STEERS)
    (here / "spec.toml").write_text(SPEC)
    (here / "keys.toml").write_text('"\\u001b\\u202e\\n" = "\\u009b"\nname = "\\u001b"\nobjective = "\\u202e"\n')
    np.save(here / f"{ODD}.npy", np.ones((9, 3)))
    return here


def runs(place):
    return sorted(path.parent for path in (place / "runs").glob("*/store.json"))


def typed(name, place):
    """Ways of typing a command: with each store and file, in each form, with words that steer for each option."""
    arguments = {
        "SPEC": [place / "spec.toml", place / "keys.toml", place / ODD],
        "RUN": [*runs(place), place / ODD],
        "[FOLDER]": [place, place / ODD],
        "FILE": [place / f"{ODD}.npy", place / ODD],
        "NAME": ["critical_times", STEERS],
        "[NAME]": [STEERS],
        "OTHER": [None, place / "runs" / "unknown"],
    }  # fmt: skip
    given, options = [], []
    for parameter, annotation in inspect.get_annotations(COMMANDS[name], eval_str=True).items():
        for told in get_args(annotation)[1:]:
            if isinstance(told, ArgumentInfo):
                given.append(arguments[told.metavar])
            if isinstance(told, OptionInfo) and "str" in str(get_args(annotation)[0]):
                own = isinstance(told.default, str) and told.default.startswith("--")
                options.append(told.default if own else f"--{parameter}".replace("_", "-"))
    lines = [[name, *filter(None, values)] for values in itertools.product(*given)]
    match name:
        case "export":
            lines = [[*line, "--to", "card", "--out", f"{place}/{n}.md"] for n, line in enumerate(lines)]
        case "plan" | "run":
            lines += [[name, place / "spec.toml", "--out", run] for run in runs(place)]
        case "figure":
            lines = [[*line, "--run", run] for line in lines for run in runs(place)]
        case "reproduce":  # asked on a device that is not there, as it computes for minutes
            lines = [[name, "--device", STEERS]]
    yield from lines
    yield from ([*line, "--json"] for line in lines)
    yield from ([*lines[0], option, STEERS] for option in options)
    yield from ([*line, "--format", form] for line in lines for form in FORMS if "--format" in options)
    yield [*lines[0], f"--{STEERS}"]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_lets_a_store_steer_the_terminal(name, place, invoke, tmp_path, monkeypatch):
    told = {"python": STEERS, "ok": False, "code": 2, "problems": {STEERS: STEERS}}
    monkeypatch.setattr(doctor, "examine", lambda *_: told)  # which takes seconds
    for words in typed(name, place):
        done = invoke(*words, cwd=tmp_path)
        assert done.exit_code != 1, (words, done.exception)
        assert_printable(done.stdout)
        assert_printable(done.stderr)


SHOWN = [["status"], ["query"], ["query", "--format", "csv"], ["compare"], ["verify"], ["export", "--to", "card"],
         ["explore"], ["export", "--to", "csv"]]  # fmt: skip


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_such_a_store_is_read_like_any(words, place, invoke):
    """So the commands have much to show."""
    done = invoke(words[0], runs(place)[0], *words[1:])
    assert done.exit_code == 0, done.output
    assert "\\udcff" in done.output or "\\u001b[31m" in done.output


def test_what_is_printed_in_python_is_printable_too(place):
    for run in runs(place):
        store = js.Store(run)
        assert_printable(repr(store))
        with pytest.raises(js.SpecError) as refused:
            store.read(STEERS)
        assert_printable(str(refused.value))


def test_a_page_holds_such_strings_as_data_and_a_card_escapes_them(place, invoke, tmp_path):
    run = runs(place)[0]
    assert invoke("explore", run, "--out", tmp_path / "page.html").exit_code == 0
    head, _, rest = (tmp_path / "page.html").read_text().partition('id="data">')
    data, _, _ = rest.partition("</script>")
    assert "<b>" not in head + data
    assert json.loads(data)["statuses"] == [STEERS, "jepa"]
    assert invoke("export", run, "--to", "card", "--out", tmp_path / "card.md").exit_code == 0
    assert_printable((tmp_path / "card.md").read_text())


def test_escapes_are_those_of_json_and_are_not_escaped_again():
    assert escaped("a\x1b\x7f\x9b\u202e\udcff\r\n\tb é") == "a\\u001b\\u007f\\u009b\\u202e\\udcff\\r\n\tb é"
    everything = "".join(map(chr, range(0x11000)))
    assert_printable(escaped(everything).replace("\t", ""))
    assert escaped(escaped(everything)) == escaped(everything)


def test_commands_print_in_one_way():
    """By `shell.say`, which escapes."""
    prints = re.compile(r"\becho\(|\bprint\(|std(?:out|err)\.write\(|Console\(")
    files = {path.name: prints.findall(path.read_text()) for path in Path(cli.__file__).parent.glob("*.py")}
    assert {name: found for name, found in files.items() if found} == {"shell.py": ["echo("]}


def test_writers_at_work_are_shown_printable_on_a_terminal():
    """As `status --watch` draws them."""
    writer = {"writer": STEERS, "points": 1, "chunks": 1, "computing": 2, "last_commit": ""}
    standing = SimpleNamespace(asked=3, done=1, failed=0, complete=False, working=[writer])
    seen = SimpleNamespace(standing=standing, points_per_second=None, seconds_left=None)
    screen = io.StringIO()
    Console(file=screen, width=120).print(watching._picture(seen))
    assert "\\u001b[31m" in screen.getvalue()
    assert_printable(screen.getvalue())


@pytest.mark.process
def test_a_terminal_of_few_letters_ends_no_command(tmp_path):
    (tmp_path / "λ").mkdir()
    line = [sys.executable, "-m", "jepa_sweep.cli", "list", "λ"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"There is no run below \\u03bb.\n", b"")


def test_an_end_of_line_in_a_name_or_value_makes_no_line_of_its_own(place, invoke, tmp_path):
    """Else a stranger's file could say that all is well, or that all is lost."""
    run = shutil.copytree(runs(place)[1], tmp_path / "run")
    (run / "commits/000007.json").unlink(missing_ok=True)
    (run / "points" / "x\nerror: all is lost\ty").write_text("")
    (run / "environment" / "00000000\nerror: all is lost.json").write_text("{")
    (run / "specs" / "0\nerror: all is lost-00000000.toml").write_text("{")
    for words in (["verify"], ["repair"], ["status"], ["list"]):
        done = invoke(*words, run)
        assert not [line for line in done.output.splitlines() if line.startswith("error: all")], words
        assert "\t" not in done.output
    assert "x\\nerror: all is lost\\ty" in invoke("verify", run).output
    assert len(repr(js.Store(run)).splitlines()) == 2 + len(overview._pairs(js.Store(run).overview()))


def test_a_folder_whose_name_has_an_end_of_line_makes_none(place, invoke, tmp_path):
    run = shutil.copytree(runs(place)[1], tmp_path / "x\nerror: all is lost")
    for path in run.glob("points/*"):
        path.write_text("x")
    (run / "commits/000007.json").write_text("x")
    for words in (["verify", run], ["list", tmp_path]):
        done = invoke(*words)
        assert "x\\nerror: all is lost" in done.stdout
        assert not [line for line in done.stdout.splitlines() if line.startswith("error: all")], words
