"""The paper's figures from their spec files: run what is missing, draw, and check what each figure claims."""

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from jepa_sweep import output
from jepa_sweep.checks import check_one_of
from jepa_sweep.computing import run as compute
from jepa_sweep.progress import Show
from jepa_sweep.results import Store
from jepa_sweep.spec import shipped
from jepa_sweep.view import needs, style
from jepa_sweep.view.catalog import PICTURES
from jepa_sweep.view.claims import FigureClaim

DOTS_PER_INCH = 200
# Without the time of day and the version of matplotlib the same tables give the same file.
UNDATED = {"png": {"Software": None}, "pdf": {"CreationDate": None}}


class Drawn(NamedTuple):
    """A figure on disk."""

    name: str
    shows: str
    store: Store  # whose tables it shows
    files: tuple[Path, ...]  # PNG, then PDF
    claims: tuple[FigureClaim, ...]  # of its caption, measured on the same tables
    seconds: float  # of running, drawing and checking

    def text(self) -> str:
        """Its claims, what was measured, and whether they hold."""
        lines = [f"{self.name}: {self.shows} ({self.store.path}, {self.seconds:.0f} s)"]
        for claim in self.claims:
            lines += [f"  {'pass' if claim.holds else 'FAIL'}  {claim.says}", f"        {claim.measured}"]
        return "\n".join(lines)

    def facts(self) -> dict[str, Any]:
        """The same for JSON, with the files."""
        files, claims = [str(path) for path in self.files], [claim._asdict() for claim in self.claims]
        facts = {"run": str(self.store.path), "files": files, "claims": claims, "seconds": self.seconds}
        return {"figure": self.name, **facts}


def spec_path(name: str) -> Path:
    """The spec file of a figure: beside the package in a checkout, inside it when installed.

    Raises:
        SpecError: there is no such figure.
    """
    check_one_of("figure", name, tuple(PICTURES))
    return shipped.folder() / f"{name}.toml"


def figure(
    name: str,
    out: str | Path = "figures",
    run: str | Path | None = None,
    *,
    device: str = "auto",
    progress: Show | bool | None = None,
) -> Drawn:
    """Draw one figure, as PNG and PDF, and check what it claims.

    Args:
        name: one of `jepa_sweep.view.catalog.PICTURES`: fig1, fig2, fig3, fig4, fig5, mlp, loss, inversion,
            critical_times.
        out: the folder to write `<name>.png` and `<name>.pdf` to.
        run: the run directory to draw from, as it is. By default `runs/<name>`, whose missing points are computed
            first from the figure's spec file.
        device: where to compute, as `jepa_sweep.run` takes it.
        progress: called after each chunk, as `jepa_sweep.run` takes it.

    Returns:
        The files, the claims with what was measured, and the store.

    Raises:
        SpecError: there is no such figure, or the run does not fit it: what varies and must be fixed, or is missing.
        StorageError: a file could not be written.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> folder = tempfile.mkdtemp()
        >>> axes = {"lam": [0.5, 1.0, 2.0], "rho": [0.4, 0.8], "L": 2, "eps": [1e-5, 1e-4, 1e-3]}
        >>> store = js.run(js.Sweep(name="tiny", axes=axes), out=f"{folder}/run")
        >>> drawn = js.figure("critical_times", out=folder, run=store.path)
        >>> [path.name for path in drawn.files], drawn.claims[0].holds
        (['critical_times.png', 'critical_times.pdf'], True)
    """
    began = time.perf_counter()
    spec, folder = spec_path(name), output.place(out)
    if run is None:
        output.create_folder(folder)  # what cannot be written to is found out before minutes of computing
        store = compute(spec, device=device, progress=progress)
        remedy = f"Try --run with another run, or move {store.path} away to have it computed anew."
    else:
        store = Store(run)
        remedy = f"Try without --run, which computes what is missing of runs/{name}, or run a sweep that fits."
    picture = PICTURES[name]
    needs.check(name, picture.needs, store.reader, remedy)
    output.create_folder(folder)
    claims = tuple(claim._replace(holds=bool(claim.holds)) for claim in picture.claims(store.reader))  # not NumPy's
    with style.paper():
        drawing = picture.draw(store.reader)
        pages = {kind: _rendered(drawing, kind) for kind in UNDATED}
    files = tuple(output.write(folder / f"{name}.{kind}", page) for kind, page in pages.items())
    return Drawn(name, picture.shows, store, files, claims, time.perf_counter() - began)


def reproduce(
    out: str | Path = "figures",
    *,
    device: str = "auto",
    progress: Show | bool | None = None,
    done: Callable[[Drawn], None] | None = None,
) -> list[Drawn]:
    """Every figure, from its own run in `runs/`; finished runs are drawn from as they are.

    Args:
        out: the folder to write to.
        device: where to compute, as `jepa_sweep.run` takes it.
        progress: called after each chunk of a run, as `jepa_sweep.run` takes it.
        done: called after each figure.

    Returns:
        One entry a figure, in the order of the catalog.

    Raises:
        StorageError: a file could not be written.

    Example:
        >>> import jepa_sweep as js
        >>> drawn = js.reproduce()  # doctest: +SKIP
        >>> all(claim.holds for one in drawn for claim in one.claims)  # doctest: +SKIP
        True
    """
    drawn = []
    for name in PICTURES:
        drawn.append(figure(name, out, device=device, progress=progress))
        if done:
            done(drawn[-1])
    return drawn


def claims_of(drawn: Sequence[Drawn]) -> pd.DataFrame:
    """Every claim of some figures in a row: what it says, what was measured, whether it holds."""
    rows = [(one.name, *claim) for one in drawn for claim in one.claims]
    return pd.DataFrame(rows, columns=["figure", *FigureClaim._fields])


def _rendered(drawing: style.Figure, kind: str) -> bytes:
    data = io.BytesIO()
    drawing.savefig(data, format=kind, dpi=DOTS_PER_INCH, metadata=UNDATED[kind])
    return data.getvalue()
