"""The site says what there is, is whole, and asks nobody; what is planted in it is found."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import typer
from browsers import absent
from conftest import ROOT
from flags import chosen

import jepa_sweep as js
from jepa_sweep import cli
from jepa_sweep.errors import JepaSweepError
from jepa_sweep.spec.axes import Block, Range
from jepa_sweep.spec.models import Measure, Solver, Sweep, Trajectories
from jepa_sweep.systems.registry import BUILT_IN
from jepa_sweep.view.catalog import PICTURES

sys.path.insert(0, str(ROOT))

from docs import check, generate, notebook, vendor

PAGES = {path.stem: path.read_text() for path in (ROOT / "docs/reference").glob("*.md")}


def first_cells(text):
    """What stands as code in the first column of the tables of a page."""
    return re.findall(r"^\| `([^`]+)`", text, re.M)


# --- what is generated --------------------------------------------------------------------------------------------


def test_every_key_of_a_spec_is_explained():
    models = {
        "": Sweep,
        "axes.AXIS.": Range,
        "measure.": Measure,
        "measure.trajectories.": Trajectories,
        "solver.": Solver,
    }
    expected = [
        prefix + (field.alias or name) for prefix, model in models.items() for name, field in model.model_fields.items()
    ]
    assert set(Block.model_fields) <= set(Sweep.model_fields)
    assert sorted(first_cells(generate.keys())) == sorted(expected)
    written = generate.keys()
    assert all(field.description for _, field in generate.fields_of(Sweep))
    assert all(generate.meaning_of(field) in written for _, field in generate.fields_of(Sweep))


@pytest.mark.parametrize(
    ("path", "takes", "default"),
    [
        ("name", "text", "required"),
        ("axes.AXIS.geom", "list of 2 numbers", ""),
        ("combine", '`"product"`, `"zip"`, `"sobol"` or `"points"`', '`"product"`'),
        ("points", "list of tables", ""),
        ("measure.p", "list of numbers", "`[0.5]`"),
        ("measure.trajectories.samples", "whole number", "`64`"),
        ("solver.rtol", "number", "`1e-08`"),
    ],
)
def test_a_key_says_what_it_takes(path, takes, default):
    [field] = [field for known, field in generate.fields_of(Sweep) if known == path]
    assert (generate.type_of(field.annotation), generate.default_of(field)) == (takes, default)


def test_every_system_has_its_axes_methods_and_rules():
    written = generate.systems()
    parts = dict(zip(BUILT_IN, written.split("### ")[1:], strict=True))
    for name, system in BUILT_IN.items():
        assert parts[name].startswith(f'`system = "{name}"`')
        rows = {cells[1].strip(" `"): cells for line in parts[name].splitlines() if len(cells := line.split("|")) > 4}
        for q in system.parameters:
            assert ("" if q.choices else q.unit) == rows[q.name][3].strip()
            assert generate.plain(q.meaning) in rows[q.name][4]
            assert all(f"`{word}`" in rows[q.name][4] for word in q.choices)
        assert all(f"`{word}`" in parts[name] for word in (*system.objectives, *system.methods, *system.coordinates))
        assert all(generate.plain(rule.must) in parts[name] for rule in system.rules)


def test_every_column_of_every_table_is_there():
    parts = generate.tables().split("## System ")[1:]
    for part, system in zip(parts, BUILT_IN.values(), strict=True):
        shared, *tables = part.split("\n### ")
        own = first_cells(shared)
        found = {re.match(r"`(\w+)`", text)[1]: own + first_cells(text) for text in tables}
        assert found == {table: [c.name for c in columns] for table, columns in system.columns().items()}
        for column in (c for columns in system.columns().values() for c in columns):
            assert f"| {generate.plain(column.meaning)} | {generate.code(column.equation)} |" in part


def test_every_status_is_explained():
    assert first_cells(generate.statuses()) == [status.label for status in js.Status]
    assert all(generate.plain(sentence) in generate.statuses() for sentence in js.SENTENCES.values())


def test_every_command_has_its_options():
    written, group = generate.commands(), typer.main.get_command(cli.app)
    parts = dict(zip(group.commands, written.split("\n## ")[1:], strict=True))
    for name, command in group.commands.items():
        assert parts[name].startswith(f"`{name}`")
        options = {option for p in command.params for option in p.opts if option.startswith("-")}
        assert options <= set(re.findall(r"`(--?[\w-]+)", parts[name]))


def test_every_exit_code_of_an_error_is_explained():
    codes = {line.split(" | ")[0].strip("| ") for line in generate.exit_codes().splitlines()[2:]}
    errors = [JepaSweepError, *JepaSweepError.__subclasses__()]
    assert {str(error.exit_code) for error in errors} | {"0", "3", "4", "130"} == codes


def test_every_public_name_is_documented_once():
    documented = re.findall(r"^::: jepa_sweep\.(\w+)$", PAGES["api"], re.M)
    assert sorted(documented) == sorted(js.__all__)


def test_reference_pages_are_generated():
    printed = {page: set(re.findall(r"^print\((\w+)\(", text, re.M)) for page, text in PAGES.items()}
    assert printed == {
        "spec": {"keys", "systems"},
        "tables": {"tables"},
        "statuses": {"statuses"},
        "commands": {"commands", "exit_codes"},
        "api": {"source"},
    }


def test_the_gallery_has_every_figure_with_its_claims_which_hold():
    measured = json.loads(generate.CLAIMS.read_text())
    assert [one["figure"] for one in measured] == list(PICTURES)
    parts = generate.gallery().split("\n## ")
    assert len(parts) == len(PICTURES)
    for one, part in zip(measured, parts, strict=True):
        assert one["claims"]
        assert (ROOT / f"sweeps/gallery/{one['figure']}.png").exists()
        for claim in one["claims"]:
            assert claim["holds"], claim
            assert f"| {generate.plain(claim['says'])} | {generate.plain(claim['measured'])} | holds |" in part


# --- the notebook -------------------------------------------------------------------------------------------------


def cell(text, title=""):
    return notebook.run(notebook.Cell(title, text, True), {})


def test_a_notebook_is_its_cells():
    text = "# ---\n# about\n# ---\n\n# %% [markdown]\n# # Title\n#\n# Words.\n\n# %%\nx = 1\n\n# %% A figure\ndraw(x)\n"
    assert notebook.cells(text) == [
        notebook.Cell("[markdown]", "# Title\n\nWords.", False),
        notebook.Cell("", "x = 1", True),
        notebook.Cell("A figure", "draw(x)", True),
    ]


def test_a_cell_shows_what_it_prints_and_ends_in():
    assert (
        cell("x = 6\nprint(x)\nx + 1") == "```python\nx = 6\nprint(x)\nx + 1\n```\n\n```text\n6\n```\n\n```text\n7\n```"
    )
    assert cell("x = None\nx") == "```python\nx = None\nx\n```"
    shown = cell("import pandas as pd\npd.DataFrame({'a': [1, 2]})")
    assert "<table>" in shown
    assert "<style" not in shown


def test_a_figure_must_be_described():
    draw = "from matplotlib import pyplot\npyplot.plot([1, 2])"
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    assert '<img alt="A &lt; B" width="512" src="data:image/png;base64,' in cell(draw, "A < B")
    with pytest.raises(AssertionError, match="must have a title"):
        cell(draw)
    pyplot.close("all")


@pytest.mark.process
def test_a_notebook_that_fails_says_where(tmp_path):
    (tmp_path / "bad.py").write_text("# %%\nx = 1\n1 / 0\n")
    with pytest.raises(RuntimeError, match=r"bad.py must run, but it ended with\n(?s:.*)ZeroDivisionError"):
        notebook.page(tmp_path / "bad.py")


# --- the build ----------------------------------------------------------------------------------------------------


def test_only_what_was_meant_is_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(vendor, "KEPT", tmp_path)
    monkeypatch.setattr(vendor, "_fetched", lambda package: b"something else")
    with pytest.raises(OSError, match="must have the SHA-256"):
        vendor.files(vendor.PACKAGES[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<p id="here"><a href="#here">a</a><a href="b.html#there">b</a><a href="https://host/x">c</a>', ""),
        ('<a href="c.html">', "c.html: there is no such file"),
        ('<a href="b.html#nowhere">', "b.html#nowhere: there is no such place"),
        ('<a href="#nowhere">', "#nowhere: there is no such place"),
        ('<img src="a.png">', "a picture without words"),
        ('<script src="https://host/x.js"></script>', "asks https://host/x.js"),
        ('<link rel="stylesheet" href="//host/x.css">', "asks //host/x.css"),
    ],
)
def test_a_page_is_checked(tmp_path, body, problem):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.html").write_text(body)
    (tmp_path / "b.html").write_text('<h1 id="there">')
    assert [one for one in check.problems(tmp_path) if problem not in one] == []
    assert bool(check.problems(tmp_path)) == bool(problem)


def test_styles_ask_nobody(tmp_path):
    (tmp_path / "a.css").write_text("a { src: url(fonts/a.woff2) } b { src: url('https://host/b.woff2') }")
    assert check.problems(tmp_path) == ["a.css: asks https://host/b.woff2"]


@pytest.fixture(scope="module")
def shipped():
    """What npm fetches, once for each environment."""
    try:
        for package in vendor.PACKAGES:
            vendor.files(package)
    except OSError as error:
        absent(f"the site cannot be built: {error}")


def build(root):
    """Build the site of a folder as `make docs` does."""
    command = [sys.executable, "-m", "docs.build", root]
    env = {**os.environ, "XLA_FLAGS": chosen()}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.process
@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ("", ""),
        ("[a link](nowhere.md)", "page does not exist"),
        ("[an anchor](#nowhere)", "anchor does not exist"),
        ("[`a reference`][jepa_sweep.nowhere]", "unresolved autoref"),
        ("::: jepa_sweep.nowhere", "jepa_sweep.nowhere could not be found"),
        ('```python exec="on"\n1 / 0\n```', "ZeroDivisionError"),
        ('```python exec="on"\nprint("[made](nowhere.md)")\n```', "nowhere.html: there is no such file"),
        ("![](assets/gallery/fig1.png)", "a picture without words"),
        ('<script src="https://host/x.js"></script>', "asks https://host/x.js"),
        ('--8<-- "nowhere.md"', "nowhere.md"),
    ],
)
def test_what_is_wrong_fails_the_build(tmp_path, shipped, planted, said):
    settings = (ROOT / "mkdocs.yml").read_text()
    (tmp_path / "mkdocs.yml").write_text(re.sub(r"^nav:\n(?:  .*\n)+", "", settings, flags=re.M))
    (tmp_path / "docs").mkdir()
    for name in ("site.css", "maths.js"):
        shutil.copy(ROOT / "docs" / name, tmp_path / "docs")
    (tmp_path / "docs/index.md").write_text(f"# A page\n\n$x^2$\n\n::: jepa_sweep.critical_time\n\n{planted}\n")
    done = build(tmp_path)
    assert done.returncode == (1 if planted else 0), done.stderr
    assert said in re.sub(r"\x1b\[[\d;]*m", "", done.stderr + done.stdout)


@pytest.mark.browser
@pytest.mark.long
def test_the_site_is_whole_and_asks_nobody(tmp_path, shipped, browser):
    """Every page, opened from disk in a browser without a network, on a wide and a narrow screen."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("assets", "__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    context = browser.new_context()
    context.set_offline(True)
    tab, trouble = context.new_page(), []
    tab.on("request", lambda one: trouble.append(one.url) if not one.url.startswith(("file:", "data:", "blob:")) else 0)
    tab.on("console", lambda message: trouble.append(message.text))
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    pages = sorted(path for path in (tmp_path / "site").rglob("*.html") if path.name != "404.html")
    assert len(pages) == len(list((tmp_path / "docs").rglob("*.md")))
    for path in pages:
        tab.goto(path.as_uri())
        for width in (400, 1280):
            tab.set_viewport_size({"width": width, "height": 900})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, f"{path.name} at {width}"
        assert tab.locator(".katex-error").all_inner_texts() == [], path.name
        assert tab.locator(".arithmatex:not(:has(.katex))").count() == 0, path.name
        assert tab.evaluate("[...document.images].filter(one => !one.naturalWidth).length") == 0, path.name
    tab.keyboard.press("Control+k")
    tab.keyboard.type("relative_difference")
    tab.get_by_text(re.compile(r"^\d+ results$")).wait_for()
    assert trouble == []
    told = (tmp_path / "site/tutorial.html").read_text()
    assert re.findall(r"L = (\d), (\w+) *: .*the clear one first", told) == [("5", "jepa")]
    context.close()
