"""Where a run stands, and how it goes on, from its records alone."""

import pytest
from conftest import TINY

import jepa_sweep as js
from jepa_sweep.running import following, job, plan
from jepa_sweep.running.following import follow
from jepa_sweep.running.opening import open_for
from jepa_sweep.running.plan import Intervals
from jepa_sweep.running.standing import Records
from jepa_sweep.store import table
from jepa_sweep.store.records import Claim
from jepa_sweep.store.writer import Writer

EXACT = {**TINY, "solver": {"method": "exact"}}
MORE = {**EXACT, "axes": {**EXACT["axes"], "eps": [1e-4, 1e-3, 1e-2]}}
OTHER = {**EXACT, "axes": {**EXACT["axes"], "eps": [1e-3, 1e-2, 2e-2]}}
POINTS = 72


def standing(path):
    return Records(js.Store(path).reader).look()


def part(path, spec=EXACT, shard="0/3"):
    return js.run(js.Sweep(**spec), path, chunk_points=6, shard=shard)


def test_a_part_of_a_run_and_all_of_it(tmp_path):
    store = part(tmp_path)
    now = standing(tmp_path)
    assert (now.done, now.asked, now.failed, now.unfinished) == (len(store.points()), POINTS, 0, 0)
    assert not now.complete
    assert now.bytes == store.overview().bytes
    part(tmp_path, shard=None)
    now = standing(tmp_path)
    assert (now.done, now.asked, now.complete) == (POINTS, POINTS, True)


def test_points_that_two_specs_ask_for_count_once(tmp_path):
    """Both lack the points of eps = 1e-2; the first has a third of its own, the second one more."""
    part(tmp_path, MORE)
    store = part(tmp_path, OTHER, shard="0/2")
    now = standing(tmp_path)
    every = 4 * POINTS // 2  # of four values of eps
    assert now.done == len(store.points())
    assert now.asked == every
    assert sum(spec["missing"] for spec in now.specs) > now.asked - now.done
    for spec in (MORE, OTHER):
        js.run(js.Sweep(**spec), tmp_path)
    assert (standing(tmp_path).done, standing(tmp_path).complete) == (every, True)


def test_what_two_specs_that_have_begun_lack_is_looked_at_in_pieces(tmp_path, monkeypatch):
    for spec in (MORE, OTHER):
        sweep = js.Sweep(**spec)
        open_for(sweep, tmp_path).add_spec(sweep.to_toml())
    whole, longest, real = standing(tmp_path), [0], plan.fresh

    def fresh(grid, index, others):
        longest.append(len(index))
        return real(grid, index, others)

    monkeypatch.setattr(plan, "fresh", fresh)
    monkeypatch.setattr(plan, "PIECE", 5)
    assert standing(tmp_path) == whole
    assert whole.asked == 4 * POINTS // 2
    assert 0 < max(longest) <= 5


def test_points_that_were_tried_again_count_once(tmp_path):
    spec = {**TINY, "measure": {"p": [0.5, 0.9]}, "solver": {"method": "dopri8", "max_steps": 12}}
    store = js.run(js.Sweep(**spec), tmp_path, chunk_points=12)
    failed = store.rows("failures")
    assert (standing(tmp_path).done, standing(tmp_path).failed) == (2 * POINTS, failed)
    js.retry(store, max_steps=13)
    left = js.Store(tmp_path).rows("failures")
    assert 0 < left < failed
    assert (standing(tmp_path).done, standing(tmp_path).failed) == (2 * POINTS, left)
    js.retry(js.Store(tmp_path), max_steps=1000)
    assert (standing(tmp_path).done, standing(tmp_path).failed) == (2 * POINTS, 0)


def test_what_is_claimed_is_asked_for_and_not_there(tmp_path):
    store = part(tmp_path)
    before = standing(tmp_path)
    digest = next(iter(store.reader.log.claims().values())).spec
    held = {(c.start, c.stop) for c in store.reader.log.claims().values()}
    free = next(start for start in range(0, POINTS, 6) if (start, start + 6) not in held)
    assert Writer(store.reader).claim(Claim(digest, free, free + 6), store.reader.log.claims())
    now = standing(tmp_path)
    assert (now.done, now.asked, now.unfinished) == (before.done, POINTS, 1)


def test_what_is_claimed_while_it_looks_is_not_there_yet(tmp_path, monkeypatch):
    store = part(tmp_path).reader
    real = job.visited

    def visited(*given):
        claims = store.log.claims()
        digest = next(iter(claims.values())).spec
        for start, stop in Intervals(piece for claim in claims.values() for piece in claim.pieces).gaps(0, POINTS):
            assert Writer(store).claim(Claim(digest, start, stop), store.log.claims())
        return real(*given)

    monkeypatch.setattr(job, "visited", visited)
    now = Records(store).look()
    assert (now.done, now.asked, now.complete) == (POINTS // 3, POINTS, False)


def test_what_is_missing_is_found_again_only_when_there_are_claims_or_specs_that_are_new(tmp_path, monkeypatch):
    part(tmp_path)
    records = Records(js.Store(tmp_path).reader)
    first, planned, real = records.look(), [], plan.missing
    monkeypatch.setattr(plan, "missing", lambda *given: planned.append(given) or real(*given))
    assert (records.look(), len(planned)) == (first, 0)
    part(tmp_path, shard="1/3")
    assert records.look().done > first.done
    assert len(planned) == 1
    Writer(records.store).add_spec(js.Sweep(**MORE).to_toml())
    assert records.look().asked > first.asked
    assert len(planned) == 1 + 2


class Clock:
    """Time that passes only while somebody waits; `meanwhile` is what happens then."""

    def __init__(self, *meanwhile):
        self.now, self.waits, self._meanwhile = 0.0, [], list(meanwhile)

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds
        self._meanwhile.pop(0)()


def test_a_run_is_followed_until_it_is_complete(tmp_path):
    part(tmp_path, shard="0/4")
    first, second, last = (lambda i=i: part(tmp_path, shard=f"{i}/4") for i in (1, 2, 3))
    clock = Clock(first, second, lambda: None, last)
    seen = list(follow(js.Store(tmp_path).reader, 2.0, clock.wait, clock))
    done = [followed.standing.done for followed in seen]
    assert done[0] == POINTS / 4
    assert done[2] == done[3]
    assert done == sorted(done)
    assert [followed.standing.complete for followed in seen] == [False] * 4 + [True]
    assert clock.waits == [2.0] * 4
    assert seen[0].points_per_second is None  # nobody is at work, and nothing has come since
    assert seen[1].points_per_second == (done[1] - done[0]) / 2
    assert seen[3].points_per_second == (done[2] - done[0]) / 4
    assert seen[3].seconds_left == pytest.approx((POINTS - done[3]) / seen[3].points_per_second)


def test_before_anything_has_come_the_records_say_how_fast_it_goes(tmp_path):
    part(tmp_path)
    now = standing(tmp_path)
    one = {"writer": "a", "chunks": 1, "points": 600, "seconds": 2.0, "computing": 1}
    others = [one | {"seconds": 3.0}, one | {"computing": 0}, one | {"points": 0, "seconds": 0.0}]
    assert following._rate([(0.0, 24)], now._replace(writers=[one, *others])) == 300 + 200
    assert following._rate([(0.0, 24)], now) is None


def test_a_look_reads_only_what_is_new(tmp_path, monkeypatch):
    part(tmp_path)
    records = Records(js.Store(tmp_path).reader)
    first = records.look()
    read = []
    location = records.store.location
    real = location.read
    monkeypatch.setattr(location, "read", lambda name, *most: read.append(name) or real(name, *most))
    monkeypatch.setattr(table, "rows", lambda *_: pytest.fail("no table is to be read"))
    assert records.look() == first
    assert read == []
    before = {commit.number for commit in records.store.log.commits()}
    part(tmp_path, shard="1/3")
    records.look()
    new = {commit.number for commit in records.store.log.commits()} - before
    assert sorted(read) == [f"commits/{number}.json" for number in sorted(new)]


def test_a_slow_file_system_is_looked_at_less_often(tmp_path):
    part(tmp_path)
    clock = Clock(lambda: part(tmp_path, shard=None))
    ticks = iter([0.0, 3.0, 40.0])
    list(follow(js.Store(tmp_path).reader, 2.0, clock.wait, lambda: next(ticks)))
    assert clock.waits == [following.REST * 3.0]
