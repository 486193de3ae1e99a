"""The command line as a user meets it."""

import contextlib
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT
from flags import chosen

import jepa_sweep as js
from jepa_sweep import cli
from jepa_sweep.checks import size_of
from jepa_sweep.cli import shell
from jepa_sweep.engine import devices
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.writer import Writer
from jepa_sweep.systems.reduced import REDUCED

# As many samples as conftest's TRACKED, so that both share one compiled program.
SPEC = """
name = "small"
[axes]
lam = [0.5, 2.0]
rho = [0.5, 1.0]
L = [1, 3]
eps = [1e-3]
[measure.trajectories]
samples = 4
"""
QUICK = SPEC + '[solver]\nmethod = "exact"\n'  # where what is written matters, not what is integrated


@pytest.fixture(scope="module")
def place(tmp_path_factory, invoke):
    """A directory with a spec and its finished run."""
    here = tmp_path_factory.mktemp("cli")
    (here / "small.toml").write_text(SPEC)
    done = invoke("run", "small.toml", cwd=here)
    assert done.exit_code == 0, done.output
    assert "16 of 16 points computed" in done.stdout
    assert 'pd.read_parquet("runs/small/points")' in done.stdout
    return here


@pytest.fixture
def as_json(invoke):
    """What a command prints with `--json`."""

    def call(place, *words):
        done = invoke(*words, "--json", cwd=place)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return call


@pytest.mark.process
def test_a_command_of_its_own(tmp_path):
    """As it is typed: results on stdout, the rest on stderr, and an exit code."""
    (tmp_path / "small.toml").write_text(QUICK)

    def typed(*words):
        line, env = [sys.executable, "-m", "jepa_sweep.cli", *words], {**os.environ, "XLA_FLAGS": chosen()}
        return subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    done = typed("run", "small.toml")
    assert done.returncode == 0, done.stderr
    assert "16 of 16 points computed" in done.stdout
    done = typed("status", "runs/small", "--json")
    assert json.loads(done.stdout)["points"] == 16
    assert done.stderr == ""
    done = typed("run", "nowhere.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch("error: The spec file must be readable, but .*\n", done.stderr)


def test_run_again_computes_nothing(place, as_json):
    report = as_json(place, "run", "small.toml")
    assert (report["computed"], report["total"], report["complete"]) == (0, 16, True)


def test_plan_writes_nothing(place, tmp_path, as_json, invoke):
    (tmp_path / "small.toml").write_text(SPEC)
    fresh = as_json(tmp_path, "plan", "small.toml")
    assert (fresh["points"], fresh["committed"], fresh["new"], fresh["measured"]) == (16, 0, 16, False)
    assert not (tmp_path / "runs").exists()
    done = as_json(place, "plan", "small.toml")
    assert (done["committed"], done["new"], done["chunks"], done["measured"]) == (16, 0, 0, True)
    text = invoke("plan", "small.toml", cwd=place).stdout
    assert "16 points, 16 there already, 0 new" in text


def test_plan_counts_the_points_an_edit_adds(place, as_json):
    (place / "more.toml").write_text(SPEC.replace("[1, 3]", "[1, 2, 3]"))
    more = as_json(place, "plan", "more.toml")
    assert (more["points"], more["new"]) == (24, 8)
    (place / "union.toml").write_text(
        'name = "small"\nmeasure = {trajectories = {samples = 4}}\n'
        + "".join(
            f"[[block]]\naxes = {{lam = [0.5, 2.0], rho = [0.5, 1.0], L = {L}, eps = 1e-3}}\n" for L in ([1, 2], [2, 3])
        )
    )
    union = as_json(place, "plan", "union.toml")
    assert (union["points"], union["new"]) == (24, 8)


def test_status_says_what_is_there(place, as_json, invoke):
    facts = as_json(place, "status", "runs/small")
    assert facts["points"] == 16
    assert facts["trajectories"] == 64
    assert facts["statuses"] == {"learned": 16}
    assert facts["specs"][0]["missing"] == 0
    text = invoke("status", "runs/small", cwd=place).stdout
    assert "learned" in text
    assert re.search("^  samples of trajectories +64$", text, re.M)


def test_compare_holds_two_runs_against_each_other(place, as_json, invoke):
    (place / "other.toml").write_text(QUICK.replace("small", "other").replace("[1, 3]", "[3, 4]"))
    assert invoke("run", "other.toml", cwd=place).exit_code == 0
    done = invoke("compare", "runs/small", "runs/other", cwd=place)
    assert done.exit_code == 0
    assert done.stdout.startswith("here   runs/small\nthere  runs/other\n8 points in both, 8 only here, 8 only there\n")
    assert "only here: 8 points of L = 1\nonly there: 8 points of L = 4\n" in done.stdout
    assert re.search("^ *solver.method +dopri8 +exact$", done.stdout, re.M)
    assert re.search("^equal to 14 digits: w_star, t_exact, ", done.stdout, re.M)
    facts = as_json(place, "compare", "runs/small", "runs/other")
    assert (facts["points"], facts["only_there"]["values"]) == (8, {"L": [4]})
    assert facts["statuses"] == [{"table": "points", "here": "learned", "there": "learned", "rows": 8}]
    assert {"column", "objective", "rows", "missing", "median", "p99", "worst", "at_lam"} <= {*facts["differences"][0]}
    assert as_json(place, "compare", "runs/small", "runs/small")["worst_difference"] == 0
    csv = invoke("compare", "runs/small", "runs/other", "--format", "csv", cwd=place).stdout
    assert len(pd.read_csv(io.StringIO(csv))) == len(facts["differences"])


def test_compare_reports_the_worst_difference(place, as_json, invoke):
    facts = as_json(place, "compare", "runs/small")
    assert facts["worst_difference"] <= 1e-7
    assert [(g["objective"], g["L"], g["points"]) for g in facts["groups"]] == [
        ("jepa", 1, 4), ("jepa", 3, 4), ("mae", 1, 4), ("mae", 3, 4)
    ]  # fmt: skip
    text = invoke("compare", "runs/small", cwd=place).stdout
    assert re.search(r"worst relative difference from the closed form: \d\.\d\de-\d\d", text)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "missing.toml"], 2, "must be readable"),
        (["status", "nowhere"], 2, "nowhere"),
        (["run"], 2, "Missing argument 'SPEC'"),
        (["frobnicate"], 2, "No such command"),
        (["query", "runs/small", "--limit", "-1"], 2, "--limit"),
    ],
)
def test_errors_are_json_where_json_is_asked_for(place, invoke, words, code, said):
    done = invoke(*words, "--json", cwd=place)
    found = json.loads(done.stdout)
    assert (done.exit_code, done.stderr, found["code"]) == (code, "", code)
    assert said in found["error"]
    plain = invoke(*words, cwd=place)
    assert (plain.exit_code, plain.stdout) == (code, "")
    assert "rror" in plain.stderr


def test_the_version_is_told(invoke):
    assert invoke("--version").stdout == f"jepa_sweep {js.__version__}\n"


def test_usage_shows_words_and_not_types(invoke):
    """A newcomer reads RUN and N, not `<int range>`."""
    for command in cli.app.registered_commands:
        name = command.name or command.callback.__name__
        text = invoke(name, "--help").stdout
        assert f"Usage: root {name} " in text
        assert re.findall(r"<(?:int|float|list)[^>]*>", text) == [], name


WITH_DEVICE = [c.callback for c in cli.app.registered_commands if "device" in inspect.signature(c.callback).parameters]
COMPUTING = [cli.data.moments, *WITH_DEVICE]
GIVEN = {"spec": "small.toml", "run": "runs/small", "name": "fig2", "file": "pairs.npy"}


@pytest.mark.parametrize("command", COMPUTING, ids=lambda command: command.__name__)
def test_every_command_that_computes_makes_itself_ready_first(place, invoke, monkeypatch, command):
    """All cores and compiled programs that are kept."""
    asked = []

    def ready(name):
        asked.append(name)
        if len(asked) == 2:
            raise js.SpecError("ready")  # so that nothing is computed

    monkeypatch.chdir(place)
    monkeypatch.setattr(devices, "use_all_cores", lambda: ready("cores"))
    monkeypatch.setattr(devices, "keep_compiled_programs", lambda: ready("programs"))
    needed = [q.name for q in inspect.signature(command).parameters.values() if q.default is q.empty]
    elsewhere = (
        ["--out", "runs/fresh"] if command is cli.specs.run else []
    )  # a finished run has nothing to be ready for
    done = invoke(command.__name__, *(GIVEN[name] for name in needed), *elsewhere)
    assert (done.stderr, asked) == ("error: ready\n", ["cores", "programs"])


def test_a_finished_run_does_not_make_itself_ready(place, invoke, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(devices, "use_all_cores", lambda: pytest.fail("nothing is to be computed"))
    assert invoke("run", "small.toml").exit_code == 0


def test_the_driver_of_a_cluster_leaves_its_cores_alone(place, invoke, monkeypatch):
    asked = []
    monkeypatch.chdir(place)
    monkeypatch.setattr(devices, "use_all_cores", lambda: asked.append("cores"))
    monkeypatch.setattr(devices, "keep_compiled_programs", lambda: asked.append("programs"))
    assert invoke("run", "small.toml", "--cluster", "slurm").exit_code == 2
    assert asked == ["programs"]


@pytest.mark.long
def test_doctor_finds_this_machine_fit(place, as_json):
    facts = as_json(place, "doctor")
    assert facts["ok"] is True
    assert "cpu" in facts["devices"]


def test_verify_and_repair(tmp_path, invoke):
    (tmp_path / "small.toml").write_text(QUICK)
    invoke("run", "small.toml", cwd=tmp_path)
    assert invoke("verify", "runs/small", cwd=tmp_path).exit_code == 0
    victim = tmp_path / "runs/small/points/000001.parquet"
    data = bytearray(victim.read_bytes())
    data[100] ^= 1
    victim.write_bytes(bytes(data))
    found = invoke("verify", "runs/small", cwd=tmp_path)
    assert found.exit_code == 5
    assert "000001.parquet is damaged" in found.stdout
    again = invoke("run", "small.toml", "--json", cwd=tmp_path)
    assert (again.exit_code, json.loads(again.stdout)["code"]) == (5, 5)  # not "nothing to do"
    done = invoke("repair", "runs/small", cwd=tmp_path)
    assert done.exit_code == 0
    assert re.fullmatch("repaired chunk 000001: .* is damaged: its bytes are not those committed\\.\n", done.stdout)
    assert invoke("repair", "runs/small", cwd=tmp_path).stdout == "nothing to do: nothing is damaged.\n"
    assert invoke("verify", "runs/small", cwd=tmp_path).exit_code == 0
    assert len(pd.read_parquet(tmp_path / "runs/small/points")) == 16


def test_failed_points_have_an_exit_code(tmp_path, invoke):
    (tmp_path / "x.toml").write_text(SPEC + "[solver]\nmax_steps = 4\n")
    done = invoke("run", "x.toml", cwd=tmp_path)
    assert done.exit_code == 3
    assert "--table failures" in done.stdout


BAD = {
    "no such file": (("run", "nowhere.toml"), 2, "must be readable"),
    "bad spec": (("run", "bad.toml"), 2, r"Did you mean `lam`.*\[axes.*\].*bad.toml"),
    "no such device": (("run", "small.toml", "--device", "gpu"), 2, "JAX sees none here"),
    "other numbers": (("run", "other.toml"), 2, "write to another directory with --out"),
    "no such run": (("status", "nowhere"), 2, "it has no store.json"),
    "no such command": (("fly",), 2, "No such command"),
    "no such option": (("run", "small.toml", "--fast"), 2, "No such option"),
    "path is a file": (("run", "small.toml", "--out", "small.toml/x"), 6, "small.toml.*--out"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_end_with_a_sentence_and_a_code(place, case, invoke):
    (place / "bad.toml").write_text(SPEC.replace("lam =", "lambda ="))
    (place / "other.toml").write_text(SPEC + "[solver]\nrtol = 1e-6\n")
    words, code, message = BAD[case]
    done = invoke(*words, cwd=place)
    assert done.exit_code == code
    assert re.search(message, done.stderr.replace("\n", " "))
    assert isinstance(done.exception, SystemExit)
    assert done.stdout == ""


@pytest.fixture
def empty(tmp_path):
    """A store of a system, with the tables of the scalar flow and no rows."""

    def create(system, name="", parameters=("lam", "rho", "L", "eps")):
        path = tmp_path / (name or system)
        frozen = {"system": system, "version": 1, "solver": {"method": "dopri8"}, "trajectories": None}
        Writer.create(path, frozen, REDUCED.columns(), parameters, "float64", "paper")
        return path

    return create


@pytest.mark.parametrize("command", ["status", "compare", "explore", "repair", "retry"])
def test_a_system_that_stood_in_no_file_is_one_clear_message(empty, invoke, command):
    run = empty("mine")
    done = invoke(command, run)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {run} must say what made its numbers, but its system 'mine' stood in no file; pass it from Python, "
        "as in js.Store(path, system=FLOW).\n"
    )


def test_runs_of_different_systems_cannot_be_compared(empty, invoke):
    one, other = empty("reduced"), empty("mine")
    done = invoke("compare", one, other)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: Two runs must be of one system to be compared, but {one} is of reduced and {other} of mine.\n"
    )


def test_runs_of_different_parameters_cannot_be_compared(empty, invoke):
    one, other = empty("mine"), empty("mine", "other", ("lam", "rho", "L"))
    done = invoke("compare", one, other)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "must have the same parameters to be compared" in done.stderr
    assert f"{other} has objective, lam, rho, L, p." in done.stderr


def test_json_has_no_infinity(place, invoke, monkeypatch):
    """A column that is 0 in the other run alone."""
    rows = pd.DataFrame({"column": ["w"], "worst_difference": [float("inf")], "mean_difference": [float("nan")]})
    monkeypatch.setattr(js.Store, "compare", lambda *_: rows)
    told = json.loads(invoke("compare", "runs/small", "--json", cwd=place).stdout, parse_constant=pytest.fail)
    assert told["worst_difference"] is None
    assert told["groups"] == [{"column": "w", "worst_difference": None, "mean_difference": None}]


@pytest.mark.process
def test_a_file_size_limit_is_explained_and_leaves_the_store_resumable(tmp_path, as_json):
    (tmp_path / "small.toml").write_text(QUICK)

    start = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
runpy.run_module("jepa_sweep.cli", run_name="__main__")
"""
    # Python itself would leave bytecode cut off at the limit, which no later process could import.
    env = {**os.environ, "XLA_FLAGS": chosen()}
    env |= {"JAX_ENABLE_COMPILATION_CACHE": "false", "PYTHONDONTWRITEBYTECODE": "1"}
    words = ["run", "small.toml", "--chunk-points", "4"]
    line = [sys.executable, "-c", start, *words]
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert "ulimit -f" in done.stderr
    assert list((tmp_path / "runs/small/.staging").iterdir()) == []
    # The chunk that was claimed is finished first, and is not counted among those of the second run.
    assert as_json(tmp_path, *words)["computed"] == 12
    assert as_json(tmp_path, "status", "runs/small")["points"] == 16


@pytest.mark.long
def test_samples_that_could_not_be_computed_are_counted(tmp_path, invoke):
    spec = SPEC.replace("samples = 4", "samples = 4\nuntil = 1e4").replace("L = [1, 3]", "L = [1]")
    (tmp_path / "x.toml").write_text(spec + '[solver]\ncoordinate = "w"\nmax_steps = 500\n')
    done = invoke("run", tmp_path / "x.toml", "--out", tmp_path / "run", "--json")
    assert done.exit_code == 3
    facts = json.loads(done.stdout)
    assert facts["failed_points"] == 0
    assert facts["failed_samples"] > 0


def test_makefile_names_the_two_commands():
    assert (ROOT / "Makefile").read_text().count("\ndemo:") == 1
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_an_interrupt_that_python_swallowed_is_noticed_before_the_next_chunk():
    """As one is that arrives in a callback of the garbage collector."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        stop = shell.stop_on_signal()
        assert not stop()
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigtimedwait([], 1)  # the handler runs here at the latest
        with pytest.raises(KeyboardInterrupt):
            stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_verify_says_how_much_it_has_read_and_reads_nothing_twice(place, invoke, monkeypatch):
    """What is in the files is for `status` to say."""
    monkeypatch.setattr(Reader, "overview", pytest.fail)
    done = invoke("verify", "runs/small", cwd=place)
    files = [*place.glob("runs/small/*/*.parquet")]
    size = size_of(sum(path.stat().st_size for path in files))
    assert done.stdout == f"runs/small: {len(files)} files, {size}.\nEvery file is as it was committed.\n"
