"""Missing values: filled by the federated mean, and counted without showing small counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medhive.client.answer import Site, Tables
from medhive.data.site import SiteData, load_site
from medhive.flower.wire import Task
from medhive.learning.algorithm import State
from medhive.learning.missingness import MissingCount, counted, counted_for_itself, disclose
from medhive.learning.registry import ALGORITHMS
from medhive.learning.standardise import moments, standardise
from medhive.privacy.disclosure import HIDDEN
from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.studyfile import parse_study
from medhive.sums import Sums, total
from support import HEART_SITES, HEART_STUDY

FLOOR = 5


def make_study(p: int, **run: object) -> Study:
    features = [{"name": f"x{j}", "kind": "continuous"} for j in range(p)]
    header = {"name": "test", "outcome": {"column": "y", "event": 1}}
    return Study.model_validate({"study": header, "run": run, "features": features})


def heart(**run: object) -> Study:
    return parse_study(HEART_STUDY.read_text(encoding="utf-8"), file="s", run_config=run)


def federated(sites: list[Array], study: Study) -> State:
    state: State = {}
    for name in ("moments", "spread"):
        rows = [Rows(X, np.zeros(len(X))) for X in sites]
        parts = [ALGORITHMS[name].contribute(each, state, study) for each in rows]
        state = ALGORITHMS[name].update(state, total(parts), study)
    return state


def with_holes(mean: float, sd: float) -> Array:
    rng = np.random.default_rng(0)
    X = rng.normal(mean, sd, size=(5000, 3))
    X[rng.random(X.shape) < [0.0, 0.3, 0.97]] = np.nan
    return X


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (1e6, 1.0), (-50.0, 1e-3), (1e-9, 1e-12)])
def test_mean_and_sd_are_those_of_the_filled_pooled_rows(mean: float, sd: float) -> None:
    """Filling by sums is pandas' fillna with the mean, whatever site lacks which values."""
    X = with_holes(mean, sd)
    X[3000:3010, 1] = np.nan
    state = federated([X[:7], X[7:3000], X[3000:3010], X[3010:]], make_study(3, missing="mean"))
    table = pd.DataFrame(X)
    exact = table.astype(np.longdouble)
    np.testing.assert_allclose(state["mean"], exact.mean(), rtol=1e-12)
    filled = np.asarray(exact.fillna(exact.mean()))
    np.testing.assert_allclose(state["sd"], filled.std(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(state["fill"], state["mean"])
    Z = standardise(X, state)
    assert (Z[np.isnan(X)] == 0.0).all()
    assert np.isfinite(Z).all()


@pytest.mark.parametrize("mode", ["mean", "indicator"])
def test_complete_rows_are_standardised_to_the_same_bits(mode: str) -> None:
    """Where no value is missing, mean and sd do not depend on how missing values are treated."""
    X = np.random.default_rng(1).normal(1e3, 2.0, size=(400, 2))
    drop, fill = make_study(2), make_study(2, missing=mode)
    columns = [j for j, term in enumerate(fill.terms) if not term.missing]
    wide = np.zeros((400, len(fill.terms)))
    wide[:, columns] = X
    left, right = federated([X[:9], X[9:]], drop), federated([wide[:9], wide[9:]], fill)
    for key in ("mean", "sd", "centre", "scale"):
        assert left[key].tobytes() == right[key][columns].tobytes(), key
    parts = (X[:9], X[9:])
    centre = sum(part.sum(axis=0) for part in parts) / 400
    shift = sum((part - centre).sum(axis=0) for part in parts) / 400
    squares = sum(((part - centre) ** 2).sum(axis=0) for part in parts)
    assert left["mean"].tobytes() == (centre + shift).tobytes()
    assert left["sd"].tobytes() == np.sqrt(squares / 400 - shift * shift).tobytes()
    assert "fill" not in left


def test_without_standardising_the_mean_still_fills() -> None:
    """In clinical units a missing value becomes the mean, not zero."""
    X = np.array([[1.0], [np.nan], [5.0]])
    state = federated([X], make_study(1, missing="mean", standardise=False))
    assert standardise(X, state).tolist() == [[1.0], [3.0], [5.0]]


def test_a_column_without_any_value_is_filled_with_zero() -> None:
    """Nothing at any site: zero everywhere, and scale one."""
    X = np.array([[np.nan, 1.0], [np.nan, 3.0]])
    state = federated([X[:1], X[1:]], make_study(2, missing="mean"))
    assert standardise(X, state).tolist() == [[0.0, -1.0], [0.0, 1.0]]
    assert (state["fill"][0], state["sd"][0], state["observed"][0]) == (0.0, 0.0, 0.0)


def test_both_passes_in_one_place_are_those_over_sites() -> None:
    """`moments` of rows in one place is what a single site gives."""
    X, study = with_holes(0.0, 1.0), make_study(3, missing="mean")
    left, right = moments(Rows(X, np.zeros(len(X))), study), federated([X], study)
    assert all(left[key].tobytes() == right[key].tobytes() for key in right)


def test_rows_are_kept_and_marked() -> None:
    """Every row with an outcome stays; a term says where a feature has no value."""
    study = heart(missing="indicator")
    data = load_site(HEART_SITES["va"], study, "va")
    table = pd.read_csv(HEART_SITES["va"])
    assert len(data.train) == 200
    assert data.n_dropped == 0
    for j, term in enumerate(study.terms):
        gone = table[term.feature].isna().to_numpy()
        if term.missing:
            np.testing.assert_array_equal(data.train.X[:, j], gone)
        else:
            np.testing.assert_array_equal(np.isnan(data.train.X[:, j]), gone)


def shown(study: Study, *counts: int) -> MissingCount:
    """Disclose the counts of one column, every other one being complete."""
    parts, replies = [], {}
    for k, count in enumerate(counts):
        missing = dict.fromkeys(study.columns, 0) | {"x0": count}
        parts.append(counted(missing, study))
        replies[f"s{k}"] = counted_for_itself(missing, study, FLOOR)
    return disclose(study, total(parts), dict.fromkeys(replies, 100), replies)["x0"]


@pytest.mark.parametrize(
    ("counts", "n", "by_site"),
    [
        ((0, 0), 0, [0, 0]),
        ((7, 9, 0), 16, [7, 9, 0]),
        ((3, 0), None, [None, 0]),
        ((3, 40, 12), 55, [None, 40, None]),
        ((1, 2, 56), 59, [None, None, None]),
    ],
)
def test_small_counts_are_hidden_with_company(
    counts: tuple[int, ...], n: int | None, by_site: list[int | None]
) -> None:
    """A count from 1 to 4 is hidden, and enough beside it that the total does not give it away."""
    found = shown(make_study(2), *counts)
    assert (found.n, list(found.by_site.values())) == (n, by_site)


def test_with_a_site_that_does_not_say_no_site_is_shown() -> None:
    """A site in the total without a word of its own is not found by subtraction."""
    study = make_study(1)
    parts = {name: counted({"x0": n, "y": 0}, study) for name, n in [("a", 30), ("b", 9), ("c", 8)]}
    replies = {
        name: counted_for_itself({"x0": n, "y": 0}, study, FLOOR)
        for name, n in [("b", 9), ("c", 8)]
    }
    found = disclose(study, total(parts.values()), dict.fromkeys(parts, 50), replies)["x0"]
    assert found.n == 47
    assert found.by_site == {"a": None, "b": None, "c": None}


@pytest.mark.parametrize("said", [40.0, 7.5, -3.0, 1e300])
def test_counts_that_do_not_add_up_show_no_site(said: float) -> None:
    """A site that says another count than it added, or no count, shows nothing of any site."""
    study = make_study(1)
    total_ = Sums.of({"missing": [20, 0]})
    honest = counted_for_itself({"x0": 10, "y": 0}, study, FLOOR)
    wrong = Sums.of({"floor": 5, "missing": [said, 0]})
    found = disclose(study, total_, {"a": 50, "b": 50}, {"a": honest, "b": wrong})
    assert found["x0"] == MissingCount(20, {"a": None, "b": None})
    assert found["y"].n == 0


@pytest.mark.parametrize("mode", ["drop", "mean", "indicator"])
def test_a_site_counts_all_rows_and_hides_its_own_small_counts(mode: str) -> None:
    """A site counts before rows are dropped; by site nothing below its own floor leaves it."""
    study = heart(missing=mode)

    def load(study: Study, *, keep_missing: bool = False) -> SiteData:
        return load_site(HEART_SITES["hungarian"], study, "hungarian", keep_missing=keep_missing)

    table = pd.read_csv(HEART_SITES["hungarian"])[list(study.columns)].isna().sum().to_numpy()
    assert ((table > 0) & (table < FLOOR)).any()
    assert 8 in table
    for floor in (FLOOR, 9):
        site = Site("hungarian", load, tables=Tables(min_cell=floor))
        plain = site.answer(Task("missing", 0, 0, study.canonical)).sums["missing"]
        np.testing.assert_array_equal(plain, table)
        own = site.answer(Task("missing-by-site", 0, 0, study.canonical)).sums
        hidden = (table > 0) & (table < floor)
        np.testing.assert_array_equal(own["missing"], np.where(hidden, HIDDEN, table))
        assert own.number("floor") == floor
