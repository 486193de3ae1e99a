"""Parquet files of a user's own pairs: columns of every kind are read, or refused with the row that is wrong."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_own_pairs import X, Y

import jepa_sweep as js

LISTS = pa.list_(pa.float64())
ROWS = X[:40, :2].tolist()


def column(values, kind=LISTS):
    return {"x": pa.array(values, kind), "y": pa.array(Y[: len(values), :2].tolist(), LISTS)}


ODD_COLUMNS = {
    "the first is null": (column([None, *ROWS[1:]]), "in every row, but row 0 has none"),
    "all are null": (column([None] * 40), "in every row, but row 0 has none"),
    "of no type": (column([None] * 40, pa.null()), r"one column x of lists, but it has x \(null\)"),
    "one is null": (column([*ROWS[:7], None, *ROWS[8:]]), "row 0 has 2 numbers and row 7 has none"),
    "a null inside": (column([*ROWS[:7], [1.0, None], *ROWS[8:]]), "row 7 has nan in column 1"),
    "one is longer as another lacks": (column([*ROWS[:7], None, [1.0] * 4, *ROWS[9:]]), "and row 7 has none"),
    "one is shorter": (column([*ROWS[:7], [1.0], *ROWS[8:]]), "row 0 has 2 numbers and row 7 has 1"),
    "the first is empty": (column([[], *ROWS[1:]]), "in every row, but row 0 has an empty one"),
    "all are empty": (column([[]] * 40), "in every row, but row 0 has an empty one"),
    "no rows": (column([]), "at least 10 samples"),
    "lists of lists": (column([[row, row] for row in ROWS], pa.list_(LISTS)), "real numbers, but the type is list"),
    "a null of fixed size": (column([None, *ROWS[1:]], pa.list_(pa.float64(), 2)), "row 0 has none"),
    "words by number": ({"x0": pa.array(["a", "b"] * 20).dictionary_encode(), "y0": [1.0] * 40}, "type is dictionary"),
    "structures": (column([{"a": 1.0}] * 40, pa.struct({"a": pa.float64()})), r"but it has x \(struct"),
    "a list of words": (column([["a", "b"]] * 40, pa.list_(pa.string())), "real numbers, but the type is string"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_COLUMNS)
def test_a_column_that_is_no_list_of_numbers_is_refused_with_its_row(tmp_path, name):
    content, sentence = ODD_COLUMNS[name]
    pq.write_table(pa.table(content), tmp_path / "x.parquet", row_group_size=6)
    with pytest.raises(js.SpecError, match=sentence):
        js.moments(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64(), 2), pa.large_list(pa.float64()), pa.list_(pa.int64()), pa.list_(pa.float32())]
)
def test_lists_of_numbers_of_any_kind_are_read(tmp_path, kind):
    whole = np.round(X[:40, :2] * 64)  # which every kind holds exactly
    pq.write_table(pa.table(column(whole.tolist(), kind)), tmp_path / "x.parquet", row_group_size=6)
    found = js.moments(tmp_path / "x.parquet")
    np.testing.assert_array_equal(found.moments.xx, js.moments(whole, Y[:40, :2]).moments.xx)


def test_columns_in_another_order_are_read_by_their_names(tmp_path):
    pq.write_table(pa.table({"y1": Y[:, 1], "x0": X[:, 0], "x1": X[:, 1], "y0": Y[:, 0]}), tmp_path / "x.parquet")
    np.testing.assert_array_equal(js.moments(tmp_path / "x.parquet").lam, js.moments(X[:, :2], Y[:, :2]).lam)


def test_a_parquet_file_that_is_found_damaged_as_it_is_read_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(column(X[:, :2].tolist())), path, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[4:60] = b"\xff" * 56
    path.write_bytes(data)
    with pytest.raises(js.SpecError, match="must be a Parquet file, but"):
        js.moments(path)
