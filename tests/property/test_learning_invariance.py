import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhive.learning import evaluation, scores, standardise
from medhive.learning.algorithm import Algorithm, State
from medhive.learning.fedavg import weighted
from medhive.learning.registry import ALGORITHMS
from medhive.learning.scores import initial_edges
from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.sums import Sums, total

P = 3
STUDY = Study.model_validate(
    {
        "study": {"name": "test", "outcome": {"column": "y", "event": 1}},
        "features": [{"name": f"x{j}", "kind": "continuous"} for j in range(P)],
    }
)
BY_ROWS = ("moments", "spread", "evaluate", "scores")


@st.composite
def federations(draw: st.DrawFn) -> tuple[Rows, list[Array], State]:
    """Rows, a split of them over sites (an empty one too), and a state."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = 10.0 ** draw(st.integers(-3, 6))
    X = size * (draw(st.integers(-5, 5)) + rng.normal(size=(n, P)))
    rows = Rows(X, (rng.random(n) < draw(st.floats(0, 1))).astype(float))
    site = rng.integers(0, draw(st.integers(1, 6)), size=n)
    split = [np.flatnonzero(site == k) for k in range(7)]
    split = [split[k] for k in rng.permutation(7)]
    state = {
        "params": rng.normal(size=P + 1),
        "centre": X.mean(axis=0),
        "scale": np.full(P, size),
        "mean": X.mean(axis=0),
        "edges": initial_edges(),
    }
    return rows, split, state


def at(rows: Rows, index: Array) -> Rows:
    return Rows(rows.X[index], rows.y[index])


def check_rows(algorithm: Algorithm, rows: Rows, split: list[Array], state: State) -> None:
    """Check that no order of rows and no split over sites changes the total."""
    pooled = algorithm.contribute(rows, state, STUDY)
    parts = [algorithm.contribute(at(rows, index), state, STUDY) for index in split]
    assert all(part.layout == algorithm.layout(state, STUDY) for part in [pooled, *parts])
    back = algorithm.contribute(at(rows, np.arange(len(rows))[::-1]), state, STUDY)
    # rounding, as a share of the sum of sizes: a sum that cancels has no digits of its own
    rounding = 1e-13 * sum(
        np.abs(algorithm.contribute(at(rows, np.array([i])), state, STUDY).vector)
        for i in range(len(rows))
    )
    for other in (total(parts), back):
        assert (np.abs(other.vector - pooled.vector) <= rounding).all()


def check_sites(parts: list[Sums], order: list[int]) -> None:
    assert total([parts[k] for k in order]).vector.tobytes() == total(parts).vector.tobytes()


@pytest.mark.parametrize("name", BY_ROWS)
@given(federation=federations())
@settings(max_examples=60, deadline=None)
def test_totals_do_not_depend_on_rows_or_split(
    name: str, federation: tuple[Rows, list[Array], State]
) -> None:
    """Every total is the same for any order of rows and any split over sites, empty ones too."""
    check_rows(ALGORITHMS[name], *federation)


@pytest.mark.parametrize("name", BY_ROWS)
@given(federation=federations(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_totals_do_not_depend_on_the_order_of_sites(
    name: str, federation: tuple[Rows, list[Array], State], data: st.DataObject
) -> None:
    """A total is the same to the bit whichever site answers first."""
    rows, split, state = federation
    parts = [ALGORITHMS[name].contribute(at(rows, index), state, STUDY) for index in split]
    check_sites(parts, data.draw(st.permutations(range(len(parts)))))


@given(
    models=st.lists(
        st.tuples(st.integers(0, 10_000), st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2)),
        min_size=1,
        max_size=8,
    ),
    data=st.data(),
)
def test_fedavg_does_not_depend_on_the_order_of_sites(
    models: list[tuple[int, list[float]]], data: st.DataObject
) -> None:
    """The weighted sum of models is correctly rounded, so the same to the bit in any order."""
    parts = [weighted(np.array(params), n) for n, params in models]
    check_sites(parts, data.draw(st.permutations(range(len(parts)))))
    exact = [math.fsum(n * params[j] for n, params in models) for j in range(2)]
    assert total(parts)["weighted"].tolist() == exact


@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1),
    data=st.data(),
)
def test_any_total_is_free_of_order(values: list[float], data: st.DataObject) -> None:
    """Whatever is added, the order of the parts does not change a bit."""
    parts = [Sums.of({"x": [value]}) for value in values]
    check_sites(parts, data.draw(st.permutations(range(len(parts)))))


@given(
    federation=federations(),
    factor=st.floats(1e-3, 1e3),
    shift=st.floats(-100, 100),
)
@settings(max_examples=60, deadline=None)
def test_standardising_does_not_depend_on_units(
    federation: tuple[Rows, list[Array], State], factor: float, shift: float
) -> None:
    """Rows in other units (Fahrenheit for Celsius) have the same standardised values."""
    rows, split, _ = federation
    # two rows at least, apart from each other by more than rounding
    X = np.vstack([rows.X, rows.X[:1] + np.ptp(rows.X) + 1.0])
    other = X * factor + shift * factor * np.ptp(X)
    Z = []
    for values in (X, other):
        state: State = {}
        sites = [values[index] for index in split] + [values[-1:]]
        for name in ("moments", "spread"):
            parts = [
                ALGORITHMS[name].contribute(Rows(site, np.zeros(len(site))), state, STUDY)
                for site in sites
            ]
            state = ALGORITHMS[name].update(state, total(parts), STUDY)
        Z.append(standardise.standardise(values, state))
    np.testing.assert_allclose(Z[0], Z[1], atol=1e-8)


@pytest.mark.parametrize("name", BY_ROWS)
def test_a_mean_in_place_of_a_sum_is_noticed(name: str) -> None:
    """The invariance check fails for a contribution that divides by the site's own rows."""
    rng = np.random.default_rng(0)
    rows = Rows(rng.normal(size=(12, P)), np.tile([0.0, 1.0], 6))
    split = [np.arange(0, 3), np.arange(3, 3), np.arange(3, 12)]
    algorithm = ALGORITHMS[name]

    def mean(rows: Rows, state: State, study: Study) -> Sums:
        sums = algorithm.contribute(rows, state, study)
        return Sums(sums.layout, sums.vector / max(len(rows), 1))

    mutant = Algorithm(algorithm.name, algorithm.layout, mean, algorithm.update)
    zeros = np.zeros(P)
    state = {"params": np.ones(P + 1), "centre": zeros, "scale": zeros + 1, "mean": zeros}
    state["edges"] = initial_edges()
    check_rows(algorithm, rows, split, state)
    with pytest.raises(AssertionError):
        check_rows(mutant, rows, split, state)


def test_a_total_by_plain_addition_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order check fails where sites are added one after the other."""
    parts = [Sums.of({"x": [value]}) for value in (1e16, 1.0, -1e16)]
    check_sites(parts, [2, 0, 1])
    monkeypatch.setattr(math, "fsum", sum)
    with pytest.raises(AssertionError):
        check_sites(parts, [2, 0, 1])


@pytest.mark.parametrize(
    ("module", "name", "field"),
    [
        (standardise, "moments", "x"),
        (evaluation, "evaluate", "log_loss"),
        (scores, "scores", "positive"),
    ],
)
def test_a_mean_in_one_field_is_noticed(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, field: str
) -> None:
    """One field averaged by a site is enough to fail the invariance check."""

    class Averaging:
        @staticmethod
        def of(fields: dict[str, Array]) -> Sums:
            fields = dict(fields)
            rows = fields.get("n", np.sum(fields.get("positive", 1)))
            fields[field] = np.asarray(fields[field]) / max(float(rows), 1.0)
            return Sums.of(fields)

    monkeypatch.setattr(module, "Sums", Averaging)
    rows = Rows(np.arange(36.0).reshape(12, P), np.tile([0.0, 1.0], 6))
    zeros = np.zeros(P)
    state = {"params": np.ones(P + 1), "centre": zeros, "scale": zeros + 50}
    state["edges"] = initial_edges()
    with pytest.raises(AssertionError):
        check_rows(ALGORITHMS[name], rows, [np.arange(4), np.arange(4, 12)], state)
