"""The README, the pages written by hand and the files about the project: code runs, links lead somewhere."""

import ast
import inspect
import re
import shlex

import pytest
import yaml
from conftest import ROOT
from test_house import ABOVE

import jepa_sweep as js
from jepa_sweep import cli, errors
from jepa_sweep.spec.replicates import replicates

README = (ROOT / "README.md").read_text()
PAGES = [
    "README.md", "docs/index.md", "docs/theory.md", "docs/architecture.md", "docs/faults.md", "docs/troubleshooting.md",
    "docs/benchmarks.md", "docs/how-to/own-flow.md", "docs/how-to/own-data.md", "docs/how-to/networks.md",
    "docs/how-to/query-and-export.md", "docs/how-to/clusters.md", "docs/how-to/buckets.md",
    "docs/how-to/resume-and-repair.md",
]  # fmt: skip
PROJECT = ["CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md"]
MADE = re.compile(r"docs/(reference/|gallery\.md|tutorial)")  # pages that the site makes from the code
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def text_of(page):
    return (ROOT / page).read_text()


def prose(page):
    """A page without its code."""
    return FENCED.sub("", text_of(page))


# --- what the README says ---------------------------------------------------------------------------------------------


def test_the_readme_is_two_screens_with_what_must_be_there():
    assert len(README.splitlines()) <= 160
    assert re.findall("^## (.*)$", README, re.M) == [
        "Start", "Ten lines of Python", "Commands", "A spec", "A picture", "Speed", "Read on", "Contribute, cite",
    ]  # fmt: skip
    assert [c for c in ("make demo", "make test", "make docs") if c not in README] == []
    assert [page for page in PAGES[1:] if f"]({page})" not in README] == []


def test_the_readme_names_every_command():
    commands = [c.name or c.callback.__name__ for c in cli.app.registered_commands]
    assert len(commands) >= 13
    assert [c for c in commands if f"\n| `jepa-sweep {c}" not in README] == []


def test_exit_codes_are_those_of_the_errors():
    classes = [e for _, e in inspect.getmembers(errors, inspect.isclass) if issubclass(e, js.JepaSweepError)]
    table = text_of("docs/index.md").split("### Exit codes")[1].split("\n## ")[0]
    stated = [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.M)]
    assert stated == [0, 1, 2, 3, 4, 5, 6, 130]
    assert {e.exit_code for e in classes} <= {*stated}


# --- links ------------------------------------------------------------------------------------------------------------


def anchors(page):
    """The anchors of the headings of a page, as the site makes them."""
    titles = [re.sub(r"[^\w\s-]", "", title).strip().lower() for title in re.findall(r"^#+ (.*)$", prose(page), re.M)]
    return [re.sub(r"[-\s]+", "-", title) for title in titles]


@pytest.mark.parametrize("page", [*PAGES, *PROJECT])
def test_links_lead_somewhere(page):
    broken, here = [], (ROOT / page).parent
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        target = (here / path).resolve() if path else ROOT / page
        name = str(target.relative_to(ROOT))
        leaves = page.startswith("docs/") and not name.startswith("docs/")  # the site ends there
        missing = not target.is_file() and not MADE.match(name)
        if leaves or missing or (anchor and target.is_file() and anchor not in anchors(name)):
            broken.append(link)
    assert broken == []


def test_anchors_are_told_apart():
    assert [page for page in PAGES if len({*anchors(page)}) < len(anchors(page))] == []


def test_a_test_is_named_for_every_fault():
    table = re.findall(r"^\| .* \| .* \| `(.*?)::(.*?)` \|$", text_of("docs/faults.md"), re.M)
    assert len(table) >= 25
    defined = {path: set(re.findall(r"^def (\w+)\(", (ROOT / "tests" / path).read_text(), re.M)) for path, _ in table}
    assert [f"{path}::{name}" for path, name in table if name not in defined[path]] == []


def test_words_of_the_glossary_are_those_of_the_code():
    glossary = text_of("docs/architecture.md").split("## Glossary")[1]
    words = re.findall(r"^\| ([a-z ]+) \|", glossary, re.M)[1:]
    code = " ".join(path.read_text() for path in (ROOT / "jepa_sweep").rglob("*.py")).lower()
    assert len(words) >= 25
    assert [word for word in words if not re.search(rf"\b{word}s?\b", code)] == []


def test_rooms_import_what_the_page_on_architecture_says():
    table = text_of("docs/architecture.md").split("## Rooms and floors")[1].split("\n## ")[0]
    told = {room: {*re.findall(r"\w+", names)} for room, names in re.findall(r"^\| `(\w+)` \|.*\|(.*)\|$", table, re.M)}
    rooms = {path.name for path in (ROOT / "jepa_sweep").iterdir() if (path / "__init__.py").is_file()}
    assert told == {room: ABOVE[room] - {"progress", "output", "layout"} for room in rooms - {"cli"}}


# --- code -------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    "page", [page for page in PAGES if re.search("^```(python|toml|console)$", text_of(page), re.M)]
)
def test_the_code_of_a_page_runs(page, tmp_path, invoke, monkeypatch):
    """All in order, as one session: files are written, commands typed, specs checked, Python run."""
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    session = {}
    for kind, block in FENCED.findall(text_of(page)):
        named = re.match(r"# (\w+\.(?:py|toml))\n", block)
        if named:
            (tmp_path / named[1]).write_text(block)
        if kind == "console":
            for line in block.splitlines():
                done = invoke(*shlex.split(line.removeprefix("$ jepa-sweep ")), cwd=tmp_path)
                assert done.exit_code == 0, f"{line}\n{done.stderr}"
        elif kind == "toml" and not block.startswith("# pyproject.toml"):
            assert replicates(js.Sweep.parse(block, page, beside=tmp_path)) == []
        elif kind == "python" and not named:
            exec(compile(block, page, "exec"), session)


def test_all_python_is_python():
    for page in PAGES:
        for kind, block in FENCED.findall(text_of(page)):
            if kind in ("python", "py"):
                ast.parse(block, page)


# --- files about the project ------------------------------------------------------------------------------------------


def loaded(path):
    return yaml.safe_load(text_of(path))


def test_the_citation_is_complete_and_of_this_version():
    citation = loaded("CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "version", "license", "references"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == js.__version__
    assert f"version = {{{js.__version__}}}" in README
    [paper] = citation["references"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert f"doi = {{{paper['doi']}}}" in README


def test_workflows_call_targets_of_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.M))
    workflows = sorted((ROOT / ".github/workflows").glob("*.yml"))
    assert {path.stem for path in workflows} == {"tests", "docs", "wheel"}
    for path in workflows:
        steps = [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]
        commands = [step["run"] for step in steps if "run" in step]
        assert commands
        for command in commands:
            program, *arguments = shlex.split(command.replace("${{ matrix.python }}", ""))
            assert program == "make"
            assert {word for word in arguments if "=" not in word} <= targets


def test_the_forms_for_reports_ask_for_what_is_needed():
    asked = {name: loaded(f".github/ISSUE_TEMPLATE/{name}.yml") for name in ("bug", "idea")}
    for form in asked.values():
        assert {"name", "description", "body"} <= form.keys()
        names = [field["id"] for field in form["body"]]
        assert len({*names}) == len(names)
    assert "jepa-sweep doctor --json" in str(asked["bug"])


def test_what_is_checked_before_a_commit_is_what_make_test_checks():
    [hooks] = [repository["hooks"] for repository in loaded(".pre-commit-config.yaml")["repos"]]
    tools = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    assert tools == {tool for tool in ("ruff", "basedpyright") if f"$(BIN)/{tool}" in text_of("Makefile")}


def test_the_paper_has_its_sections_and_cites_what_it_lists():
    _, head, body = text_of("paper.md").split("---\n", 2)
    head = yaml.safe_load(head)
    assert {"title", "tags", "authors", "affiliations", "date", "bibliography"} <= head.keys()
    sections = re.findall(r"^# (.*)$", body, re.M)
    assert sections[:5] == [
        "Summary", "Statement of need", "State of the field", "Software design", "Research impact statement",
    ]  # fmt: skip
    assert 750 <= len(body.split()) <= 1750
    listed = set(re.findall(r"^@\w+\{(\w+),", text_of(head["bibliography"]), re.M))
    assert set(re.findall(r"@(\w+\d{4})", body)) == listed
