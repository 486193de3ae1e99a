"""The chunks that a run has still to do, while its own writers and those of other runs store some of them."""

from collections.abc import Callable, Iterable, Iterator

from jepa_sweep.running.plan import Chunk
from jepa_sweep.spec.grid import Grid
from jepa_sweep.store.log import Log
from jepa_sweep.store.records import Claim


class Queue:
    """Chunks in the order in which they are to be done."""

    def __init__(self, grid: Grid, chunks: Iterable[Chunk], log: Log, digest: str, writer: str = "") -> None:
        """`digest` is that of the spec; the marks of `writer` itself do not count."""
        self.left = {(chunk.start, chunk.stop): chunk for chunk in chunks}
        self.total = grid.unique  # points of the spec
        self._points = {where: grid.unique_in(*where) for where in self.left}  # of chunks not stored yet, taken or not
        self.done = self.total - sum(self._points.values())
        self._log, self._digest, self._writer = log, digest, writer
        self._seen: set[str] = set()  # numbers of claims
        self._busy: set[tuple[int, int]] = set()  # with other writers

    def __iter__(self) -> Iterator[Chunk]:
        while True:
            self.look()
            chunk = self.take()
            if chunk is None:
                return
            yield chunk

    def sort(self, cost: Callable[[Chunk], float]) -> None:
        """Put the most expensive chunks first."""
        self.left = dict(sorted(self.left.items(), key=lambda item: -cost(item[1])))

    def look(self) -> None:
        """Take out chunks that others have stored since, and see what they are computing."""
        claims = self._log.claims()
        for claim in (claims[number] for number in claims.keys() - self._seen):
            ours = claim.spec == self._digest and not claim.absent
            if ours and (chunk := self.left.pop((claim.start, claim.stop), None)):
                self.stored(chunk)
        self._seen = set(claims)
        marks = self._log.announced()
        self._busy = {(m.start, m.stop) for m in marks if m.spec == self._digest[:8] and m.writer != self._writer}

    def take(self, fits: Callable[[Chunk], bool] = lambda _: True) -> Chunk | None:
        """The first chunk that fits and that no one else is computing, else the first that fits; None without any."""
        fitting = (where for where, chunk in self.left.items() if fits(chunk))
        first = next(fitting, None)
        if first is None:
            return None
        free = first if first not in self._busy else next((w for w in fitting if w not in self._busy), first)
        return self.left.pop(free)

    def put_back(self, chunk: Chunk) -> None:
        """A chunk that was taken and not done becomes the last."""
        self.left[chunk.start, chunk.stop] = chunk

    def stored(self, chunk: Chunk | Claim) -> None:
        """A chunk is in the store; it counts once, however often this is said."""
        self.done += self._points.pop((chunk.start, chunk.stop), 0)
