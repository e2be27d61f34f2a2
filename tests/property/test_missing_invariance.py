"""Missing values at random: totals, filling and hidden counts, for any split over sites."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhive.learning.algorithm import State
from medhive.learning.missingness import counted, counted_for_itself, disclose
from medhive.learning.registry import ALGORITHMS
from medhive.learning.scores import initial_edges
from medhive.learning.standardise import standardise
from medhive.privacy.disclosure import possible_values
from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.sums import total

P = 3
FLOOR = 5


def make_study(mode: str) -> Study:
    return Study.model_validate(
        {
            "study": {"name": "test", "outcome": {"column": "y", "event": 1}},
            "run": {"missing": mode},
            "features": [{"name": f"x{j}", "kind": "continuous"} for j in range(P)],
        }
    )


def at(rows: Rows, index: Array) -> Rows:
    return Rows(rows.X[index], rows.y[index])


@st.composite
def federations(draw: st.DrawFn) -> tuple[Study, Rows, list[Array]]:
    """Rows with holes, in any of the modes that fill, and a split over sites."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = 10.0 ** draw(st.integers(-3, 6)) * (draw(st.integers(-5, 5)) + rng.normal(size=(n, P)))
    holes = rng.random((n, P)) < draw(st.lists(st.floats(0, 1), min_size=P, max_size=P))
    values[holes] = np.nan
    study = make_study(draw(st.sampled_from(["mean", "indicator"])))
    columns = {f"x{j}": values[:, j] for j in range(P)}
    X = np.column_stack(
        [np.isnan(columns[t.feature]) if t.missing else columns[t.feature] for t in study.terms]
    )
    rows = Rows(X.astype(np.float64), (rng.random(n) < 0.5).astype(float))
    site = rng.integers(0, draw(st.integers(1, 6)), size=n)
    return study, rows, [np.flatnonzero(site == k) for k in range(7)]


def federated(study: Study, parts: list[Rows]) -> State:
    state: State = {}
    for name in ("moments", "spread"):
        sums = [ALGORITHMS[name].contribute(part, state, study) for part in parts]
        state = ALGORITHMS[name].update(state, total(sums), study)
    return state


@pytest.mark.parametrize(
    "name", ["missing", "moments", "spread", "evaluate", "scores", "fedavg", "fedprox"]
)
@given(federation=federations())
@settings(max_examples=40, deadline=None)
def test_totals_do_not_depend_on_the_split(
    name: str, federation: tuple[Study, Rows, list[Array]]
) -> None:
    """With values missing anywhere, every total is finite, and the same for any split."""
    study, rows, split = federation
    algorithm = ALGORITHMS[name]
    p = len(study.terms)
    state = {
        **federated(study, [rows]),
        "params": np.linspace(-1, 1, p + 1),
        "edges": initial_edges(),
    }
    parts = [algorithm.contribute(at(rows, index), state, study) for index in split]
    assert all(part.layout == algorithm.layout(state, study) for part in parts)
    assert all(np.isfinite(part.vector).all() for part in parts)
    if name.startswith("fed"):
        return  # training at a site depends on which rows it has
    pooled = algorithm.contribute(rows, state, study)
    alone = (algorithm.contribute(at(rows, np.array([i])), state, study) for i in range(len(rows)))
    rounding = 1e-13 * sum(np.abs(each.vector) for each in alone)
    assert (np.abs(total(parts).vector - pooled.vector) <= rounding).all()


@given(federation=federations())
@settings(max_examples=100, deadline=None)
def test_filling_is_that_of_the_pooled_rows(federation: tuple[Study, Rows, list[Array]]) -> None:
    """For any holes and any split, filled columns have the mean and sd that pandas gives."""
    study, rows, split = federation
    state = federated(study, [at(rows, index) for index in split])
    table = pd.DataFrame(rows.X)
    filled = np.asarray(table.fillna(table.mean()).fillna(0.0))
    size = np.abs(filled).max(axis=0)
    assert (np.abs(state["mean"] - filled.mean(axis=0)) <= 1e-12 * size).all()
    assert (np.abs(state["sd"] - filled.std(axis=0)) <= 1e-12 * size).all()
    Z = standardise(rows.X, state)
    assert (Z[np.isnan(rows.X)] == 0.0).all()
    np.testing.assert_allclose(
        Z * state["scale"] + state["centre"], filled, atol=1e-12 * size.max()
    )


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    silent=st.sets(st.integers(0, 5)),
    floor=st.integers(FLOOR, 8),
)
@settings(max_examples=150, deadline=None)
def test_no_small_count_follows_from_what_is_shown(
    counts: list[int], silent: set[int], floor: int
) -> None:
    """A small count, also a silent site's, could be any of at least `FLOOR` + 1 numbers."""
    study = make_study("mean")
    every = [dict.fromkeys(study.columns, 0) | {"x0": count} for count in counts]
    replies = {
        str(k): counted_for_itself(each, study, floor)
        for k, each in enumerate(every)
        if k not in silent
    }
    sums = total(counted(each, study) for each in every)
    found = disclose(study, sums, {str(k): 99 for k in range(len(counts))}, replies)["x0"]
    shown = [*found.by_site.values(), found.n]
    truth = [*counts, sum(counts)]
    assert all(value is None or value == true for value, true in zip(shown, truth, strict=True))
    assert not any(value in range(1, FLOOR) for value in shown if value is not None)
    hidden = np.array([value is None for value in shown])
    n = len(counts)
    for k, true in enumerate(truth):
        if 0 < true < FLOOR:
            assert hidden[k]
            table = np.array(truth, dtype=np.float64)
            low, high = possible_values(table, [(range(n), n)], hidden, k)
            assert high - low >= FLOOR
