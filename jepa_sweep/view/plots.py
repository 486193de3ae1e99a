"""Pictures of one store on matplotlib axes, for notebooks: `store.plot.critical_times(...)` and the like.

What is drawn are rows of the store's own tables. A parameter that varies among them must be given a value, or an axis
of the picture: nothing is averaged, and no two rows are drawn at one place.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from jepa_sweep.errors import SpecError
from jepa_sweep.store.overview import written
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.schema import unit_of_time
from jepa_sweep.store.table import check_columns
from jepa_sweep.systems.system import Curves
from jepa_sweep.view import style
from jepa_sweep.view.style import Axes, Color


class Plots:
    """The pictures of a store, `store.plot`; each method draws on `ax`, or on a new figure, and returns the axes."""

    def __init__(self, store: Reader, curves: Curves) -> None:
        self._store, self._all = store, curves

    def critical_times(
        self, x: str = "lam", /, *, by: str | None = None, ax: Axes | None = None, **values: Any
    ) -> Axes:
        """Critical times over one parameter, measured (dots) and predicted (lines), a colour for each objective.

        Args:
            x: the column across, such as "lam", "rho", "L", "eps" or "p"; for networks "feature" too.
            by: a second column, of which each value gets a line of its own, darker for larger ones.
            ax: where to draw; a new figure by default.
            **values: the values of all other parameters that vary, as `Store.select` takes them.

        Returns:
            The axes drawn on.

        Raises:
            SpecError: a column does not exist, another parameter varies, or nothing is left to draw.

        Example:
            >>> import tempfile, jepa_sweep as js
            >>> axes = {"lam": [0.5, 1.0, 2.0], "rho": [0.4, 0.8], "L": 2, "eps": 1e-4}
            >>> store = js.run(js.Sweep(name="tiny", axes=axes), out=tempfile.mkdtemp())
            >>> store.plot.critical_times("lam", by="rho").get_xlabel()
            'lam'
        """
        curves = self._curves("critical_times")
        measured, predicted = curves.crossing, curves.pairs[0].predicted  # empty where theory has none
        rows = self._rows(curves, {x, by} - {None}, values)
        rows = rows.dropna(subset=[name for name in (measured, predicted) if name], how="all")
        if rows.empty:
            raise SpecError(
                f"There must be a critical time to draw, but none of these rows of {self._store.path} has one."
            )
        ax = ax or _new()
        for label, color, line in _lines(rows.sort_values(x), by):
            if predicted:
                ax.plot(line[x], line[predicted], color=color, lw=0.9)
            ax.plot(line[x], line[measured], "o", ms=3, color=color, label=label)
        unit = "" if self._store.time == "own" else f" ({unit_of_time(self._store.time)})"
        ax.set(xscale=_scale(rows[x]), yscale="log", xlabel=x, ylabel=f"critical time{unit}")
        _legend(ax)
        return ax

    def trajectories(self, by: str | None = None, *, ax: Axes | None = None, **values: Any) -> Axes:
        """Encoder responses over time, and where the store has them their closed form (dotted).

        Args:
            by: the column of which each value gets a line, darker for larger ones, such as "rho" or "feature".
            ax: where to draw; a new figure by default.
            **values: the values of all other parameters that vary, as `Store.select` takes them.

        Returns:
            The axes drawn on.

        Raises:
            SpecError: the run has no trajectories, a column does not exist, another parameter varies, or nothing is
                left to draw.

        Example:
            >>> import tempfile, jepa_sweep as js
            >>> axes = {"lam": 1.0, "rho": [0.4, 0.8], "L": 2, "eps": 1e-4}
            >>> measure = {"trajectories": {"samples": 16}}
            >>> store = js.run(js.Sweep(name="tiny", axes=axes, measure=measure), out=tempfile.mkdtemp())
            >>> store.plot.trajectories("rho", objective="jepa").get_ylabel()
            'encoder response w'
        """
        curves = self._curves("trajectories")._replace(table="trajectories")
        rows = self._rows(curves, {by} - {None}, values)
        ax = ax or _new()
        for label, color, line in _lines(rows.sort_values("t"), by):
            ax.plot(line["t"], line["w"], color=color, label=label)
            if "w_exact" in line:
                ax.plot(line["t"], line["w_exact"], color="black", ls=":", lw=0.6)
        meaning = self._store.schema("trajectories").field("w").metadata[b"meaning"].decode()
        ax.set(xlabel=f"{unit_of_time(self._store.time)}", ylabel=f"{meaning.removesuffix(' by integration')} w")
        _legend(ax)
        return ax

    def order(self, *, ax: Axes | None = None, **values: Any) -> Axes:
        """Features by their place in the order in which JEPA learns them, and in that of MAE; coloured by rho.

        On the dashed diagonal both learn a feature at the same place; features not learned are left out.

        Args:
            ax: where to draw; a new figure by default.
            **values: the values of all parameters that vary, other than lam, rho and feature.

        Returns:
            The axes drawn on.

        Raises:
            SpecError: the run lacks one of the two objectives, another parameter varies, or nothing is left to draw.

        Example:
            >>> import tempfile, jepa_sweep as js
            >>> axes = {"lam": [1.0, 1.1, 1.2], "rho": [0.5, 0.9], "L": 5, "eps": 1e-3}
            >>> store = js.run(js.Sweep(name="tiny", axes=axes), out=tempfile.mkdtemp())
            >>> store.plot.order().get_ylabel()
            'place in the order of mae'
        """
        curves = self._curves("order")
        features = ["feature", "lam", "rho"] if "feature" in curves.keys else ["lam", "rho"]
        rows = self._rows(curves, set(features), values)
        table = rows.pivot(index=features, columns="objective", values=curves.crossing)
        missing = {"jepa", "mae"} - set(table.columns)
        if missing:
            raise SpecError(f"`order` compares jepa and mae, but {self._store.path} lacks {min(missing)} here.")
        places = table.dropna(subset=["jepa", "mae"]).rank(method="first").reset_index()
        if places.empty:
            raise SpecError(f"`order` must have features that both objectives learn, but {self._store.path} has none.")
        ax = ax or _new()
        ax.plot([1, len(places)], [1, len(places)], "--", color="0.6", lw=0.8)
        dots = ax.scatter(places["jepa"], places["mae"], c=places["rho"], cmap=style.SHADES, edgecolors="0.3", lw=0.4)
        ax.figure.colorbar(dots, ax=ax, label="rho")
        ax.set(xlabel="place in the order of jepa", ylabel="place in the order of mae", aspect="equal")
        return ax

    # --- rows to draw ---------------------------------------------------------------------------------------------

    def _curves(self, picture: str) -> Curves:
        if not self._all.crossing:
            system = self._store.frozen["system"]
            raise SpecError(
                f"`{picture}` must have something that is learned, but {self._store.path} holds runs of {system}; see "
                "`jepa-sweep figure fig3`."
            )
        return self._all

    def _rows(self, curves: Curves, free: set[str], values: dict[str, Any]) -> pd.DataFrame:
        """The rows with these values, in which nothing varies but what is `free`."""
        if curves.table not in self._store.tables:
            raise SpecError(f"{self._store.path} has no table of {curves.table} to draw.")
        known = self._store.schema(curves.table).names
        check_columns(curves.table, sorted(free), self._store.schema(curves.table))
        rows = self._store.select(curves.table, **values)
        if rows.empty:
            given = ", ".join(f"{k} = {v}" for k, v in values.items()) or "no condition"
            raise SpecError(
                f"There must be rows of {curves.table} to draw, but {self._store.path} has none with {given}."
            )
        keys = [*(c.name for c in self._store.parameters), *(key for key in curves.keys if key in known)]
        loose = [k for k in keys if k not in free and rows[k].nunique(dropna=False) > 1]
        if loose:
            some = ", ".join(map(repr, sorted(rows[loose[0]].dropna().unique().tolist())[:5]))
            raise SpecError(
                f"`{loose[0]}` varies among the rows to draw, so it must be fixed or given a place: add "
                f"`{loose[0]}=...` (one of {some}, ...)."
            )
        return rows


def _new() -> Axes:
    from matplotlib import pyplot  # not at the top: it looks for a screen

    return pyplot.figure(layout="constrained").subplots()


def _lines(rows: pd.DataFrame, by: str | None) -> Iterator[tuple[str, Color | str, pd.DataFrame]]:
    """Label, colour and rows of each line: one for each objective, or for each value of `by` of each objective."""
    for objective, part in rows.groupby("objective"):
        color = style.COLORS.get(objective, style.COLORS["jepa"])  # an objective of a user's own has that of jepa
        if by is None:
            yield objective, color, part
            continue
        values = sorted(part[by].unique())
        for value, tint in zip(values, style.tints(color, len(values)), strict=True):
            yield f"{objective}, {by} = {written(value)}", tint, part[part[by] == value]


def _legend(ax: Axes) -> None:
    """Put a legend beside the axes, in columns of at most 24 lines or so."""
    count = len(ax.get_legend_handles_labels()[0])
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=7, ncols=1 + count // 24)


def _scale(values: pd.Series) -> str:
    """The scale of an axis: logarithmic if its values are numbers that span more than a factor of 20."""
    if not pd.api.types.is_numeric_dtype(values):
        return "linear"
    return "log" if values.min() > 0 and values.max() / values.min() > 20 else "linear"
