"""A store says in a few lines what it holds: the same figures as its tables, whatever state it is in."""

import html.parser

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import columns_of, paths_of
from tables import PARTS, flip

from jepa_sweep.results import Store
from jepa_sweep.running.summary import status_of
from jepa_sweep.store import overview
from jepa_sweep.store.folder import Folder
from jepa_sweep.store.records import Claim, Work
from jepa_sweep.store.schema import Column
from jepa_sweep.store.writer import Writer

FROZEN = {"system": "reduced", "version": 1, "solver": {"method": "dopri8", "rtol": 1e-8}, "trajectories": None}
PARAMETERS = {
    "critical_times": (Column("L", "integer", "", "depth"), Column("eps", "exact", "1", "start")),
    "networks": (Column("layout", "text", "", "order"), Column("eta", "exact", "time", "step")),
    "estimates": (Column("gamma_first", "exact", "1", "correlation"), Column("seed", "integer", "", "draw")),
}
SYSTEMS = {"critical_times": "reduced", "networks": "training", "estimates": "temporal"}
STATUSES = ["learned", "not_reached", "above_threshold"]


def column(field, count, rng):
    """Values of one column: few of the parameters, nulls among what was measured."""
    if field.name == "objective":
        return pa.array(np.full(count, rng.choice(["jepa", "mae"])), pa.string())
    if field.name == "status":
        return pa.array(rng.choice(STATUSES, count, p=[0.7, 0.2, 0.1]), pa.string())
    if pa.types.is_string(field.type):
        return pa.array(rng.choice(["same", "opposite"], count), pa.string())
    if pa.types.is_integer(field.type):
        return pa.array(rng.choice([1, 2, 3, 5, 8], count), field.type)
    if field.name == "relative_difference":
        return pa.array(10 ** rng.uniform(-14, -9, count), mask=rng.random(count) < 0.2)
    return pa.array(rng.choice(np.geomspace(1e-3, 10.0, 8), count), field.type)


def rows_of(store, name, count, rng, **given):
    fields = store.schema(name)
    arrays = [given[f.name] if f.name in given else column(f, count, rng) for f in fields]
    return pa.Table.from_arrays(arrays, schema=fields.remove_metadata())


def add(store, rng, points=60, failures=5, others=90, **given):
    """One more committed chunk; `given` are columns of its points."""
    writer, claim = Writer(store.reader), Claim("0" * 64, 0, points + failures)
    counts = dict.fromkeys(store.tables, others) | {"failures": failures}
    rows = {name: rows_of(store, name, count, rng) for name, count in counts.items() if name != "points"}
    rows["points"] = rows_of(store, "points", points, rng, **given)
    writer.commit(writer.claim(claim, writer.reader.log.claims()), claim, rows, "00000000", Work(seconds=1.0))


def made(path, layout="critical_times", chunks=3, frozen=FROZEN, **given):
    """A store with numbers drawn at random, which needs no engine."""
    parameters = PARAMETERS[layout]
    tables, names = columns_of(SYSTEMS[layout], parameters), [c.name for c in parameters]
    store = Store(Writer.create(path, frozen, tables, names, "float64", "paper").reader)
    rng = np.random.default_rng(len(layout))
    for _ in range(chunks):
        add(store, rng, **given)
    return store


def from_pandas(store):
    """The figures of an overview, each computed in the plain way."""
    frames = {name: pd.concat(map(pd.read_parquet, paths_of(store, name))) for name in store.tables if store.rows(name)}
    points = pd.concat([frames[name] for name in ("points", "failures") if name in frames])
    names = ["objective", *(c.name for c in store.parameters), *(["p"] if "p" in points else [])]
    worst = [f["relative_difference"].max() for f in frames.values() if "relative_difference" in f]
    return {
        "rows": {name: len(frames.get(name, ())) for name in store.tables},
        "bytes": sum(path.stat().st_size for name in store.tables for path in paths_of(store, name)),
        "axes": {n: (points[n].min(), points[n].max(), frozenset(points[n])) for n in names},
        "statuses": points["status"].value_counts().to_dict(),
        "worst": worst[0] if worst else None,
    }


def figures(store):
    held = store.overview()
    return {name: getattr(held, name) for name in ("rows", "bytes", "axes", "statuses", "worst")}


class Cells(html.parser.HTMLParser):
    """Parses a page: its texts, and that every tag is closed."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.open = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize("layout", PARAMETERS)
def test_figures_are_those_of_the_tables(tmp_path, layout):
    store = made(tmp_path, layout)
    assert figures(store) == from_pandas(store)
    assert (store.overview().worst is None) == (layout == "estimates")
    assert figures(Store(tmp_path)) == figures(store)


def test_a_run_prints_itself(stored):
    assert figures(stored) == from_pandas(stored)
    size = stored.overview().bytes / 1000
    head, *lines = repr(stored).splitlines()
    assert head == f"Store({str(stored.path)!r}): 72 points, 288 samples of trajectories, 0 failures, {size:.1f} kB"
    assert lines[:-1] == [
        "  reduced, dopri8 at rtol 1e-08, float64, paper time",
        "  objective   jepa, mae",
        "  lam         0.5, 2",
        "  rho         0.25, 0.5, 1",
        "  L           1, 2, 3",
        "  eps         0.0001, 0.001",
        "  p           0.5",
        "  status      learned 72",
    ]
    worst = stored.points().relative_difference.max()
    assert lines[-1] == f"  difference  {worst:.1e} at worst, relative to the closed form"
    assert status_of(stored.path)["statuses"] == {"learned": 72}


def test_the_notebook_shows_the_same(stored):
    page = stored._repr_html_()
    words = " ".join(Cells(page).texts)
    assert all(word in words for line in repr(stored).splitlines()[1:] for word in line.split())
    assert "color" not in page  # it takes those of the notebook's theme
    assert "http" not in page


@pytest.mark.parametrize("layout", PARAMETERS)
def test_samples_are_not_counted_as_what_they_sample(tmp_path, layout):
    """48 rows of trajectories are samples of fewer of them; likewise those of losses."""
    store = made(tmp_path, layout)
    for name, count in store.overview().rows.items():
        counted = f" {count:,} {'samples of ' if name in ('trajectories', 'losses') else ''}{name},"
        assert counted in repr(store)
        assert counted in store._repr_html_()


def test_many_values_are_told_by_their_number_and_range(tmp_path):
    eps = np.linspace(0.0, 1.0, 700)
    given = {"points": 700, "failures": 0, "eps": pa.array(eps)}
    store = made(tmp_path, chunks=2, **given)
    assert "eps         0 to 1 (700 values)" in repr(store)
    add(store, np.random.default_rng(), points=700, failures=0, eps=pa.array(eps - 2.0))
    assert store.overview().axes["eps"] == (-2.0, 1.0, None)
    assert f"eps         -2 to 1 (more than {overview.MANY:,} values)" in repr(store)


def test_an_empty_store_prints_itself(tmp_path):
    store = made(tmp_path, chunks=0)
    assert repr(store).splitlines()[0].endswith(": 0 points, 0 samples of trajectories, 0 failures, 0 B")
    assert len(repr(store).splitlines()) == 2
    assert "0 points" in store._repr_html_()


def test_a_store_of_nothing_but_failures_prints_itself(tmp_path):
    store = made(tmp_path, chunks=1, points=0, failures=40, others=0)
    assert figures(store)["rows"] == {"points": 0, "trajectories": 0, "failures": 40}
    failures = store.failures()
    assert figures(store)["statuses"] == failures.status.value_counts().to_dict()
    assert store.overview().axes["eps"].distinct == set(failures.eps)
    assert store.overview().worst is None
    assert "difference" not in repr(store)


def test_settings_without_a_tolerance(tmp_path):
    store = made(tmp_path, "networks", frozen={**FROZEN, "system": "training", "solver": {"method": "sgd"}})
    assert repr(store).splitlines()[1] == "  training, sgd, float64, paper time"


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        (PARTS[0], lambda p: p.unlink()),
        (PARTS[0], lambda p: p.write_bytes(b"")),
        (PARTS[0], lambda p: p.write_bytes(p.read_bytes()[:-20])),
        (PARTS[2], lambda p: p.write_bytes(b"{}")),
        (PARTS[2], flip),
    ],
    ids=["points-gone", "points-emptied", "points-truncated", "commit-emptied", "commit-flipped"],
)
def test_damage_is_said_not_raised(tmp_path, part, fault):
    made(tmp_path)
    fault(tmp_path / part)
    store = Store(tmp_path)
    head, *lines = repr(store).splitlines()
    assert part in head
    assert lines == ["  reduced, dopri8 at rtol 1e-08, float64, paper time"]
    assert part in " ".join(Cells(store._repr_html_()).texts)


def test_an_error_without_words_is_said_by_its_name(tmp_path, monkeypatch):
    store = made(tmp_path)

    def refuse():
        raise MemoryError

    monkeypatch.setattr(store.reader, "overview", refuse)
    assert repr(store).splitlines()[0].endswith(": MemoryError")


def test_chunks_without_a_commit_record_do_not_count(tmp_path):
    made(tmp_path)
    (tmp_path / PARTS[2]).unlink()
    assert "120 points" in repr(Store(tmp_path))


def test_a_flipped_bit_in_a_column_that_is_read_is_found(tmp_path):
    store = made(tmp_path)
    metadata = pq.read_metadata(tmp_path / PARTS[0])
    chunk = metadata.row_group(0).column(store.schema("points").get_field_index("status"))
    flip(tmp_path / PARTS[0], chunk.dictionary_page_offset + chunk.total_compressed_size - 3)
    assert "is damaged" in repr(Store(tmp_path)).splitlines()[0]


def test_paths_of_any_kind_are_printed(tmp_path):
    path = tmp_path / "λ <b>& 'runs'"
    store = made(path, chunks=1)
    assert repr(str(path)) in repr(store)
    assert str(path) in Cells(store._repr_html_()).texts
    assert "<b>" not in store._repr_html_()


def test_committed_files_are_read_once(tmp_path, monkeypatch):
    store = made(tmp_path, chunks=2)
    before = store.overview()
    opened = []
    usual = Folder.read
    monkeypatch.setattr(Folder, "read", lambda self, name, *most: opened.append(name) or usual(self, name, *most))
    assert store.overview() == before
    assert not any(name.endswith(".parquet") for name in opened)
    add(store, np.random.default_rng())
    assert store.overview().rows["points"] == 180
    assert {name for name in opened if "parquet" in name} == {"points/000003.parquet", "failures/000003.parquet"}
    Writer(store.reader).set_aside("000003")  # whose number the next chunk takes
    assert store.overview() == before
