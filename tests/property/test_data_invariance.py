"""The design matrix depends on the values alone, not on how the file writes them."""

import csv
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medhive.data.check import check
from medhive.data.csvfile import read_csv
from medhive.data.design import design
from medhive.rows import Rows
from medhive.study import Study

LEVELS = ["low", "mid, high", 'the "top"', "3"]
STUDY = Study.model_validate(
    {
        "study": {"name": "s", "outcome": {"column": "dead", "event": "yes"}},
        "features": [
            {"name": "x", "kind": "continuous"},
            {"name": "flag", "kind": "binary"},
            {"name": "grade; coded", "kind": "categorical", "levels": LEVELS},
        ],
    }
)
row = st.tuples(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1]),
    st.sampled_from(LEVELS),
    st.sampled_from(["yes", "no"]),
)
table = st.lists(row, min_size=1, max_size=30)
layout = st.tuples(
    st.permutations(STUDY.columns),
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.sampled_from(["utf-8", "utf-8-sig"]),
)


def written(
    rows: list[tuple[float, int, str, str]], how: tuple[list[str], str, int, str, str]
) -> Rows:
    order, delimiter, quoting, end, encoding = how
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "site.csv"
        with file.open("w", newline="", encoding=encoding) as stream:
            writer = csv.writer(
                stream,
                delimiter=delimiter,
                quoting=quoting,  # type: ignore[arg-type]
                lineterminator=end,
            )
            writer.writerow(order)
            for values in rows:
                named = dict(zip(STUDY.columns, values, strict=True))
                writer.writerow([named[name] for name in order])
        return design(check(read_csv(file), STUDY), STUDY)


@given(table, layout)
def test_a_table_survives_the_round_trip(
    rows: list[tuple[float, int, str, str]], how: tuple[list[str], str, int, str, str]
) -> None:
    """Whatever column order, separator, quoting, line end and mark: the same rows, to the bit."""
    read = written(rows, how)
    X = [[x, flag, *(float(grade == level) for level in LEVELS[1:])] for x, flag, grade, _ in rows]
    np.testing.assert_array_equal(read.X, X)
    np.testing.assert_array_equal(read.y, [float(dead == "yes") for *_, dead in rows])
    assert read.X.flags.c_contiguous
    assert read.X.dtype == read.y.dtype == np.float64


@given(st.lists(st.tuples(row, st.integers(0, 15)), min_size=2, max_size=30))
def test_rows_with_a_missing_value_are_left_out(
    rows: list[tuple[tuple[float, int, str, str], int]],
) -> None:
    """The design of a table with holes is the design of its complete rows."""
    holes = [
        tuple("" if gaps >> k & 1 else value for k, value in enumerate(values))
        for values, gaps in rows
    ]
    complete = [values for values, gaps in rows if not gaps]
    if not complete:
        return
    plain = (list(STUDY.columns), ",", csv.QUOTE_MINIMAL, "\n", "utf-8")
    np.testing.assert_array_equal(written(holes, plain).X, written(complete, plain).X)  # type: ignore[arg-type]
