"""A description against pandas on the pooled rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from describing import InMemory, describe_rows
from medhive.learning.cells import cells, continuous
from medhive.learning.describe import QUANTILES
from medhive.learning.disclosed import GROUPS, Description
from medhive.rows import ABSENT, INVALID, Rows
from medhive.server.description import describe
from medhive.study import Study

STUDY = Study.model_validate(
    {
        "study": {"name": "random", "outcome": {"column": "y", "event": 1}},
        "features": [
            {"name": "heavy", "kind": "continuous"},
            {"name": "whole", "kind": "continuous", "range": [-100, 100]},
            {"name": "constant", "kind": "continuous"},
            {"name": "sparse", "kind": "continuous"},
            {"name": "level", "kind": "categorical", "levels": ["p", "q", "r"], "reference": "q"},
            {"name": "flag", "kind": "binary"},
        ],
    }
)
N_CONTINUOUS = 4


@st.composite
def pools(draw: st.DrawFn) -> list[Rows]:
    """Rows of several sites: heavy tails, ties, a constant, a column that one site lacks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1e-12, 1.0, 1e9]))
    shift = draw(st.sampled_from([0.0, 1e4]))
    constant = draw(st.sampled_from([0.0, 0.1, -7.0, 1e15, 1e-300]))
    sites = []
    for n in draw(st.lists(st.integers(0, 120), min_size=1, max_size=4)):
        level = rng.choice(3, n)
        X = np.column_stack(
            [
                shift + scale * rng.standard_t(1.2, n),
                rng.integers(-100, 101, n),
                np.full(n, constant),
                scale * rng.lognormal(0, 3, n),
                level == 0,
                level == 2,
                rng.integers(0, 2, n),
            ]
        ).astype(np.float64)
        gone = rng.random((n, 6)) < draw(st.sampled_from([0.0, 0.2]))
        X[np.column_stack([gone[:, :5], gone[:, 4:]])] = draw(st.sampled_from([np.nan, INVALID]))
        if draw(st.booleans()):
            X[:, 3] = ABSENT
        sites.append(Rows(X, (rng.random(n) < 0.4).astype(np.float64)))
    return sites


def frame(sites: list[Rows]) -> pd.DataFrame:
    X = np.vstack([rows.X for rows in sites])
    data = pd.DataFrame(X, columns=[term.name for term in STUDY.terms])
    return data.replace([np.inf, -np.inf], np.nan).assign(y=np.concatenate([r.y for r in sites]))


def groups(data: pd.DataFrame) -> list[pd.DataFrame]:
    return [data[data.y == 0], data[data.y == 1], data]


def described(sites: list[Rows]) -> Description:
    return describe_rows(STUDY, {f"s{i}": rows for i, rows in enumerate(sites)}, ["s0", "s1"])


def _count(data: pd.DataFrame, kind: str, feature: str, level: str) -> int:
    if kind == "rows":
        return len(data)
    column = data["level[p]" if feature == "level" else feature]
    if kind == "observed":
        return int(column.notna().sum())
    if feature == "flag":
        return int((column == float(level)).sum())
    p, r = int((column == 1).sum()), int((data["level[r]"] == 1).sum())
    return {"p": p, "r": r, "q": int(column.notna().sum()) - p - r}[level]


slow = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@slow
@given(pools())
def test_figures_are_those_of_the_pooled_rows(sites: list[Rows]) -> None:
    """What is shown of all sites, overall and by outcome, equals pandas; the bound is honest."""
    found = described(sites)
    names = [feature.name for feature in continuous(STUDY)]
    place = {(cell.kind, cell.feature, cell.level): i for i, cell in enumerate(cells(STUDY))}
    for g, data in enumerate(groups(frame(sites))):
        counts = found.counts[-GROUPS + g]
        for (kind, feature, level), i in place.items():
            if kind in ("missing", "invalid") or np.isnan(counts[i]):
                continue
            assert counts[i] == _count(data, kind, feature, level)
        for k, name in enumerate(names):
            values = data[name].dropna()
            if np.isnan(found.mean[-GROUPS + g, k]):
                assert len(values) < 5 or np.isnan(counts[place["observed", name, ""]])
                continue
            sd = values.std(ddof=1)
            size = max(abs(values.mean()), sd)
            assert found.mean[-GROUPS + g, k] == pytest.approx(values.mean(), abs=1e-12 * size)
            assert found.sd[-GROUPS + g, k] == pytest.approx(sd, rel=1e-12, abs=1e-12 * size)
            for q, quantile in enumerate(QUANTILES):
                error = abs(found.quantiles[q, g, k] - values.quantile(quantile))
                assert error <= found.errors[q, g, k]
            overall = found.sd[-1, k]
            if name != "constant" and not np.isnan(overall):
                finest = 1e-14 * abs(values.mean())
                assert (found.errors[:, g, k] <= 2e-3 * max(sd, 1e-3 * overall) + finest).all()


@slow
@given(pools(), st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_split_of_the_rows_over_sites_changes_nothing(
    sites: list[Rows], seed: int, n_sites: int
) -> None:
    """Totals, means and quantiles are the same however the rows are spread over sites."""
    X, y = np.vstack([rows.X for rows in sites]), np.concatenate([rows.y for rows in sites])
    where = np.random.default_rng(seed).integers(0, n_sites, len(y))
    others = [Rows(X[where == i], y[where == i]) for i in range(n_sites)]
    closed = {f"s{i}": rows for i, rows in enumerate(sites)}
    one = describe_rows(STUDY, closed, closed)
    split = {f"t{i}": rows for i, rows in enumerate(others)}
    other = describe_rows(STUDY, split, split)
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(one.sd, other.sd, rtol=1e-11, atol=1e-300)
    both = one.errors + other.errors
    assert (abs(one.quantiles - other.quantiles) <= both)[~np.isnan(both)].all()


def test_the_passes_stop_when_the_bound_is_small() -> None:
    """Two histogram passes are enough for what clinical data look like."""
    study = Study.model_validate(
        {
            "study": {"name": "age", "outcome": {"column": "y", "event": 1}},
            "features": [{"name": "age", "kind": "continuous"}],
        }
    )
    rng = np.random.default_rng(3)
    ages = np.round(rng.normal(60, 9, (400, 1)))
    exchange = InMemory(study, {"a": Rows(ages, rng.integers(0, 2, 400) * 1.0)}, [])
    found = describe(study, exchange, exchange)
    assert exchange.passes.count("describe-histogram") == 2
    assert (found.errors <= 1e-3 * found.sd[-1]).all()
