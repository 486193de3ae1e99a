"""What is shown of a run while it goes on: a bar where it can be drawn, lines where they were asked for."""

import builtins
import contextlib
import importlib.util
import io
import subprocess
import sys

import pytest

from jepa_sweep import progress
from jepa_sweep.progress import Progress, showing

STEPS = [Progress(done=n, total=100, computed=n - 20, failed=0, seconds=n / 5) for n in (40, 50, 70, 100)]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stderr(monkeypatch):
    """What is shown of a run, by what is given for `progress`, where errors go to `kind`."""

    def output(given, kind=io.StringIO):
        monkeypatch.setattr(sys, "stderr", kind())
        with showing(given) as show:
            for step in STEPS if show else ():
                show(step)
        return sys.stderr.getvalue()

    return output


@pytest.fixture
def notebook(monkeypatch):
    """As in a kernel of Jupyter, with or without widgets."""

    class ZMQInteractiveShell:
        pass

    def enter(widgets):
        find = importlib.util.find_spec
        monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: widgets if name == "ipywidgets" else find(name))

    return enter


LINES = [
    "40/100 points, 2 points/s, 24 s left",
    "70/100 points, 4 points/s, 8 s left",
    "100/100 points, 4 points/s, 0 s left",
]


def test_without_a_terminal_nothing_is_shown_unless_lines_are_asked_for(stderr):
    assert stderr(None) == stderr(False) == ""
    assert stderr(True).splitlines() == LINES


@pytest.mark.parametrize("given", [None, True])
def test_on_a_terminal_there_is_a_bar(stderr, given):
    text = stderr(given, Terminal)
    assert "100/100" in text
    assert "4 points/s" in text
    assert stderr(False, Terminal) == ""


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_a_function_is_called_and_nothing_is_shown(stderr, kind):
    seen = []
    assert stderr(seen.append, kind) == ""
    assert seen == STEPS


def test_in_a_notebook_there_is_a_bar(stderr, notebook, monkeypatch):
    seen = []
    notebook(widgets=True)
    monkeypatch.setattr(progress, "_bar", lambda _: contextlib.nullcontext(seen.append))
    assert stderr(None) == ""
    assert seen == STEPS


def test_in_a_notebook_without_widgets_there_are_lines(stderr, notebook):
    notebook(widgets=None)
    assert stderr(None).splitlines() == LINES
    assert stderr(False) == ""


@pytest.mark.process
def test_a_library_that_shows_progress_needs_no_command_line():
    program = "import sys; from jepa_sweep.progress import showing\nwith showing(): assert 'typer' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
