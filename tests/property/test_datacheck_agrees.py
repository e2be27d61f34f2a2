"""The report and the client never disagree: what is ready is loaded, and the same rows of it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medhive.data.site import load_site
from medhive.datacheck.page import as_json, page
from medhive.datacheck.report import check_data
from medhive.errors import DataError, RefusalError
from medhive.study import Study

AGES = ["18", "50", " 61 ", "110", "1e2", "", "NA", "17", "999", "old", "inf", "-0"]
SEXES = ["0", "1", "1.0", "", "2", "m"]
PAINS = ["a", "b", "", "c", "NA", "<b>"]
EVENTS = ["0", "1", "", "1.0"]
MORE_EVENTS = [*EVENTS, "2", "yes"]


def study(event: object, fraction: float, min_rows: int, missing: str) -> Study:
    return Study.model_validate(
        {
            "study": {"name": "s", "outcome": {"column": "y", "event": event}},
            "run": {"test-fraction": fraction, "missing": missing},
            "privacy": {"min-rows": min_rows},
            "features": [
                {"name": "age", "kind": "continuous", "unit": "years", "range": [18, 110]},
                {"name": "sex", "kind": "binary"},
                {"name": "cp", "kind": "categorical", "levels": ["a", "b"]},
            ],
        }
    )


def rows(good: bool) -> st.SearchStrategy[list[tuple[str, str, str, str]]]:
    """Return rows in which values are missing, and where they are not good, also broken."""
    ages, sexes, pains = (AGES[:7], SEXES[:4], PAINS[:3]) if good else (AGES, SEXES, PAINS)
    events = EVENTS if good else MORE_EVENTS
    cell = st.sampled_from
    row = st.tuples(cell(ages), cell(sexes), cell(pains), cell(events))
    return st.lists(row, min_size=1, max_size=25)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.booleans().flatmap(rows),
    event=st.sampled_from([1, "> 0"]),
    fraction=st.sampled_from([0.0, 0.3]),
    min_rows=st.sampled_from([1, 5]),
    allow_drop=st.booleans(),
    missing=st.sampled_from(["drop", "mean", "indicator"]),
)
@example([("50", "1", "a", "1")] * 3, 1, 0.0, 1, False, "drop")
@example([("", "1", "a", "1")] * 3, 1, 0.0, 1, False, "drop")
@example([("999", "1", "a", "1")] * 3, 1, 0.0, 1, True, "drop")
@example([("50", "1", "a", "1"), ("50", "1", "z", "")], 1, 0.0, 1, True, "drop")
def test_a_file_is_ready_when_the_client_takes_it(
    rows: list[tuple[str, str, str, str]],
    event: object,
    fraction: float,
    min_rows: int,
    allow_drop: bool,
    missing: str,
) -> None:
    """Ready means that load_site takes the file, with as many training and held-out rows."""
    contract = study(event, fraction, min_rows, missing)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        lines = ["age,sex,cp,y", *(",".join(row) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        report = check_data(path, contract, allow_drop=allow_drop)
        page(report)
        as_json(report)
        try:
            data = load_site(path, contract, "a", allow_drop=allow_drop)
        except (DataError, RefusalError):
            assert not report.fits
            return
    assert report.fits
    assert report.rows.training == len(data.train)
    assert report.rows.held_out == (0 if data.test is None else len(data.test))
    assert report.rows.broken == data.n_broken
    kept = data.train.y.sum() + (0 if data.test is None else data.test.y.sum())
    assert report.outcome.events >= kept
    assert not np.isinf(data.train.X).any()
