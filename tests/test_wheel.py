"""What a user gets: the wheel, installed into an environment of its own without extras."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT

from jepa_sweep.view.catalog import PICTURES

pytestmark = pytest.mark.process

EXTRAS = ("matplotlib", "plotly", "duckdb", "ray", "obstore", "xarray", "netCDF4", "zarr")


class Installed(NamedTuple):
    """An environment with the wheel and what the wheel asks for, and nothing else."""

    folder: str
    place: str  # away from the checkout

    def call(self, *words):
        path = {"PATH": self.folder + os.pathsep + os.environ["PATH"]}
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        line = [os.path.join(self.folder, words[0]), *words[1:]]
        return subprocess.run(line, cwd=self.place, env=kept | path, capture_output=True, text=True, check=False)

    def python(self, script):
        done = self.call("python", "-W", "error", "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    here = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", here, ROOT], check=True)
    [wheel] = here.glob("*.whl")
    venv.create(here / "environment", symlinks=True)
    binaries = here / "environment/bin"
    subprocess.run([*pip, "--python", binaries / "python", "install", "--no-compile", wheel], check=True)
    shutil.copytree(ROOT / "sweeps", here / "work/sweeps", ignore=shutil.ignore_patterns("gallery"))
    return Installed(str(binaries), str(here / "work"))


def test_extras_are_not_there(installed):
    found = installed.python(f"import importlib.util; print([n for n in {EXTRAS} if importlib.util.find_spec(n)])")
    assert found.strip() == "[]"


WITHOUT_DRAWING = """
import sys
from unittest import mock
for name in ("matplotlib", "matplotlib.axes", "matplotlib.cm", "matplotlib.colors", "matplotlib.figure"):
    sys.modules[name] = mock.MagicMock()  # an extra, which finding a spec has no use for
"""


def test_the_package_is_that_of_the_wheel_and_carries_its_specs_and_its_page(installed):
    script = (
        f"{WITHOUT_DRAWING}\nimport importlib.resources, jepa_sweep.reproduction as reproduction\n"
        "package = importlib.resources.files('jepa_sweep')\n"
        "files = ('view/page/page.html', 'store/format2.json', 'py.typed', 'sweeps/spec.schema.json')\n"
        "print(all(package.joinpath(name).is_file() for name in files))\n"
        f"for name in {tuple(PICTURES)}: print(reproduction.spec_path(name))"
    )
    complete, *specs = installed.python(script).splitlines()
    assert complete == "True"
    for name, path in zip(PICTURES, specs, strict=True):
        assert Path(path).is_relative_to(Path(installed.folder).parent / "lib")
        assert Path(path).read_text() == (ROOT / f"sweeps/{name}.toml").read_text()


@pytest.fixture(scope="module")
def ran(installed):
    """The first example of the README, and what it leaves."""
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    assert 'js.run("sweeps/quickstart.toml", out="runs/quickstart")' in example
    return installed.python(f"{example}\nprint(len(store.points()), *sorted(set(sol.status)))")


def test_the_first_example_of_the_readme_runs(ran):
    assert ran.strip() == "5120 learned"


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["figure", "critical_times"], "plot"),
        (["explore", "runs/quickstart"], "report"),
        (["run", "sweeps/quickstart.toml", "--out", "runs/crew", "--cluster", "ray"], "ray"),
        (["status", "s3://bucket/run"], "cloud"),
        (["query", "runs/quickstart", "--sql", "select 1"], "sql"),
        (["export", "runs/quickstart", "--to", "duckdb"], "sql"),
        (["export", "runs/quickstart", "--to", "netcdf"], "xarray"),
        (["export", "runs/quickstart", "--to", "zarr"], "xarray"),
    ],
)
def test_a_missing_extra_is_named_before_anything_is_computed(installed, ran, words, extra):
    done = installed.call("jepa-sweep", *words)
    assert done.returncode == 2, done.stderr
    assert f"pip install 'jepa_sweep[{extra}]'" in done.stderr
    assert {path.parts[-3] for path in Path(installed.place).glob("runs/*/points/*.parquet")} == {"quickstart"}


def test_a_newcomer_gets_from_nothing_to_a_table_elsewhere(installed):
    """What the README says first, in its order, with nothing installed by hand."""

    def typed(line):
        done = installed.call("jepa-sweep", *shlex.split(line))
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        return done.stdout

    assert "first.toml" in typed("init first")
    assert "512 points, 0 there already" in typed("plan first.toml")
    assert "512 of 512 points computed" in typed("run first.toml")
    assert "nothing to do" in typed("run first.toml")
    assert "complete" in typed("list")
    assert "complete: all 512 points are there" in typed("status runs/first --watch")
    typed("run first.toml --out runs/closer --set solver.rtol=1e-11")
    assert "the closed form" in typed("compare runs/first")
    assert "1e-11" in typed("compare runs/first runs/closer")
    rows = typed("query runs/first --where 'lam = 0.193 and objective = JEPA' --format csv --limit 0").splitlines()
    assert len(rows) == 1 + 8 * 4
    typed("export runs/first --to csv")
    script = (
        "import pandas as pd, jepa_sweep as js\n"
        "store, exported = js.Store('runs/first'), pd.read_csv('runs/first.csv/points.csv')\n"
        "pd.testing.assert_frame_equal(exported, store.points(), check_dtype=False, check_exact=True)\n"
        "print(len(exported))"
    )
    assert installed.python(script).strip() == "512"
