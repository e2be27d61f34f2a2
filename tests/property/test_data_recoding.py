"""Units and filters, for whatever a person may write."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhive.data.check import check
from medhive.data.recode import plan
from medhive.data.rowfilter import FilterError, columns_of, parse_filter
from medhive.data.sitefile import read_site_file
from medhive.data.sources import open_source
from medhive.data.units import UnitError, convert
from medhive.study import Study

UNITS = [
    ("mmol/l", "mg/dl", "glucose"),
    ("µmol/l", "mg/dl", "creatinine"),
    ("degF", "degC", "temperature"),
    ("mmol/mol", "%", "hba1c"),
    ("lb", "kg", "weight"),
    ("kPa", "mmHg", "pressure"),
    ("g/dl", "mmol/l", "haemoglobin"),
]


@given(st.sampled_from(UNITS), st.floats(-1e6, 1e6))
def test_there_and_back_is_where_it_began(unit: tuple[str, str, str], value: float) -> None:
    """A conversion and its reverse cancel, to the rounding of floats."""
    source, target, column = unit
    there = convert(source, target, column=column).apply(np.array([value]))
    back = convert(target, source, column=column).apply(there)
    assert back[0] == pytest.approx(value, rel=1e-12, abs=1e-9)


@given(st.text(max_size=50))
def test_any_text_is_a_unit_or_an_error(text: str) -> None:
    """No text makes the units library fail, hang or compute."""
    with contextlib.suppress(UnitError):
        convert(text, "mg/dl", column="glucose")


PIECES = st.sampled_from(
    [
        *("a", "`b c`", "and", "or", "not", "in", "is", "missing", "(", ")", ",", "=", "!=", "<"),
        *("<>", "1", "-2.5", "1e3", "'x'", '"y"', "'", "`", ";", "é", "__x__", "."),
    ]
)


@given(st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=25).map(" ".join)))
def test_any_text_is_a_filter_or_a_clear_error(text: str) -> None:
    """Nothing but a filter or an error with a position comes out of the parser."""
    position = 1
    try:
        assert columns_of(parse_filter(text))
    except FilterError as error:
        position = error.position
    assert 1 <= position <= len(text) + 1


test_column = st.sampled_from(["a", "b"])
value = st.integers(-3, 3)
leaf = st.one_of(
    st.tuples(test_column, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), value),
    st.tuples(test_column, st.just("in"), st.lists(value, min_size=1, max_size=3)),
    st.tuples(test_column, st.just("missing"), st.none()),
)
tree = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    ),
    max_leaves=8,
)
rows = st.lists(st.tuples(st.none() | value, st.none() | value), min_size=1, max_size=20)


def spelled(part: tuple[object, ...]) -> str:
    match part:
        case ("not", inner):
            return f"not ({spelled(inner)})"  # type: ignore[arg-type]
        case ("and" | "or" as word, first, second):
            return f"({spelled(first)}) {word} ({spelled(second)})"  # type: ignore[arg-type]
        case (column, "missing", None):
            return f"{column} is missing"
        case (column, "in", list(values)):
            return f"{column} in ({', '.join(map(str, values))})"
        case (column, sign, number):
            return f"{column} {sign} {number}"
    raise AssertionError(part)


def holds(part: tuple[object, ...], row: dict[str, int | None]) -> bool | None:
    """SQL's logic, in which a comparison with a missing value is unknown."""
    match part:
        case ("not", inner):
            known = holds(inner, row)  # type: ignore[arg-type]
            return None if known is None else not known
        case ("and" | "or" as word, first, second):
            both = {holds(first, row), holds(second, row)}  # type: ignore[arg-type]
            decisive = word == "or"
            return decisive if decisive in both else None if None in both else not decisive
        case (column, "missing", None):
            return row[column] is None  # type: ignore[index]
        case (column, sign, right):
            left = row[column]  # type: ignore[index]
            if left is None:
                return None
            if sign == "in":
                return left in right  # type: ignore[operator]
            return {
                "=": left == right,
                "!=": left != right,
                "<": left < right,  # type: ignore[operator]
                "<=": left <= right,  # type: ignore[operator]
                ">": left > right,  # type: ignore[operator]
                ">=": left >= right,  # type: ignore[operator]
            }[str(sign)]
    raise AssertionError(part)


STUDY = Study.model_validate(
    {
        "study": {"name": "s", "outcome": {"column": "y", "event": 1}},
        "features": [{"name": "n", "kind": "continuous"}],
    }
)


@given(tree, rows)
def test_a_filter_takes_the_rows_that_sql_would(
    part: tuple[object, ...], values: list[tuple[int | None, int | None]]
) -> None:
    """A filter and a plain evaluation of it in three-valued logic take the same rows."""
    expected = [i for i, (a, b) in enumerate(values) if holds(part, {"a": a, "b": b})]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [
            f"{i},1,{'' if a is None else a},{'NA' if b is None else b}"
            for i, (a, b) in enumerate(values)
        ]
        (folder / "rows.csv").write_text("\n".join(["n,y,a,b", *lines]) + "\n")
        path = folder / "site.toml"
        path.write_text(f'[data]\nfile = "rows.csv"\nfilter = "{spelled(part)}"\n')
        site, source = read_site_file(path), open_source(path)
        if not expected:
            with pytest.raises(Exception, match="the filter leaves none"):
                check(source, STUDY, plan(site, STUDY, source.names))
            return
        found = check(source, STUDY, plan(site, STUDY, source.names))
    assert found.values["n"].tolist() == expected
