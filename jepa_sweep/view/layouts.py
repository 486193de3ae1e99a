"""What there is to look at in each kind of store: a table of rows, measured columns beside predicted ones, curves."""

from typing import NamedTuple


class Pair(NamedTuple):
    """A measured column beside the one that predicts it."""

    title: str
    numeric: str
    predicted: str


class Layout(NamedTuple):
    """Where one kind of store keeps what is looked at."""

    table: str  # its rows are the cells
    pairs: tuple[Pair, ...]
    keys: tuple[str, ...]  # what tells rows apart, besides objective and parameters
    also: tuple[str, ...] = ()  # further columns of the readout
    lines: tuple[str, ...] = ()  # columns of trajectories drawn over t: the response, and what predicts it
    crossing: str = ""  # when the response met p w_star


LAYOUTS = {
    "critical_times": Layout(
        table="points",
        pairs=(
            Pair("Critical time, closed form", "t_numeric", "t_exact"),
            Pair("Critical time, leading order", "t_numeric", "t_leading"),
            Pair("Critical time, asymptotics", "t_numeric", "t_asymptotic"),
        ),
        keys=("p",),
        also=("w_star",),
        lines=("w", "w_exact"),
        crossing="t_numeric",
    ),
    "networks": Layout(
        table="features",
        pairs=(
            Pair("Learning time, scalar flow", "t_learned", "t_exact"),
            Pair("Fitting time, scalar flow", "t_fitted", "t_exact"),
            Pair("Last response, rest point", "w_end", "w_star"),
        ),
        keys=("p", "feature"),
        also=("lam", "rho", "w_start"),
        lines=("w",),
        crossing="t_learned",
    ),
    "estimates": Layout(
        table="features",
        pairs=(Pair("Estimate of rho", "rho_hat", "rho"), Pair("Estimate of lam", "lam_hat", "lam")),
        keys=("feature",),
        also=("rho_std", "lam_std"),
    ),
}
