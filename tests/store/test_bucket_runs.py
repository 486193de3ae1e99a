"""Whole runs into buckets give the tables of a run into a folder, also where requests fail."""

from concurrent.futures import ThreadPoolExecutor

import duckdb
import pytest
from bucket import LOST
from conftest import KEYS, TINY
from tables import assert_same

import jepa_sweep as js
from jepa_sweep.computing import repair
from jepa_sweep.errors import IntegrityError, StorageError
from jepa_sweep.results import Store
from jepa_sweep.running.execute import execute
from jepa_sweep.store import bucket as buckets
from jepa_sweep.store.location import DAMAGED

pytest_plugins = ["bucket_fixtures"]
EXACT = {**TINY, "solver": {"method": "exact"}}


@pytest.fixture(scope="module")
def in_folder(tmp_path_factory):
    """The points of `EXACT` as a run into a folder has them."""
    return points(js.run(js.Sweep(**EXACT), tmp_path_factory.mktemp("run"), chunk_points=16))


def points(store):
    return store.read("points").sort_values(KEYS).reset_index(drop=True)


@pytest.mark.long
def test_a_run_into_a_bucket_is_that_into_a_folder(bucket, service, in_folder):
    first = execute(js.Sweep(**EXACT), bucket.path, chunk_points=16)
    assert first.computed == 72
    assert_same(points(first.store), in_folder)
    assert_same(points(Store(bucket.path)), in_folder)
    before = bucket.walk()
    again = execute(js.Sweep(**EXACT), f"{bucket.path}/")
    assert again.computed == 0
    assert bucket.walk() == before
    assert not [name for name in before if name.startswith(".")]
    assert Store(bucket.path).damage() == {}
    assert Store(bucket.path).strays() == []
    assert Store(bucket.path).reader.title == bucket.path.split("/")[-1]


@pytest.mark.long
@pytest.mark.parametrize("bucket", ["memory", "s3"], indirect=True)
def test_what_flips_in_a_bucket_is_found_and_mended(bucket, in_folder):
    store = js.run(js.Sweep(**EXACT), bucket.path, chunk_points=16)
    names = ("points/000002.parquet", "commits/000003.json")
    for name in names:
        data = bytearray(bucket.read(name))
        data[len(data) // 3] ^= 0x10
        buckets.obstore.put(bucket._store, name, bytes(data))
    found = Store(bucket.path).damage()
    assert list(found) == ["000002", "000003"]
    assert all(bucket.where(name) in found[name[-14:-8] if "points" in name else name[8:14]][0] for name in names)
    with pytest.raises(IntegrityError, match=r"is damaged.*repair"):
        Store(bucket.path).points()
    assert list(repair(Store(bucket.path))) == ["000002", "000003"]
    store = Store(bucket.path)
    assert store.damage() == {}
    assert_same(points(store), in_folder)
    assert len(bucket.names(DAMAGED)) == 6  # record, points and claim of both


def write_together(url, sizes):
    """Runs of one sweep into one place at the same time, each with chunks of its own size."""
    with ThreadPoolExecutor(len(sizes)) as pool:
        wait = [pool.submit(js.run, js.Sweep(**EXACT), url, chunk_points=size) for size in sizes]
        return [one.result() for one in wait]


@pytest.mark.long
@pytest.mark.parametrize("bucket", ["memory", "s3"], indirect=True)
def test_several_runs_into_one_bucket_store_every_point_once(bucket, in_folder):
    write_together(bucket.path, (12, 18))
    assert_same(points(Store(bucket.path)), in_folder)
    assert Store(bucket.path).damage() == {}


@pytest.mark.wait
def test_several_runs_store_every_point_once_whatever_fails(remote, service, in_folder):
    service.fail_at_random(1, {"PUT": (0.4, (*LOST, *LOST[:3])), "GET": (0.1, ("busy", "cut short"))})
    write_together(remote.path, (12, 18))
    assert {one.fault for one in service.seen} >= {*LOST[:3], "cut short"}  # in some order, as the threads come
    service.heal()
    assert_same(points(Store(remote.path)), in_folder)
    assert Store(remote.path).damage() == {}


@pytest.mark.wait
@pytest.mark.parametrize("remote", ["s3"], indirect=True)
def test_a_run_that_lost_its_bucket_goes_on_where_it_stopped(remote, service, in_folder):
    def choose(method, path):
        down.extend([True] if method == "PUT" and path.endswith("points/000003.parquet") else [])
        return "done, then busy" if down else None

    down = []
    service.choose = choose
    with pytest.raises(StorageError, match="the service is busy or out of order; wait a little, and run the same"):
        js.run(js.Sweep(**EXACT), remote.path, chunk_points=12)
    service.heal()
    report = execute(js.Sweep(**EXACT), remote.path, chunk_points=12)
    assert 0 < report.computed < 72
    assert_same(points(report.store), in_folder)
    assert report.store.damage() == {}


@pytest.mark.long
@pytest.mark.parametrize("bucket", ["s3", "gs"], indirect=True)
def test_runs_in_a_bucket_are_listed(bucket):
    from jepa_sweep.running.listing import below, listed

    for name in ("one", "deep/two"):
        js.run(js.Sweep(**EXACT), f"{bucket.path}/{name}")
    found = [listed(path) for path in below(f"{bucket.path}/")]
    assert [run["run"] for run in found] == [f"{bucket.path}/{name}" for name in ("deep/two", "one")]
    assert [(run["done"], run["complete"]) for run in found] == [(72, True)] * 2


@pytest.mark.parametrize("bucket", ["memory", "s3"], indirect=True)
def test_a_run_in_a_bucket_is_exported_to_files_here_and_its_card_beside_it(bucket, in_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = js.run(js.Sweep(**EXACT), bucket.path, chunk_points=16)
    path = store.export("duckdb")
    assert path.resolve() == tmp_path / f"{store.reader.title}.duckdb"
    with duckdb.connect(path, read_only=True) as base:
        assert_same(base.table("points").df().sort_values(KEYS).reset_index(drop=True), in_folder)
    assert store.to_xarray().t_exact.notnull().sum() == 72
    assert store.export("card") == f"{bucket.path}/README.md"
    assert b"# " + store.reader.title.encode() in bucket.read("README.md")
    with pytest.raises(js.SpecError, match=r"README.md must not be there yet"):
        store.export("card")
    assert store.strays() == []
