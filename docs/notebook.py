"""A notebook in percent format as a page: its text, its code, and what the code prints, shows and draws."""

import ast
import base64
import contextlib
import html
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

PIXELS_PER_INCH = 80  # of figures on the page


class Cell(NamedTuple):
    """One cell: Markdown, or code with a title, which describes the figure that it draws."""

    title: str
    text: str
    is_code: bool


def page(path: Path) -> str:
    """The notebook as Markdown, run from end to end by a Python of its own, in an empty folder.

    Raises:
        RuntimeError: a cell fails; the message is the traceback.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-W", "error", str(Path(__file__)), str(path)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{path} must run, but it ended with\n{done.stderr}")
    return done.stdout


def cells(text: str) -> list[Cell]:
    """The cells of a notebook; what stands before the first is about the file."""
    marked = re.split(r"^# %%(.*)\n", text, flags=re.MULTILINE)[1:]
    found = []
    for title, body in zip(marked[::2], marked[1::2], strict=True):
        if title.strip() == "[markdown]":
            body = re.sub("^# ?", "", body, flags=re.MULTILINE)
        found.append(Cell(title.strip(), body.strip(), title.strip() != "[markdown]"))
    return found


def run(cell: Cell, names: dict[str, Any]) -> str:
    """A cell of code as Markdown: the code, then what it printed, the value it ends in, and its figures."""
    tree = ast.parse(cell.text)
    last = tree.body[-1] if isinstance(tree.body[-1], ast.Expr) else None
    tree.body = tree.body[: -1 if last else None]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "notebook", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "notebook", "eval"), names) if last else None
    parts = [f"```python\n{cell.text}\n```"]
    if printed.getvalue():
        parts.append(f"```text\n{printed.getvalue().rstrip()}\n```")
    drawn = figures(cell.title)
    if not drawn and value is not None:
        parts.append(shown(value))
    return "\n\n".join(parts + drawn)


def shown(value: Any) -> str:
    """A value as a notebook shows it, as a table of the page where it is one."""
    if not hasattr(value, "_repr_html_"):
        return f"```text\n{value!r}\n```"
    table = re.sub(r"<style.*?</style>|<p>\d+ rows.*?</p>", "", value._repr_html_(), flags=re.DOTALL)
    return re.sub(r'<table border="1" class="dataframe">', "<table>", table).strip()


def figures(title: str) -> list[str]:
    """The figures that are open, as pictures inside the page; they are closed."""
    from matplotlib import pyplot

    pictures = []
    for number in pyplot.get_fignums():
        assert title, "a cell that draws must have a title, which says what the figure shows"
        drawn, data = pyplot.figure(number), io.BytesIO()
        drawn.savefig(data, format="png", dpi=2 * PIXELS_PER_INCH)  # sharp on fine screens, too
        width, encoded = round(PIXELS_PER_INCH * drawn.get_figwidth()), base64.b64encode(data.getvalue()).decode()
        pictures.append(
            f'<p><img alt="{html.escape(title)}" width="{width}" src="data:image/png;base64,{encoded}"></p>'
        )
    pyplot.close("all")
    return pictures


def main() -> None:
    """Run a notebook here and print it as Markdown."""
    import matplotlib

    from jepa_sweep.engine import devices

    matplotlib.use("agg")
    devices.keep_compiled_programs()  # as the command does, so that a second build is quicker
    names: dict[str, Any] = {"__name__": "__main__"}
    parts = [run(cell, names) if cell.is_code else cell.text for cell in cells(Path(sys.argv[1]).read_text("utf-8"))]
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
