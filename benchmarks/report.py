"""What was measured, as tables in Markdown and as a work-precision figure."""

import datetime
import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path

from benchmarks.common import Row, cores
from benchmarks.ways import odeint
from benchmarks.ways.ours import ENGINE

TARGET = 1e-8
PACKAGES = ("numpy", "jax", "jaxlib", "diffrax", "scipy", "heyoka", "numba", "torch", "torchode")


def versions() -> str:
    """The packages measured, those which are installed."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    if not odeint.missing():
        found.append(f"Boost {odeint.version()}")
    return ", ".join(found)


def processor() -> str:
    """Its name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> str:
    """Processor and cores."""
    return f"{processor()}, {cores()} cores, {platform.system()}, Python {platform.python_version()}"


def table(rows: list[Row]) -> str:
    """Every row, by way and tolerance."""
    lines = [
        "| way | rtol | points | compile s | points/s | worst error | median error |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in sorted(rows, key=lambda r: (r.way, -r.rtol)):
        rtol = f"{r.rtol:.0e}" if r.rtol else ""
        numbers = f"{r.points:,} | {r.compile_seconds:.1f} | {r.points_per_second:,.0f}"
        lines.append(f"| {r.way} | {rtol} | {numbers} | {r.worst_error:.1e} | {r.median_error:.1e} |")
    return "\n".join(lines)


def best(rows: list[Row], target: float = TARGET) -> list[Row]:
    """The fastest row of each way whose worst error is at most `target`, fastest way first."""
    good = sorted((r for r in rows if r.worst_error <= target), key=lambda r: -r.points_per_second)
    return [r for i, r in enumerate(good) if r.way not in {other.way for other in good[:i]}]


def summary(rows: list[Row], target: float = TARGET) -> str:
    """The best of each way at one accuracy, and how many times faster it is than plain diffrax."""
    chosen = best(rows, target)
    plain = max((r.points_per_second for r in chosen if r.way.startswith("diffrax")), default=float("nan"))
    lines = [
        f"| way, worst error at most {target:.0e} | rtol | worst error | points/s | / plain diffrax |",
        "|---|---|---|---|---|",
    ]
    for r in chosen:
        rtol = f"{r.rtol:.0e}" if r.rtol else ""
        ratio = f"{r.points_per_second:,.0f} | {r.points_per_second / plain:.3g}"
        lines.append(f"| {r.way} | {rtol} | {r.worst_error:.1e} | {ratio} |")
    missed = dict.fromkeys(r.way for r in rows if r.way not in {c.way for c in chosen})
    lines += [f"| {way} | | | not reached | |" for way in missed]
    return "\n".join(lines)


def report(rows: list[Row], skipped: Mapping[str, str] | None = None) -> str:
    """Machine, versions, the summary, every row, and what was left out with the reason."""
    parts = [
        f"{datetime.date.today().isoformat()}, {machine()}.\n{versions()}.",
        summary(rows),
        table(rows),
    ]
    families = {way.split()[0].rstrip(","): reason for way, reason in (skipped or {}).items()}
    parts += [f"Skipped: {family}, because {reason}." for family, reason in families.items()]
    return "\n\n".join(parts) + "\n"


def plot(rows: list[Row], path: Path) -> str:
    """Draw points a second over verified error, one line a way; what happened, in one sentence."""
    try:
        import matplotlib as mpl  # pyright: ignore[reportMissingImports]
    except ImportError:
        return "No figure, because matplotlib is not installed (the `plot` extra)."
    mpl.use("agg")
    from matplotlib import pyplot as plt  # pyright: ignore[reportMissingImports]

    figure, axes = plt.subplots(figsize=(11, 6.5), layout="constrained")
    ways = sorted({r.way for r in rows if r.rtol}, key=lambda w: -max(r.points_per_second for r in rows if r.way == w))
    families = sorted({way.split()[0] for way in ways if not way.startswith(ENGINE)})
    styles = ("-", "--", "-.", ":", (0, (1, 3)))
    used = dict.fromkeys([ENGINE, *families], 0)
    for way in ways:
        mine = sorted((r for r in rows if r.way == way), key=lambda r: -r.rtol)
        x, y = [max(r.worst_error, 1e-15) for r in mine], [r.points_per_second for r in mine]
        family = ENGINE if way.startswith(ENGINE) else way.split()[0]
        style, used[family] = styles[used[family] % len(styles)], used[family] + 1
        if family == ENGINE:
            axes.plot(x, y, color="black", linestyle=style, linewidth=2.5, marker="o", label=way, zorder=5)
        else:
            axes.plot(x, y, color=f"C{families.index(family)}", linestyle=style, marker=".", label=way)
    axes.set(xscale="log", yscale="log", ylabel="points a second")
    axes.set_xlabel("worst relative error against the closed form (more accurate to the right)")
    axes.invert_xaxis()
    axes.grid(which="major", alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", title="fastest first")
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return f"Figure: {path}"
