"""What is shown of a run while it goes on: a bar where it can be drawn, lines where they were asked for."""

import builtins
import io
import subprocess
import sys
import types

import pytest

from jepa_sweep.progress import Progress, line_of, showing

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
    """As in a kernel of Jupyter; what the output of the cell shows, from its first state on."""

    class ZMQInteractiveShell:
        pass

    class Output:
        def __init__(self, shown):
            self.states = [shown]

        def update(self, shown):
            self.states.append(shown)

    outputs = []

    def display(shown, display_id):
        assert display_id
        outputs.append(Output(shown))
        return outputs[-1]

    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    return outputs


LINES = [
    "40/100 points, 2 points/s, 24 seconds left",
    "70/100 points, 4 points/s, 8 seconds left",
    "100/100 points, 4 points/s",
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


@pytest.mark.parametrize("given", [None, True])
@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_in_a_notebook_one_output_shows_a_bar(stderr, notebook, given, kind):
    """Of plain HTML, as widgets may be missing; where HTML cannot be shown it is the line."""
    assert stderr(given, kind) == ""
    [output] = notebook
    assert [repr(state) for state in output.states] == ["compiling", *(step.text() for step in STEPS)]
    first, *_, last = [state._repr_html_() for state in output.states]
    assert "<progress style" in first  # moves to and fro
    assert '<progress value="100" max="100"' in last
    assert last.endswith("100/100 points, 4 points/s")
    assert stderr(False, kind) == ""
    assert len(notebook) == 1


def test_a_notebook_keeps_no_bar_of_a_run_with_nothing_to_do(notebook):
    with showing():
        pass
    assert [state._repr_html_() for state in notebook[0].states][1:] == [""]


def test_nor_does_a_terminal(stderr, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with showing():
        pass
    assert sys.stderr.getvalue().count("compiling") <= 1  # drawn once, and taken away


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.1, "a second"), (119.0, "119 seconds"), (120.0, "2 minutes"), (86_400.0, "24 hours"), (1e6, "12 days")],
)
def test_a_time_has_the_unit_that_suits_it(seconds, said):
    assert line_of(1, 2, None, seconds) == f"1/2 points, {said} left"


def test_failed_points_are_told():
    assert STEPS[-1]._replace(failed=1200).text().endswith("4 points/s, 1,200 failed")


@pytest.mark.process
def test_a_library_that_shows_progress_needs_no_command_line():
    program = "import sys; from jepa_sweep.progress import showing\nwith showing(): assert 'typer' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
