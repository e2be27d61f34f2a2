import numpy as np
import pytest

from medhive.errors import FederationError
from medhive.learning.algorithm import State
from medhive.learning.registry import ALGORITHMS
from medhive.learning.standardise import standardise, to_clinical, to_standardised
from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.sums import total


def make_study(p: int, **run: object) -> Study:
    features = [{"name": f"x{j}", "kind": "continuous"} for j in range(p)]
    header = {"name": "test", "outcome": {"column": "y", "event": 1}}
    return Study.model_validate({"study": header, "run": run, "features": features})


def moments(sites: list[Array], study: Study) -> State:
    rows = [Rows(X, np.zeros(len(X))) for X in sites]
    state: State = {}
    for name in ("moments", "spread"):
        algorithm = ALGORITHMS[name]
        parts = [algorithm.contribute(each, state, study) for each in rows]
        assert all(part.layout == algorithm.layout(state, study) for part in parts)
        state = algorithm.update(state, total(parts), study)
    return state


def test_two_sites_give_the_closed_form() -> None:
    """1, 2 at one site and 3, 6 at the other have mean 3 and variance 3.5."""
    state = moments([np.array([[1.0], [2.0]]), np.array([[3.0], [6.0]])], make_study(1))
    assert state["n"] == 4
    assert state["mean"].tolist() == [3.0]
    assert state["sd"] == pytest.approx([3.5**0.5], rel=1e-15)


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (1e6, 1.0), (-1e6, 1e-3), (1e-9, 1e-12)])
def test_mean_and_sd_are_exact_far_from_zero(mean: float, sd: float) -> None:
    """Mean and sd equal the pooled rows', also where the mean dwarfs the sd.

    In extended precision: NumPy's own float64 sd loses the twelfth digit at mean 1e6, sd 1e-3.
    """
    X = np.random.default_rng(0).normal(mean, sd, size=(5000, 3))
    state = moments([X[:7], X[7:3000], X[3000:3000], X[3000:]], make_study(3))
    exact = X.astype(np.longdouble)
    np.testing.assert_allclose(state["mean"], exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(state["sd"], exact.std(axis=0), rtol=1e-12)


def test_the_correction_repairs_a_centre_that_is_not_the_mean() -> None:
    """The second pass gives mean and sd around any centre."""
    X = np.random.default_rng(1).normal(size=(500, 2))
    spread = ALGORITHMS["spread"]
    state: State = {"mean": np.array([0.3, -0.2]), "n": np.asarray(500.0)}
    rows = Rows(X, np.zeros(500))
    state = spread.update(state, spread.contribute(rows, state, make_study(2)), make_study(2))
    np.testing.assert_allclose(state["sd"], X.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(state["mean"], X.mean(axis=0), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3, -7e-9])
def test_a_constant_column_has_sd_zero_and_scale_one(value: float) -> None:
    """Rounding does not make a constant column look as if it varied."""
    X = np.full((1001, 1), value)
    state = moments([X[:333], X[333:]], make_study(1))
    assert state["sd"].tolist() == [0.0]
    assert state["scale"].tolist() == [1.0]
    assert np.abs(standardise(X, state)).max() <= 1e-9 * abs(value)


def test_without_standardising_training_sees_clinical_units() -> None:
    """`standardise = false` leaves the rows alone; mean and sd are known all the same."""
    X = np.array([[1.0], [5.0]])
    state = moments([X], make_study(1, standardise=False))
    assert standardise(X, state).tolist() == X.tolist()
    assert state["sd"].tolist() == [2.0]


def test_no_row_at_any_site_is_an_error() -> None:
    """A federation without a row says so instead of dividing by zero."""
    with pytest.raises(FederationError, match="no site has a row"):
        moments([np.empty((0, 1))], make_study(1))


def test_the_change_of_units_keeps_every_prediction() -> None:
    """Clinical and standardised parameters give the same linear predictor, and map back."""
    rng = np.random.default_rng(2)
    X, params = rng.normal(100.0, 20.0, size=(30, 3)), rng.normal(size=4)
    mean, sd = X.mean(axis=0), X.std(axis=0)
    clinical = to_clinical(params, mean, sd)
    np.testing.assert_allclose(
        clinical[0] + X @ clinical[1:], params[0] + (X - mean) / sd @ params[1:], rtol=1e-10
    )
    np.testing.assert_allclose(to_standardised(clinical, mean, sd), params, rtol=1e-10)
