"""A user's own pairs: every form they may have, what is refused, the orders, and the command."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import jepa_sweep as js
from jepa_sweep.analysis import pair_files


def gaussian(count, lam, rho, seed=0):
    rng, s2 = np.random.default_rng(seed), np.asarray(lam) / rho
    x = rng.normal(size=(count, len(s2))) * np.sqrt(s2)
    return x, rho * x + rng.normal(size=x.shape) * np.sqrt(s2 * (1 - np.square(rho)))


LAM, RHO = np.array([1.2, 1.0, 0.5, -0.3]), np.array([0.4, 0.9, 0.7, -0.2])
X, Y = gaussian(20_000, LAM, RHO)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same pairs in every form a file may have."""
    here = tmp_path_factory.mktemp("pairs")
    np.save(here / "pairs.npy", np.stack([X, Y], axis=1))
    np.save(here / "x.npy", X)
    np.save(here / "y.npy", Y)
    flat = {f"{letter}{i}": values[:, i] for letter, values in (("x", X), ("y", Y)) for i in range(4)}
    pq.write_table(pa.table(flat), here / "flat.parquet", row_group_size=3001)
    pq.write_table(pa.table({"x": list(X), "y": list(Y)}), here / "lists.parquet", row_group_size=7000)
    pq.write_table(pa.table({"x": list(X)}), here / "x.parquet", row_group_size=1234)
    pq.write_table(pa.table({"y": list(Y)}), here / "y.parquet", row_group_size=4321)
    return here


@pytest.fixture(scope="module")
def found():
    return js.moments(X, Y)


@pytest.mark.parametrize(
    "names",
    [("pairs.npy",), ("x.npy", "y.npy"), ("flat.parquet",), ("lists.parquet",), ("x.parquet", "y.parquet"),
     ("x.npy", "y.parquet")],
)  # fmt: skip
def test_every_form_of_file_says_the_same(files, found, names, monkeypatch):
    monkeypatch.setattr(pair_files, "BLOCK_VALUES", 4 * 1500)
    other = js.moments(*(files / name for name in names))
    for name in ("pairs", "lam", "rho", "lam_error", "rho_error", "off_diagonal", "mixing", "asymmetry"):
        np.testing.assert_allclose(getattr(other, name), getattr(found, name), rtol=1e-9)


def test_estimates_are_within_their_errors(found):
    assert np.all(np.abs(found.lam - LAM) < 5 * found.lam_error)
    assert np.all(np.abs(found.rho - RHO) < 5 * found.rho_error)
    assert "20,000 pairs of 4 features" in repr(found)


def test_one_dimension_and_small_types_are_welcome():
    single = js.moments(X[:, 0], Y[:, 0])
    assert single.rho == pytest.approx(np.cov(X[:, 0], Y[:, 0])[0, 1] / np.var(X[:, 0]), rel=1e-3)
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 3), dtype=np.uint8)
    assert js.moments(pixels, pixels).rho == pytest.approx(1)


def test_the_orders_are_those_of_the_exact_times(found):
    table = js.order(found, L=5, eps=1e-3)
    kept = found.lam > 0
    for objective in ("jepa", "mae"):
        t = js.critical_time(objective, lam=found.lam[kept], rho=found.rho[kept], L=5, eps=1e-3)
        np.testing.assert_allclose(table[f"t_{objective}"][kept], t, rtol=1e-12)
        assert table[f"rank_{objective}"][kept].tolist() == (np.argsort(np.argsort(t)) + 1).tolist()
        assert table[f"status_{objective}"].tolist() == ["learned"] * 3 + ["collapses"]
        assert table[f"rank_{objective}"].isna().tolist() == [False] * 3 + [True]
    assert js.inversions(table).to_dict("records") == [{"jepa_first": 1, "mae_first": 0, "resolved": True}]


def test_errors_of_times_are_those_of_lam_and_rho(found):
    """ln t = -ln lam + f(rho): the slope of f by differentiating the exact time."""
    table = js.order(found, L=3, eps=1e-3)
    for objective in ("jepa", "mae"):
        up, down = (
            np.log(js.critical_time(objective, lam=1.0, rho=found.rho[:3] + h, L=3, eps=1e-3)) for h in (1e-6, -1e-6)
        )
        expected = np.hypot(found.lam_error[:3] / found.lam[:3], (up - down) / 2e-6 * found.rho_error[:3])
        np.testing.assert_allclose(table[f"t_{objective}_error"][:3] / table[f"t_{objective}"][:3], expected, rtol=0.02)


def test_few_samples_resolve_nothing():
    pairs = [js.inversions(js.order(js.moments(*gaussian(200, LAM[:2], RHO[:2], seed)), L=5)) for seed in range(5)]
    assert not pd.concat(pairs)["resolved"].any()


def test_features_that_start_too_high_are_said_to(found):
    table = js.order(found, L=8, eps=0.05)
    assert table["status_jepa"].tolist() == ["not_reached", "learned", "above_threshold", "collapses"]
    nothing = js.order(js.moments(X, -X), L=2)
    assert set(nothing["status_mae"]) == {"collapses"}
    assert len(js.inversions(nothing)) == 0


NAN = X.copy()
NAN[17_003, 2] = np.nan
REFUSED = {
    "alone": (lambda: js.moments(X), "two arrays, two files, or one file"),
    "mixed": (lambda: js.moments(X, "y.npy"), "two arrays, two files, or one file"),
    "shapes": (lambda: js.moments(X, Y[:, :3]), "must have the same shape"),
    "lengths": (lambda: js.moments(X, Y[1:]), "must have the same shape"),
    "images": (lambda: js.moments(X.reshape(-1, 2, 2), Y), r"reshape\(n, -1\)"),
    "ragged": (lambda: js.moments([[1.0], [1.0, 2.0]], [[1.0], [2.0]]), "ragged"),
    "words": (lambda: js.moments([["a"]], [["b"]]), "real numbers"),
    "complex": (lambda: js.moments(X * 1j, Y), "real numbers"),
    "nan": (lambda: js.moments(NAN, Y), "row 17003 has nan in column 2"),
    "inf": (lambda: js.moments(X, np.where(np.isnan(NAN), np.inf, Y)), "`y` must be finite.*has inf"),
    "empty": (lambda: js.moments(X[:0], Y[:0]), "at least 10 samples"),
    "few": (lambda: js.moments(X[:9], Y[:9]), "at least 10 samples"),
    "wide": (lambda: js.moments(X[:40].reshape(10, 16), Y[:40].reshape(10, 16)), "at least 32 samples for 16 columns"),
    "no columns": (lambda: js.moments(X[:, :0], Y[:, :0]), "1 to 1000 columns"),
    "huge": (lambda: js.moments(np.zeros((2, 1001)), np.zeros((2, 1001))), "1 to 1000 columns"),
    "constant": (lambda: js.moments(X * [1, 1, 1, 0], Y), "1 of its 4 directions do not vary"),
    "repeated": (lambda: js.moments(X[:, [0, 1, 1]], Y[:, :3]), "1 of its 3 directions do not vary"),
    "depth": (lambda: js.order(js.moments(X, Y), L=2.5), "whole number of layers"),
    "eps": (lambda: js.order(js.moments(X, Y), eps=0.0), "finite and positive"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_answered_is_refused(name):
    call, sentence = REFUSED[name]
    with pytest.raises(js.SpecError, match=sentence):
        call()


def write(path, values):
    """A file of this content, by its suffix."""
    if isinstance(values, bytes):
        path.write_bytes(values)
    elif path.suffix == ".npy":
        np.save(path, values)
    else:
        pq.write_table(pa.table(values), path)


BAD_FILES = {
    "flat.npy": (X, r"pairs with shape \(n, 2, d\)"),
    "words.npy": (np.array(["a", "b"]), "real numbers"),
    "broken.npy": (b"not numpy", "as `numpy.save` writes it"),
    "pairs.csv": (b"1,2", "a .npy or .parquet file"),
    "broken.parquet": (b"not parquet", "must be a Parquet file"),
    "other.parquet": ({"a": [1.0], "b": [2.0]}, "its? has a, b|must have columns x0"),
    "gap.parquet": ({"x0": [1.0], "x2": [1.0], "y0": [1.0], "y1": [1.0]}, "without gaps"),
    "ragged.parquet": ({"x": [[1.0, 2.0]] * 20 + [[1.0]], "y": [[1.0, 2.0]] * 21}, "row 20 has 1"),
    "words.parquet": ({"x0": ["a"] * 20, "y0": ["b"] * 20}, "the type is string"),
    "null.parquet": ({"x0": [1.0, None] * 10, "y0": [1.0, 2.0] * 10}, "row 1 has nan"),
    "none.parquet": ({"x": [[1.0]] * 19 + [None], "y": [[1.0]] * 20}, "row 19 has none"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_cannot_be_read_are_refused(tmp_path, name):
    content, sentence = BAD_FILES[name]
    write(tmp_path / name, content)
    with pytest.raises(js.SpecError, match=sentence):
        js.moments(tmp_path / name)


def test_an_archive_is_no_array(tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.savez(file, x=X)
    with pytest.raises(js.SpecError, match=r"as `numpy\.save` writes it, but it is an archive"):
        js.moments(tmp_path / "x.npy")


def test_a_table_without_ranks_is_refused():
    with pytest.raises(js.SpecError, match="`table` must be what `order` makes, but its columns are lam"):
        js.inversions(pd.DataFrame({"lam": [1.0]}))


def test_one_feature_has_one_depth():
    with pytest.raises(js.SpecError, match=r"`L` must be one number, or one for each of 1 features, .* is \(2,\)"):
        js.order(js.moments(X[:, 0], 0.5 * X[:, 0]), L=[1, 2])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(js.SpecError, match="no such file"):
        js.moments(tmp_path / "absent.npy")


def test_command_prints_features_orders_and_where_they_differ(files, invoke):
    done = invoke("moments", "pairs.npy", "--L", 5, cwd=files)
    assert done.exit_code == 0, done.output
    assert "20,000 pairs of 4 features" in done.stdout
    assert "jepa does not learn 1 (collapses): features 3" in done.stdout
    assert "learn 1 pairs of features in opposite orders, 1 of them clear of a tie" in done.stdout


def test_command_in_json_with_two_files(files, found, invoke):
    done = invoke("moments", "x.npy", "--with", "y.npy", "--L", 5, "--json", cwd=files)
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["inversions"] == [{"jepa_first": 1, "mae_first": 0, "resolved": True}]
    assert [f["lam"] for f in facts["features"]] == pytest.approx(found.lam.tolist())
    assert facts["features"][3]["t_jepa"] is None


def test_command_refuses_with_a_sentence(files, invoke):
    done = invoke("moments", "x.npy", cwd=files)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: x.npy must hold pairs")
