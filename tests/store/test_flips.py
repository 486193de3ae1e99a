"""One flipped bit anywhere in any kind of file: it is found, and no reader returns a wrong value."""

import numpy as np
import pandas as pd
import pytest
from conftest import TINY
from tables import files_of

import jepa_sweep as js
from jepa_sweep.errors import IntegrityError, JepaSweepError
from jepa_sweep.results import Store

FLIPS = 24  # positions tried in each file
FEW_STEPS = {
    **TINY,
    "measure": {"p": [0.5, 0.9], "trajectories": {"samples": 4, "until": 1.5}},
    "solver": {"max_steps": 14},
}
KINDS = {
    "store.json": "store.json",
    "spec": "specs/1-*.toml",
    "environment": "environment/*.json",
    "claim": "claims/000002.json",
    "commit": "commits/000002.json",
    "points": "points/000002.parquet",
    "trajectories": "trajectories/000002.parquet",
    "failures": "failures/*.parquet",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with files of every kind."""
    return js.run(js.Sweep(**FEW_STEPS), tmp_path_factory.mktemp("flips") / "run", chunk_points=36)


def readings(store):
    """Ways to read a store."""
    yield lambda: store.points()
    yield lambda: store.points(columns=["lam", "t_numeric"], filters=[("rho", "==", 1.0)])
    yield lambda: store.points(filters=[("lam", ">", 1.0), ("L", "==", 3)])
    yield lambda: store.trajectories(columns=["w", "status"])
    yield lambda: store.failures()
    yield lambda: pd.Series(store.overview()._asdict()).drop("worst")


def answers(path):
    """The answer to each, or the error it raises."""
    try:
        store = Store(path)
    except JepaSweepError as error:
        return [error]
    out = []
    for ask in readings(store):
        try:
            out.append(ask())
        except JepaSweepError as error:
            out.append(error)
    return out


def found(path):
    """What `verify` finds."""
    try:
        store = Store(path)
        return [*(p for listed in store.damage().values() for p in listed), *store.lost_notes()]
    except IntegrityError as error:
        return [str(error)]


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_is_missed_or_believed(tmp_path, whole, kind):
    path = tmp_path / "run"
    for name, data in files_of(whole.path).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    truth = answers(path)
    [*_, file] = sorted(path.glob(KINDS[kind]))
    data = file.read_bytes()
    rng = np.random.default_rng(len(kind))
    # The ends of a Parquet file say how to read all the rest.
    places = {*rng.choice(len(data), min(FLIPS, len(data)), replace=False), 0, len(data) - 1, len(data) - 6}
    for place in sorted(places):
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.integers(8)
        file.write_bytes(bytes(flipped))
        assert any(file.name in problem for problem in found(path)), f"bit flipped at {place}"
        for told, true in zip(answers(path), truth, strict=False):
            if isinstance(told, JepaSweepError):
                assert file.name in str(told)
                assert told.exit_code == 5
            else:
                assert told.equals(true), f"wrong answer with a bit flipped at {place}"
    file.write_bytes(data)
    assert found(path) == []


@pytest.mark.long
def test_a_chunk_without_a_record_is_believed_no_more(tmp_path, whole):
    """Its writer died; a bit flips before the next run finishes the chunk."""
    path = tmp_path / "run"
    for name, data in files_of(whole.path).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    (path / "commits/000002.json").unlink()
    truth = whole.points()
    rng = np.random.default_rng(3)
    for name in ("claims/000002.json", "points/000002.parquet", "trajectories/000002.parquet"):
        file = path / name
        data = file.read_bytes()
        for place in rng.choice(len(data), FLIPS, replace=False):
            if data[place : place + 1].isdigit() and b"arrow version" in data[place - 32 : place]:
                continue  # it may then say that another release wrote it, and nothing else about it is wrong
            flipped = bytearray(data)
            flipped[place] ^= 1 << rng.integers(8)
            file.write_bytes(bytes(flipped))
            problems = found(path)
            assert problems, f"bit flipped at {place}"
            assert all(file.name in problem for problem in problems)
        file.write_bytes(data)
    flipped = bytearray(data)
    flipped[len(data) // 3] ^= 1
    file.write_bytes(bytes(flipped))
    assert js.run(js.Sweep(**FEW_STEPS), path).damage() == {}
    assert [aside.name[:24] for aside in (path / ".damaged").iterdir()] == ["trajectories-000002.parq"]
    pd.testing.assert_frame_equal(
        Store(path).points().sort_values(list(truth)).reset_index(drop=True),
        truth.sort_values(list(truth)).reset_index(drop=True),
    )
