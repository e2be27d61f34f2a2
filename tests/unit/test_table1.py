"""A Table 1 as people read it, and what is found between sites."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from describing import describe_rows
from medhive.learning.cells import count
from medhive.learning.describe import COUNTS, HISTOGRAM, SPREAD
from medhive.learning.disclosed import disclose
from medhive.learning.sitetable import site_table, withheld
from medhive.privacy.disclosure import HIDDEN
from medhive.reports.table1 import Table1, build
from medhive.reports.table1_csv import write_csv
from medhive.reports.table1_html import render
from medhive.reports.table1_lines import number, percent
from medhive.reports.table1_terminal import show_table1
from medhive.rows import ABSENT, INVALID, Array, Rows
from medhive.study import Study
from medhive.sums import Sums, total

EVIL = '<script>alert("1")</script>'


def study(**header: object) -> Study:
    return Study.model_validate(
        {
            "study": {"name": "s", "outcome": {"column": "y", "event": "> 0"}, **header},
            "features": [
                {"name": "chol", "kind": "continuous", "unit": "mg/dl", "range": [0, 1000]},
                {"name": "=cmd()", "kind": "categorical", "levels": {"1": EVIL, "2": "plain"}},
                {"name": "sex", "kind": "binary", "levels": {"0": "female", "1": "male"}},
            ],
        }
    )


def rows(n: int, seed: int, chol: float = 200.0) -> Rows:
    rng = np.random.default_rng(seed)
    X = np.column_stack(
        [rng.normal(chol, 40, n), rng.integers(0, 2, n), rng.integers(0, 2, n)]
    ).astype(np.float64)
    return Rows(X, rng.integers(0, 2, n).astype(np.float64))


def table(sites: dict[str, Rows], closed: tuple[str, ...] = (), **header: object) -> Table1:
    contract = study(**header)
    return build(contract, describe_rows(contract, sites, closed), datetime.now(UTC))


def texts(found: Table1) -> dict[tuple[str, str, str], str]:
    return {(each.kind, each.site, each.feature): each.text for each in found.harmonisation}


def test_html_escapes_what_the_contract_says() -> None:
    """A title or a label that is HTML stands there as text, and the page loads nothing."""
    page = render(table({"a": rows(60, 1), "b": rows(60, 2)}, title=EVIL))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 3
    for outside in ("http://", "https://", "src=", "@import", "url("):
        assert outside not in page


def test_csv_holds_no_formula(tmp_path: Path) -> None:
    """A spreadsheet takes no name of a column for a formula, and numbers keep their digits."""
    found = table({"a": rows(60, 1), "b": rows(60, 2)})
    write_csv(found, tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text(encoding="utf-8-sig")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert not any(value[:1] in "=+@" for line in lines for value in line.values() if value)
    (mean,) = [line for line in lines if (line["feature"], line["statistic"]) == ("chol", "mean")]
    assert float(mean["all"]) == found.features[0].figures["all"].mean


def test_the_terminal_table_is_at_most_100_wide() -> None:
    """With 20 sites of long names, no line is longer than 100, and every site is there."""
    sites = {f"university-hospital-number-{i:02d}": rows(50, i) for i in range(20)}
    out = io.StringIO()
    show_table1(table(sites), Console(file=out, width=200))
    assert max(map(len, out.getvalue().splitlines())) <= 100
    assert all(name[-2:] in out.getvalue() for name in sites)


def test_a_column_that_a_site_lacks_is_reported() -> None:
    """Absent at a site, even at one that shows no table; empty where it is there."""
    absent, empty, shy = rows(60, 1), rows(60, 2), rows(60, 3)
    absent.X[:, 0] = ABSENT
    empty.X[:, 2] = np.nan
    shy.X[:, 1] = ABSENT
    sites = {"a": absent, "b": empty, "c": shy, "d": rows(60, 4), "e": rows(50, 5)}
    found = texts(table(sites, ("c", "e")))
    assert found["absent", "a", "chol"] == "the site has no such column"
    assert found["absent", "c", "=cmd()"] == "the site has no such column"
    assert "no row has a value" in found["empty", "b", "sex"]


def test_levels_that_a_site_never_has_are_reported() -> None:
    """A level without a row at one site is said with its label."""
    some = rows(60, 1)
    some.X[:, 1] = 0.0
    found = texts(table({"a": some, "b": rows(60, 2)}))
    assert found["unseen", "a", "=cmd()"] == "no row has the level 2 (plain)"


def test_values_that_break_the_contract_are_counted_unless_they_are_few() -> None:
    """Twelve out of range are said to be 12; two are hidden."""
    many, few = rows(60, 1), rows(60, 2)
    many.X[:12, 0] = INVALID
    few.X[:2, 2] = INVALID
    found = texts(table({"a": many, "b": few}))
    assert found["invalid", "a", "chol"].startswith("12 values")
    assert "hidden" in found["invalid", "b", "sex"]
    assert "2 values" not in found["invalid", "b", "sex"]


def test_another_unit_is_suspected() -> None:
    """Cholesterol in mmol/l at one site is many sd lower, and the unit is asked about."""
    wrong = rows(60, 1)
    wrong.X[:, 0] /= 38.67
    found = texts(table({"a": wrong, "b": rows(60, 2), "c": rows(60, 3)}))
    assert "sd lower" in found["far", "a", "chol"]
    assert "another unit" in found["far", "a", "chol"]


def test_sites_that_are_alike_give_no_finding() -> None:
    """The same rows everywhere are no difference."""
    assert table({name: rows(80, 7) for name in "abc"}).harmonisation == []


def test_a_site_hides_its_small_counts_before_anything_leaves() -> None:
    """Of 2 values missing nothing is sent: not the count, nor the mean of those that are there."""
    contract, some = study(), rows(60, 1)
    some.X[:2, 0] = np.nan
    sums = site_table(some, contract, 5)
    assert sums["cells"][1] == sums["cells"][2] == HIDDEN
    assert sums["mean"][0] == sums["sd"][0] == 0.0
    assert 2.0 not in sums["cells"]
    assert (withheld(some, contract, 5)["cells"] == HIDDEN).all()


def _changed(sums: Sums, cell: int, value: float) -> Sums:
    vector = sums.vector.copy()
    vector[2 + cell] = value
    return Sums(sums.layout, vector)


@pytest.mark.parametrize("value", [-3.0, 7.5, 1e6])
def test_a_table_that_cannot_be_is_not_shown(value: float) -> None:
    """A site that sends no counts, or more than there are, is left out of the tables by site."""
    contract = study()
    sites = {name: rows(60, i) for i, name in enumerate("abc")}
    state: dict[str, Array] = {}
    for algorithm in (COUNTS, SPREAD, HISTOGRAM):
        parts = [algorithm.contribute(each, state, contract) for each in sites.values()]
        state = algorithm.update(state, total(parts), contract)
    replies = {name: site_table(each, contract, 5) for name, each in sites.items()}
    replies["a"] = _changed(replies["a"], 0, value)
    found = disclose(contract, state, replies)
    assert "a" not in found.sites
    assert found.withheld
    assert found.counts[-1, 0] == sum(count(each, contract)[0].sum() for each in sites.values())


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01, "0.1"), (9.94, "9.9"), (10.4, "10"), (99.7, "99.7"), (99.99, "99.9"), (100.0, "100")],
)
def test_shares_are_never_0_or_100_for_what_is_not(value: float, text: str) -> None:
    """Rounding makes nobody nobody, and not everybody everybody."""
    assert percent(value) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(-0.001, 1, "0.0"), (1234.56, 0, "1235"), (2.5e12, 1, "2.5e+12"), (3e-9, 6, "3e-09")],
)
def test_numbers_are_written_plainly(value: float, digits: int, text: str) -> None:
    """No minus zero, powers of ten only where nothing else can be read."""
    assert number(value, digits) == text
