"""Whatever the table, a draft is a valid study without a patient's value, or a clear refusal."""

from __future__ import annotations

import csv
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medhive.contract.columns import read_columns
from medhive.contract.draft import Draft, choose_outcome, compose, read_candidates
from medhive.contract.explain import features, notes, terms, training
from medhive.contract.leaving import departures
from medhive.contract.propose import FEWEST_ROWS, outward
from medhive.contract.render import render
from medhive.data.site import load_site
from medhive.errors import DataError, RefusalError
from medhive.study import Study, code
from medhive.studyfile import parse_study

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=12)
cell = st.one_of(
    text,
    st.integers(-3, 9).map(str),
    st.floats(allow_nan=True).map(str),
    st.sampled_from(["", "NA", "yes", "no", "1", "0", "1.0", "01", "2021-03-04", "3,5", "[1]"]),
)
palette = st.lists(cell, min_size=1, max_size=8)
names = st.lists(
    st.one_of(text, st.sampled_from(["a", "a[1]", "a[0]", "(Intercept)", "id", "x.y"])),
    min_size=1,
    max_size=6,
    unique_by=str.strip,
).filter(lambda found: all(name.strip() not in ("", "outcome") for name in found))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    header = draw(names)
    n = draw(st.integers(1, 60))
    columns = []
    for _ in header:
        values = st.sampled_from(draw(palette)) if draw(st.booleans()) else cell
        columns.append(draw(st.lists(values, min_size=n, max_size=n)))
    columns.append(draw(st.lists(st.sampled_from("01"), min_size=n, max_size=n)))
    return [*header, "outcome"], [list(row) for row in zip(*columns, strict=True)]


def drafted(file: Path) -> tuple[Draft, Study]:
    found = read_candidates(file, None)
    column, event = choose_outcome(found, "outcome", "1")
    draft = compose(found, column, event, name="s", title="", source=file, from_data=True)
    return draft, parse_study(render(draft), file="s")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables())
def test_a_draft_always_passes_the_check(table: tuple[list[str], list[list[str]]]) -> None:
    """A table that can be read gives a valid study, which can be explained, or an input error."""
    header, rows = table
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "site.csv"
        with file.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([header, *rows])
        try:
            draft, study = drafted(file)
        except DataError:
            # the table cannot be read, or none of its columns is a feature
            return
        columns = {column.name: column for column in read_columns(file)}
    assert [each.name for each in draft.features] == [each.name for each in study.features]
    for feature in study.features:
        column = columns[feature.name]
        for level in feature.codes:
            assert column.counts[level] >= FEWEST_ROWS
        if feature.range is not None:
            assert feature.range[0] < column.low <= column.high < feature.range[1]
    assert features(study)
    assert terms(study).sentences
    assert training(study).sentences
    assert notes(study)
    assert departures(study)


clean = st.tuples(
    st.lists(st.floats(-1e6, 1e6), min_size=40, max_size=60),
    st.sampled_from([["0", "1"], ["M", "F"], ["1", "2", "3"], ["a b", "c,d", 'e"f']]),
)


@settings(max_examples=40, deadline=None)
@given(clean)
def test_the_site_takes_part_in_its_own_draft(
    drawn: tuple[list[float], list[str]],
) -> None:
    """A site whose levels are all shared by rows enough can load its file under the draft."""
    numbers, codes = drawn
    rows = [[repr(number), codes[i % len(codes)], str(i % 2)] for i, number in enumerate(numbers)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "site.csv"
        with file.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([["value", "group", "outcome"], *rows])
        _, study = drafted(file)
        try:
            data = load_site(file, study, "here")
        except RefusalError:
            pytest.fail("the site has too few rows")
    assert len(data.train) == len(rows)
    assert {code(level) for level in codes} - {"0", "1"} <= set(
        next((each.codes for each in study.features if each.name == "group"), codes)
    )


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_a_range_is_wider_than_its_data(a: float, b: float) -> None:
    """Both ends lie outside the data, are finite and have two digits; or there is no range."""
    low, high = sorted((a, b))
    found = outward(low, high)
    if found is None:
        return
    assert found[0] < low <= high < found[1]
    for end in found:
        assert math.isfinite(end)
        assert float(f"{end:.1e}") == end
