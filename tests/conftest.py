"""What several rooms' tests share."""

import contextlib
import gc
import os
import shutil
import signal
from pathlib import Path

# As the command does (see `jepa_sweep.cli.main`), before anything imports equinox or jaxlib, which read them then: else
# programs call back into Python and are not kept, and XLA logs kilobytes about those that are.
os.environ["EQX_ON_ERROR"] = "nan"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import jaxlib.version
import numpy as np
import pytest
from browsers import browser as browser  # a fixture
from flags import QUICKLY_COMPILED
from jaxtyping import install_import_hook
from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent
PROGRAMS = ROOT / ".pytest_cache" / "programs" / jaxlib.version.__version__

# Annotations of shapes and types are checked at every call of physics and engine, but of settings, which hold what a
# user has given until it is checked. The option that jaxtyping adds to pytest would not reach the workers of xdist.
ENGINE = {f"jepa_sweep.engine.{path.stem}" for path in (ROOT / "jepa_sweep/engine").glob("*")}
CHECKED = ["jepa_sweep.physics", *(ENGINE - {"jepa_sweep.engine.__init__", "jepa_sweep.engine.settings"})]
install_import_hook(CHECKED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")  # an int is a float

import jepa_sweep as js  # noqa: E402, the hook sees what is imported after it
from jepa_sweep import cli  # noqa: E402
from jepa_sweep.engine import devices, programs, selfcheck  # noqa: E402
from jepa_sweep.systems import registry  # noqa: E402

TINY = {
    "name": "tiny",
    "axes": {"lam": [0.5, 2.0], "rho": [0.25, 0.5, 1.0], "L": [1, 2, 3], "eps": [1e-4, 1e-3]},
}

TRACKED = {**TINY, "measure": {"trajectories": {"samples": 4, "until": 1.5}}}
KEYS = ["objective", "L", "lam", "rho", "eps", "p"]  # what no two rows of points share


def pytest_addoption(parser):
    parser.addoption("--every-pair", action="store_true", help="kill two writers at every pair of their operations")


def pytest_configure(config):
    """Most of the time of the tests is compiling, so here it is done quickly, and kept for the next run of the tests.

    Commands that tests start run as shipped, but for writers (processes.py). `XLA_FLAGS= make test` compiles all
    as shipped. The names of kept programs include flags and versions; `make clean` removes them.
    """
    if "XLA_FLAGS" not in os.environ:
        os.environ["XLA_FLAGS"] = QUICKLY_COMPILED
        jax.devices()  # the flags are read here, once
        del os.environ["XLA_FLAGS"]
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": str(PROGRAMS), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    jax.config.update("jax_compilation_cache_dir", str(PROGRAMS))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    gc.set_threshold(100_000, 50, 100)  # tracing makes many objects and few cycles: the usual ones cost an eighth
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="session", autouse=True)
def trusted():
    """Runs in this process take JAX for right; tests/engine/test_selfcheck.py looks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selfcheck, "require", lambda *_: None)
        yield


@pytest.fixture
def tiny():
    """A sweep of 36 points that all can be learned."""
    return js.Sweep(**TINY)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run of `TRACKED`, in several chunks; to be read only."""
    return js.run(js.Sweep(**TRACKED), tmp_path_factory.mktemp("finished") / "run", chunk_points=4)


@pytest.fixture
def stored(finished, tmp_path):
    """A copy of it."""
    return js.Store(shutil.copytree(finished.path, tmp_path / "run"))


@contextlib.contextmanager
def counted(kind: str):
    """What JAX itself says it does of this kind while a test runs."""
    seen: list[str] = []

    def listen(event: str, duration: float, **_: object) -> None:
        if event.endswith(kind):
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def compilations(monkeypatch):
    """The programs that XLA compiles while a test runs, or has compiled for another run of the tests."""
    read = programs._read

    def noted(path, program):
        found = read(path, program)
        if found is not None:
            seen.append(path.name)
        return found

    with counted("backend_compile_duration") as seen:
        monkeypatch.setattr(programs, "_read", noted)
        yield seen


@pytest.fixture
def traces():
    """The functions JAX traces while a test runs."""
    with counted("jaxpr_trace_duration") as seen:
        yield seen


@pytest.fixture(scope="session")
def invoke():
    """The command line in this process, which has its devices and programs already; `cwd` is where it is typed."""

    def call(*words, cwd="."):
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
        try:
            with contextlib.chdir(cwd):
                return CliRunner().invoke(cli.app, [str(word) for word in words])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "use_all_cores", lambda: None)
        patch.setattr(devices, "keep_compiled_programs", lambda: None)
        patch.setenv("COLUMNS", "200")
        yield call


@pytest.fixture
def command(invoke, tmp_path):
    """The same on a run in `tmp_path`."""

    def call(sweep, *words, command="run"):
        where = [tmp_path / "run"]
        if command in ("run", "plan"):
            path = tmp_path / "spec.toml"
            path.write_text(sweep.to_toml())
            where = [path, "--out", *where]
        return invoke(command, *where, *words)

    return call


def columns_of(name: str, parameters) -> dict:
    """All columns of the tables of a built-in system, as if it had other parameters."""
    system = registry.BUILT_IN[name]
    own = 1 + len(system.parameters)
    return {table: (c[0], *parameters, *c[own:]) for table, c in system.columns().items()}


def paths_of(store, name: str) -> list[Path]:
    """The committed files of one table."""
    return [store.path / part.file.path for part in store.reader.parts(name)]


def mixed_points(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Points spread over the range of the theory: both ends of rho and eps, shallow and deep."""
    rng = np.random.default_rng(seed)
    return {
        "lam": np.exp(rng.uniform(np.log(0.1), np.log(10), count)),
        "rho": rng.uniform(0.05, 1.0, count),
        "L": rng.choice([1, 2, 3, 5, 8], count),
        "eps": np.exp(rng.uniform(np.log(1e-6), np.log(1e-2), count)),
    }
