"""The four shipped centres, described, against pandas on their files."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest

from medhive.reports.table1 import Table1, build
from medhive.simulation.inline import describe_inline
from medhive.study import Study
from medhive.studyfile import read_study
from support import HEART_SITES, HEART_STUDY


class _Nobody:
    def joined(self, site: str, n_samples: int) -> None: ...
    def left(self, site: str, reason: str) -> None: ...
    def waiting(self, sites: list[str], minimum: int, seconds: float) -> None: ...
    def phase(self, name: str) -> None: ...
    def round_done(self, record: object) -> None: ...


@pytest.fixture(scope="module")
def study() -> Study:
    return read_study(HEART_STUDY)


@pytest.fixture(scope="module")
def table(study: Study) -> Table1:
    return build(study, describe_inline(study, HEART_SITES, _Nobody()), datetime.now(UTC))


@pytest.fixture(scope="module")
def columns() -> dict[str, pd.DataFrame]:
    sites = {name: pd.read_csv(path) for name, path in HEART_SITES.items()}
    pooled = pd.concat(sites.values())
    event = pooled.num > 0
    groups = {"all": pooled, "no event": pooled[~event], "event": pooled[event]}
    return groups | {f"site:{name}": data for name, data in sites.items()}


def test_every_figure_shown_is_that_of_the_files(
    table: Table1, columns: dict[str, pd.DataFrame]
) -> None:
    """Counts are equal, means and sds to 1e-12, medians and quartiles within their bound."""
    n_shown = 0
    for column, data in columns.items():
        assert table.rows[column].n == len(data)
        for summary in table.features:
            values = data[summary.name].dropna()
            for counts, true in ((summary.observed, len(values)), (summary.missing, len(data))):
                n = counts[column].n
                assert n in (None, true if counts is summary.observed else true - len(values))
                n_shown += n is not None
            for level in summary.levels:
                n = level.counts[column].n
                assert n in (None, (values == float(level.code)).sum())
                n_shown += n is not None
            if summary.kind != "continuous" or summary.figures[column].mean is None:
                continue
            figures = summary.figures[column]
            assert figures.mean == pytest.approx(values.mean(), rel=1e-12)
            assert figures.sd == pytest.approx(values.std(), rel=1e-12)
            n_shown += 2
            if column.startswith("site:"):
                assert figures.median is None
                continue
            assert figures.error_bound is not None
            assert figures.error_bound <= 1e-3 * values.std()
            for found, q in ((figures.q1, 0.25), (figures.median, 0.5), (figures.q3, 0.75)):
                assert found is not None
                assert abs(found - values.quantile(q)) <= figures.error_bound
    # the floor must not hide most of the table
    assert n_shown > 240


def test_cholesterol_coded_0_is_found(table: Table1) -> None:
    """Switzerland's cholesterol of 0, not measured, stands in the harmonisation report."""
    (far,) = [
        each
        for each in table.harmonisation
        if (each.site, each.feature, each.kind) == ("switzerland", "chol", "far")
    ]
    assert far.standardised_difference == pytest.approx(-3.9, abs=0.1)
    assert "a code such as 0" in far.text


def test_the_standardised_difference_is_that_of_the_rows(
    table: Table1, columns: dict[str, pd.DataFrame]
) -> None:
    """It is the difference of two means by the root of the mean of two variances."""
    compared = [each for each in table.harmonisation if each.kind == "far" and not each.level]
    assert len(compared) >= 4
    for each in compared:
        here = columns[f"site:{each.site}"][each.feature]
        others = pd.concat(
            data[each.feature]
            for name, data in columns.items()
            if name.startswith("site:") and name != f"site:{each.site}"
        )
        sd = ((here.var() + others.var()) / 2) ** 0.5
        expected = (here.mean() - others.mean()) / sd
        assert each.standardised_difference == pytest.approx(expected, rel=1e-9)
