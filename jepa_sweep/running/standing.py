"""How far a run is: what its specs ask, what is there, who is at it. Its records say so; no table is read."""

from typing import Any, NamedTuple

from jepa_sweep.running import job, plan
from jepa_sweep.running.plan import Intervals, Visited
from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.records import Claim, Commit
from jepa_sweep.systems import registry
from jepa_sweep.systems.system import System


class Standing(NamedTuple):
    """Where a run stands."""

    done: int  # points that are there, failed ones too, whichever spec asked for them
    asked: int  # points that are there or missing, each counted once
    failed: int
    bytes: int
    chunks: int
    unfinished: int  # chunks that are claimed and not committed
    last: str | None  # when the last chunk was committed, by the clock of who did
    specs: list[dict[str, Any]]
    writers: list[dict[str, Any]]

    @property
    def complete(self) -> bool:
        """True if nothing of it is left to do."""
        return self.done == self.asked and not self.unfinished

    @property
    def working(self) -> list[dict[str, Any]]:
        """The writers that are computing something."""
        return [writer for writer in self.writers if writer["computing"]]

    def facts(self) -> dict[str, Any]:
        """All of it in one flat dict, as `status` has it."""
        return {
            "done": self.done,
            "asked": self.asked,
            "complete": self.complete,
            "failed": self.failed,
            "bytes": self.bytes,
            "commits": self.chunks,
            "unfinished_commits": self.unfinished,
            "last_commit": self.last,
            "writers": self.writers,
            "specs": self.specs,
        }


class Records:
    """The records of a store, to be looked at again and again: each is read once, and what is missing is found once."""

    def __init__(self, store: Reader, system: System | None = None) -> None:
        """`system` is that of the store, found by default: of a user's own the file that the store keeps is run."""
        self.store, self._system = store, system or registry.of_store(store)
        self._names: list[str] = []
        self._sweeps: dict[str, Sweep] = {}
        self._grids: dict[str, Grid] = {}
        self._planned_for: tuple[frozenset[str], frozenset[str]] | None = None  # numbers of claims, and specs
        self._planned: tuple[list[dict[str, Any]], int] = [], 0  # what they lack

    def look(self) -> Standing:
        """Where it stands now.

        Raises:
            IntegrityError: a record or a spec is damaged.
        """
        claims = self.store.log.claims()
        commits = [commit for commit in self.store.log.commits() if commit.number in claims]  # those of that moment
        committed = {commit.number for commit in commits}
        pending = [claim for number, claim in claims.items() if number not in committed]
        self._learn_specs()
        done, failed = counted(commits)
        planned_for = frozenset(claims), frozenset(self._sweeps)
        if planned_for != self._planned_for:
            self._planned, self._planned_for = self._missing(claims), planned_for
        specs, missing = self._planned
        taken = sum(stop - start for claim in pending if claim.attempt == 1 for start, stop in claim.pieces)
        return Standing(
            done=done,
            asked=done + taken + missing,
            failed=failed,
            bytes=sum(commit.bytes for commit in commits),
            chunks=len(commits),
            unfinished=len(pending),
            last=commits[-1].created if commits else None,
            specs=specs,
            writers=_writers(self.store, commits),
        )

    def _learn_specs(self) -> None:
        names = self.store.location.names("specs", ".toml")
        if names != self._names:
            for digest, text in self.store.specs().items():
                if digest not in self._sweeps:
                    self._sweeps[digest] = job.kept(self.store, self._system, text)
                    self._grids[digest] = Grid(self._sweeps[digest])
            self._names = names

    def _missing(self, claims: dict[str, Claim]) -> tuple[list[dict[str, Any]], int]:
        """What each spec lacks, and how many points all of them lack together."""
        visited = job.visited(self.store, self._system, self._grids, claims)
        specs, total, earlier = [], 0, list[Visited]()
        for digest, sweep in self._sweeps.items():
            grid, missing = self._grids[digest], 0
            others = [theirs for other, theirs in visited.items() if other != digest]
            for index in plan.missing(grid, job.done(claims, digest).gaps(0, grid.size), others):
                missing += len(index)
                total += plan.count_fresh(grid, index, earlier)
            specs.append({"spec": digest[:8], "name": sweep.name, "points": grid.unique, "missing": missing})
            if missing:
                earlier.append(Visited(grid, Intervals([(0, grid.size)])))
        return specs, total


def counted(commits: list[Commit]) -> tuple[int, int]:
    """How many points are there, and how many of them failed; a point that was tried again counts once."""
    done = failed = 0
    for commit in commits:
        learned, lost = commit.rows("points"), commit.rows("failures")
        again = commit.claim.attempt > 1
        done, failed = (done, failed - learned) if again else (done + learned + lost, failed + lost)
    return done, failed


def _writers(store: Reader, commits: list[Commit]) -> list[dict[str, Any]]:
    """Who has written here, the latest last, and what is being computed; by the clocks of their own machines."""
    found: dict[str, dict[str, Any]] = {}
    for commit in commits:
        name = commit.claim.writer or commit.host
        before = found.pop(name, {"writer": name, "chunks": 0, "points": 0, "seconds": 0.0, "computing": 0})
        before["chunks"] += 1
        before["points"] += commit.rows("points") + commit.rows("failures")
        before["seconds"] += commit.work.seconds
        found[name] = before | {"last_commit": commit.created}
    stored = {(c.claim.spec[:8], c.claim.start, c.claim.stop) for c in commits}  # so its mark is of a machine that died
    for mark in store.log.announced():
        if mark[1:] in stored:
            continue
        new = {"writer": mark.writer, "chunks": 0, "points": 0, "seconds": 0.0, "computing": 0, "last_commit": None}
        found.setdefault(mark.writer, new)["computing"] += 1
    return list(found.values())
