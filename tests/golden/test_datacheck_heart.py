"""The reports of four real centres say what a data manager should know of each."""

from __future__ import annotations

import pytest

from medhive.data.site import load_site
from medhive.datacheck.report import check_data
from medhive.studyfile import read_study
from support import HEART_SITES, HEART_STUDY

CHOLESTEROL = {
    "cleveland": None,
    "hungarian": None,
    "switzerland": "every row has the same value, 0: does it mean that it was not measured?",
    "va": "49 rows have 0, the others lie between 100 and 458: does 0 mean that it was not"
    " measured?",
}


@pytest.mark.parametrize("site", HEART_SITES)
def test_a_real_centre_is_reported_as_it_is_loaded(site: str) -> None:
    """Kept rows and missing values are those of the loaded rows; the contract is not broken."""
    study = read_study(HEART_STUDY)
    report, data = check_data(HEART_SITES[site], study), load_site(HEART_SITES[site], study, site)
    assert report.fits
    assert report.rows.kept == len(data.train) == report.rows.training
    assert report.rows.read == data.n_rows
    assert report.rows.incomplete + report.rows.no_outcome == data.n_dropped
    missing = {each.name: each.n_missing for each in report.features}
    assert missing | {study.study.outcome.column: report.outcome.n_missing} == data.missing
    assert sum(pattern.n_rows for pattern in report.patterns) <= data.n_dropped


@pytest.mark.parametrize("site", HEART_SITES)
def test_a_cholesterol_of_zero_is_asked_about(site: str) -> None:
    """Switzerland never measured cholesterol, and VA in part: both say so with 0, and are asked."""
    report = check_data(HEART_SITES[site], read_study(HEART_STUDY))
    about = [f.sentence for f in report.findings if f.about == "chol" and "measured" in f.sentence]
    assert about == ([CHOLESTEROL[site]] if CHOLESTEROL[site] else [])
    assert not any("identifier" in f.sentence or "unit" in f.sentence for f in report.findings)
