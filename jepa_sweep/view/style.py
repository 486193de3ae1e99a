"""How every figure looks: sizes, fonts, colours and words.

Widths are those of a page of text, 7 inches, so that labels of 8 points stay 8 points. Colours are told apart by
lightness alone where they mean a number, and by colour-blind eyes where they mean an objective (Okabe and Ito).
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from jepa_sweep.checks import extra
from jepa_sweep.store.schema import unit_of_time

with extra("Figures need matplotlib", "plot"):  # tables need none of it
    import matplotlib as mpl
    from matplotlib import colors
    from matplotlib import style as mpl_style
    from matplotlib.axes import Axes as Axes  # for those who draw
    from matplotlib.figure import Figure

WIDTH = 7.0  # inches

Color = tuple[float, float, float, float]

COLORS = {"jepa": "#0072B2", "mae": "#D55E00", "nosg": "#009E73", "ema": "#CC79A7"}
NAMES = {"jepa": "JEPA", "mae": "MAE", "nosg": "JEPA without stop-gradient", "ema": "JEPA, averaged target"}
SHADES = mpl.colormaps["viridis_r"]  # light to dark, for lines and their colour bars
LIGHTEST = 0.12  # of these shades for lines, whose yellow end is lost on white
RESPONSE = "viridis"  # of whatever is mapped: its lightness grows with the number, in grey as in colour

_RC: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "legend.fontsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.0,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,  # inches
    "image.interpolation": "nearest",
    "pdf.fonttype": 42,  # letters stay letters: they can be searched and edited
    "mathtext.fontset": "cm",
}


@contextmanager
def paper() -> Iterator[None]:
    """Draw and save figures in the style of this module, whatever the user's own settings."""
    fonts = logging.getLogger("fontTools")
    level = fonts.level
    fonts.setLevel(logging.ERROR)  # it warns of the dates inside the fonts that come with matplotlib
    try:
        with mpl_style.context(_RC, after_reset=True):
            yield
    finally:
        fonts.setLevel(level)


def panels(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure of the page's width and its axes, always as an array of shape (rows, columns)."""
    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def time_label(time: str) -> str:
    """The axis of a time, with its convention: "paper", "flow" or "own"."""
    return "paper time $T = L\\,t$" if time == "paper" else f"{unit_of_time(time)} $t$"


def shades(values: Sequence[float] | np.ndarray) -> list[Color]:
    """One colour a value, darker for larger ones."""
    span = np.ptp(values) or 1.0
    return [SHADES(LIGHTEST + (1 - LIGHTEST) * (v - np.min(values)) / span) for v in values]


def tints(color: str, count: int) -> list[Color]:
    """One colour from light to dark, so that objectives keep theirs while a parameter varies."""
    dark, white = np.array(colors.to_rgb(color)) * 0.6, np.ones(3)
    return [(*(share * dark + (1 - share) * white), 1.0) for share in np.linspace(0.35, 1.0, count)]
