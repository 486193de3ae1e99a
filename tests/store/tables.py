"""What the tests of the store share: tables as a user reads them, and files as they lie on the disk."""

import pandas as pd
from conftest import KEYS

PARTS = ("points/000002.parquet", "trajectories/000002.parquet", "commits/000002.json", "claims/000002.json")


def table_of(path, name="points"):
    """A table as a user reads it, in an order that does not depend on who wrote what when."""
    frame = pd.read_parquet(path / name)
    return frame.sort_values(KEYS if name == "points" else [*KEYS[:-1], "t"]).reset_index(drop=True)


def assert_same(ours, theirs, **kwargs):
    """Equal to the last bit."""
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True, **kwargs)


def assert_same_tables(ours, theirs):
    """Points and trajectories of two runs, to the last bit."""
    for name in ("points", "trajectories"):
        assert_same(table_of(ours, name), table_of(theirs, name))


def files_of(path):
    """Name -> bytes of all there is."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def flip(path, position=None):
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3 if position is None else position] ^= 0x10
    path.write_bytes(bytes(data))
