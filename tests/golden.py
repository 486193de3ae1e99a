"""Tables of a tiny sweep of every system, kept in `tests/data/golden` with the version of the system that made them.

`version` keeps stores from mixing numbers of two kinds. So whoever changes results raises it in `jepa_sweep/physics`,
and then has the tables written anew, which the script refuses while results differ under the same version:

    python tests/golden.py
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import jepa_sweep as js

Golden = dict[str, Any]  # version, spec, and columns as "table.column"; None where there is no number

DATA = Path(__file__).parent / "data" / "golden"
FLOWS = {
    "combine": "points",
    "points": [
        {"lam": 1.3, "rho": 0.8, "L": 1, "eps": 1e-3},
        {"lam": 0.7, "rho": 0.4, "L": 3, "eps": 1e-4},
        {"lam": 2.0, "rho": 1.1, "L": 8, "eps": 1e-2},
        {"lam": 1.0, "rho": 0.5, "L": 2, "eps": 3.0},  # decays from above
        {"lam": -1.0, "rho": -0.5, "L": 2, "eps": 1e-3},  # collapses
    ],
    "measure": {"p": [0.5, 1.25]},
}
NETWORKS = {
    "objective": ["jepa", "mae", "nosg", "ema"],
    "axes": {"features": 2, "layout": "opposite", "L": 2, "scale": 0.25, "t_end": 60.0},
    "measure": {"trajectories": {"samples": 3}},
}
SAMPLED = {"start": "gaussian", "batch": 4, "activation": "tanh", "t_end": 2.0, "eta": 0.05}
SWEEPS = {
    "clock": {**FLOWS, "measure": {**FLOWS["measure"], "trajectories": {"samples": 4, "until": 1.5}}},
    "integral": {**FLOWS, "solver": {"method": "clenshaw_curtis"}},
    "forward": {**FLOWS, "solver": {"method": "tsit5", "rtol": 1e-6, "coordinate": "w", "time": "flow"}},
    "flow": {**NETWORKS, "system": "network", "solver": {"method": "tsit5"}, "objective": ["jepa", "nosg", "ema"]},
    # Over before all rest: there the error of a step is all rounding, and so are the number and the lengths of steps.
    "flow_of_mae": {
        **NETWORKS,
        "system": "network",
        "solver": {"method": "tsit5"},
        "objective": "mae",
        "axes": {**NETWORKS["axes"], "t_end": 4.0},
    },
    "descent": {**NETWORKS, "system": "training", "axes": {**NETWORKS["axes"], "eta": 0.05}},
    "samples": {
        **NETWORKS,
        "system": "training",
        "objective": "jepa",
        "axes": {**NETWORKS["axes"], **SAMPLED},
        "solver": {"method": "adam"},
    },
    "series": {
        "system": "temporal",
        "axes": {"log10_T": 3.0, "seed": [0, 1]},
        "measure": {"trajectories": {"samples": 3}},
    },
}
SLOW = ("forward", "descent", "flow", "flow_of_mae")  # seconds of compiling

# All is computed in float64, by the same steps everywhere. What machines differ in is how the compiler orders sums and
# which of its elementary functions it takes: some thousand roundings of 1.1e-16, in the longest run of 1,200 steps.
# Measured between instruction sets from SSE 4.2 to AVX-512, numbers of devices, levels of optimisation and versions of
# JAX: 2.5e-13. A change of the method itself shows at its tolerance, at 1e-10 or more, or in its steps.
ROUNDING = 1e-12
RENEW = "have the tables written anew with `python tests/golden.py`, and commit them"


def sweep(name: str) -> js.Sweep:
    """One of the tiny sweeps."""
    return js.Sweep(name=name, **SWEEPS[name])


def read(name: str) -> Golden:
    """The tables kept."""
    return json.loads((DATA / f"{name}.json").read_text())


def made(name: str, out: Path) -> Golden:
    """The tables as the package computes them now, by a run into `out`."""
    spec = sweep(name)
    store = js.run(spec, out, device="cpu")
    parameters = [*(c.name for c in store.parameters), "p"]
    golden: Golden = {"version": spec.system.version, "spec": spec.to_toml()}
    for table in store.tables:
        frame = store.read(table)
        keys = [c for c in ("objective", *parameters, "t", "step", "feature", "row", "column") if c in frame]
        frame = frame.sort_values(keys, kind="stable")
        for column in frame:
            if column not in parameters or frame[column].nunique() > 1:
                values = frame[column].tolist()
                golden[f"{table}.{column}"] = [None if value != value else value for value in values]
    return golden


def trouble(name: str, kept: Golden, now: Golden) -> str:
    """What is wrong, and what to do about it; empty where the results are those kept."""
    system = SWEEPS[name].get("system", "reduced")
    if now["spec"] != kept["spec"]:
        return f"`{name}` is another sweep than the one whose tables are kept; {RENEW}."
    if now["version"] != kept["version"]:
        return f"`version` of {system} is {now['version']}, but the tables kept are of {kept['version']}; {RENEW}."
    if wrong := differences(kept, now):
        return (
            f"Results of the system {system} changed, and its `version` did not: {'; '.join(wrong)}. Where they were "
            f"meant to change, `version` must be raised in jepa_sweep/systems; then {RENEW}."
        )
    return ""


def differences(kept: Golden, now: Golden) -> list[str]:
    """One phrase for every column that is not the one kept, up to rounding."""
    steep = kept.get("trajectories.condition", [])  # relative change of w per relative change of t
    out = []
    for column in [key for key in {**kept, **now} if "." in key]:
        ours, theirs = kept.get(column), now.get(column)
        if ours is None or theirs is None or len(ours) != len(theirs):
            out.append(f"{column} has {_rows(theirs)}, not {_rows(ours)}")
            continue
        for row, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            bound = ROUNDING * (abs(a) if isinstance(a, float) else 0)
            if column.endswith(".relative_difference"):  # the rounding is that of the two which differ
                bound = ROUNDING
            elif steep and column in ("trajectories.w", "trajectories.w_exact", "trajectories.condition"):
                bound *= max(1.0, steep[row])
            if a != b and not (isinstance(a, float) and isinstance(b, float) and abs(a - b) <= bound):
                out.append(f"{column} of row {row} is {b!r}, not {a!r}")
                break
    return out


def _rows(values: list | None) -> str:
    return "no values" if values is None else f"{len(values)} values"


def _renew() -> int:
    """Write what is out of date; the exit code."""
    refused = 0
    for name in SWEEPS:
        path = DATA / f"{name}.json"
        kept = read(name) if path.exists() else {"spec": "", "version": 0}
        with tempfile.TemporaryDirectory() as folder:
            now = made(name, Path(folder) / "run")
        problem = trouble(name, kept, now)
        if problem and (now["spec"], now["version"]) == (kept["spec"], kept["version"]):
            refused = 1
            print(f"{name}: refused. {problem}")
        elif problem:
            path.parent.mkdir(exist_ok=True)
            lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in now.items())
            path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
            print(f"{name}: written.")
        else:
            print(f"{name}: as it was.")
    return refused


if __name__ == "__main__":
    sys.exit(_renew())
