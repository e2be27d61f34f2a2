import itertools
import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from medhive.errors import FederationError
from medhive.learning.algorithm import State
from medhive.learning.fedavg import FEDAVG, average
from medhive.learning.fedprox import FEDPROX, train_near
from medhive.learning.local import fit_to_convergence, train
from medhive.learning.objective import Objective, penalties
from medhive.learning.registry import ALGORITHMS, DESCRIPTIONS, training_algorithm
from medhive.rows import Array, Rows
from medhive.study import TUNING, Run, Study
from medhive.sums import Sums, total

PENALTIES = ("l2", "l1", "elasticnet", "none")


def make_study(p: int, **run: object) -> Study:
    features = [{"name": f"x{j}", "kind": "continuous"} for j in range(p)]
    header = {"name": "test", "outcome": {"column": "y", "event": 1}}
    return Study.model_validate({"study": header, "run": run, "features": features})


def sample(n: int, p: int = 3, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, p))
    return Z, (rng.random(n) < 1 / (1 + np.exp(-Z[:, 0] + 0.5))).astype(float)


def start(p: int, n: int) -> State:
    zeros = np.zeros(p)
    params = np.zeros(p + 1)
    return {"params": params, "centre": zeros, "scale": zeros + 1, "n": np.asarray(float(n))}


def optimality(w: Array, Z: Array, y: Array, run: Run) -> float:
    """Largest violation of the subgradient conditions of mean loss + penalty."""
    l1, l2 = penalties(run, len(y))
    g = Objective(Z, y, l2=l2).smooth(w)[1]
    signed = np.abs(g[1:] + l1 * np.sign(w[1:]))
    slack = np.maximum(np.abs(g[1:]) - l1, 0)
    g[1:] = np.where(w[1:] != 0, signed, slack)
    return float(np.abs(g).max())


def test_fedavg_of_two_sites_by_hand() -> None:
    """One row with parameters (1, 2) and three with (3, 6) average to (2.5, 5)."""
    sums = [
        Sums.of({"weighted": n * np.array(w), "n": n})
        for n, w in [(1, [1.0, 2.0]), (3, [3.0, 6.0])]
    ]
    state = FEDAVG.update({"params": np.zeros(2)}, total(sums), make_study(1))
    assert state["params"].tolist() == [2.5, 5.0]


def test_the_intercept_alone_is_the_log_odds() -> None:
    """With a constant column, FedAvg finds log(events / others) at each site and averages it."""
    study = make_study(1, local_epochs=100)
    sites = [Rows(np.zeros((4, 1)), np.array([1.0, 1, 1, 0])), Rows(np.zeros((2, 1)), np.eye(2)[0])]
    parts = [FEDAVG.contribute(rows, start(1, 6), study) for rows in sites]
    assert average(total(parts)) == pytest.approx([np.log(3) * 4 / 6, 0.0], abs=1e-6)


def test_an_average_of_no_rows_is_an_error() -> None:
    """The average says that there is no row instead of dividing by zero."""
    with pytest.raises(FederationError, match="no site has a training row"):
        average(Sums.of({"weighted": [0.0, 0.0], "n": 0}))


@pytest.mark.parametrize("algorithm", [FEDAVG, FEDPROX])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_site_without_rows_contributes_zeros(algorithm: object, penalty: str) -> None:
    """A site without training rows changes no total and has the same layout."""
    study = make_study(2, strategy=algorithm.name, penalty=penalty)  # type: ignore[attr-defined]
    empty = Rows(np.empty((0, 2)), np.empty(0))
    sums = algorithm.contribute(empty, start(2, 5), study)  # type: ignore[attr-defined]
    assert sums.layout == algorithm.layout(start(2, 5), study)  # type: ignore[attr-defined]
    assert not sums.vector.any()


def test_the_sites_objectives_add_up_to_the_pooled_one() -> None:
    """With C_k = C n / n_k the optimum of two copies of the rows is that of the pooled rows."""
    Z, y = sample(60)
    run = Run(C=0.05, local_epochs=1000)
    pooled = fit_to_convergence(np.vstack([Z, Z]), np.append(y, y), run)
    np.testing.assert_allclose(train(Z, y, np.zeros(4), 120.0, run), pooled, atol=1e-5)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("C", [1e-6, 1e-2, 1.0, 1e6])
def test_fit_to_convergence_meets_the_optimality_conditions(penalty: str, C: float) -> None:
    """The fit is the optimum of scikit-learn's objective; the intercept is not penalised."""
    Z, y = sample(200)
    run = Run(penalty=penalty, C=C)
    params = fit_to_convergence(Z, y, run)
    # the line search sees the objective to 1e-16, hence its gradient to about 1e-8
    assert optimality(params, Z, y, run) < 2e-8
    if C == 1e-6 and penalty != "none":
        assert params == pytest.approx([np.log(y.mean() / (1 - y.mean())), 0, 0, 0], abs=1e-4)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("C", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("only", [0.0, 1.0])
@pytest.mark.parametrize("n", [1, 30])
def test_one_class_only_trains(penalty: str, C: float, only: float, n: int) -> None:
    """A site with one outcome class trains towards it, with every penalty, without a warning."""
    Z, _ = sample(n)
    y = np.full(n, only)
    run = Run(penalty=penalty, C=C)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for params in (
            train(Z, y, np.zeros(4), 4.0 * n, run),
            fit_to_convergence(Z, y, run),
            train_near(Z, y, np.zeros(4), 4.0 * n, run),
        ):
            assert np.isfinite(params).all()
            assert np.mean(params[0] + Z @ params[1:]) * (2 * only - 1) > 0


@pytest.mark.parametrize("penalty", ["l2", "none"])
def test_two_classes_train_exactly_as_scikit_learn_does(penalty: str) -> None:
    """A site with both classes gets what a plain LogisticRegression gives, bit for bit."""
    Z, y = sample(50)
    run = Run(penalty=penalty, C=0.3, local_epochs=4, seed=7)
    model = LogisticRegression(
        C=np.inf if penalty == "none" else 0.3 * 200 / 50,
        max_iter=4,
        tol=1e-10,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(Z, y)
    params = train(Z, y, np.zeros(4), 200.0, run)
    assert params.tolist() == [model.intercept_[0], *model.coef_[0]]


def test_a_row_of_weight_zero_does_not_move_a_fit() -> None:
    """The row that names a missing class has no influence on the optimum."""
    Z, y = sample(80)
    weights = np.append(np.ones(80), 0.0)
    model = LogisticRegression(tol=1e-10).fit(np.vstack([Z, Z[:1] + 9]), [*y, 1.0], weights)
    params = fit_to_convergence(Z, y, Run())
    np.testing.assert_allclose([*model.intercept_, *model.coef_[0]], params, atol=1e-6)


def test_training_starts_from_the_global_parameters() -> None:
    """At the optimum one more round changes nothing; from zero one epoch is not enough."""
    Z, y = sample(100)
    run = Run(local_epochs=1)
    best = fit_to_convergence(Z, y, run)
    np.testing.assert_allclose(train(Z, y, best, 100.0, run), best, atol=1e-8)
    assert np.abs(train(Z, y, np.zeros(4), 100.0, run) - best).max() > 1e-3


@pytest.mark.parametrize("n", [4, 40])
def test_separable_rows_without_a_penalty_stay_finite(n: int) -> None:
    """Where no finite estimate exists the iterations are bounded and the numbers finite."""
    x = np.linspace(-1, 1, n)
    params = fit_to_convergence(x[:, None], (x > 0).astype(float), Run(penalty="none"))
    assert np.isfinite(params).all()
    assert params[1] > 5


def test_collinear_columns_without_a_penalty_stay_finite() -> None:
    """A column given twice is fitted as its sum."""
    Z, y = sample(200, p=1)
    run = Run(penalty="none")
    twice = fit_to_convergence(np.hstack([Z, Z]), y, run)
    assert twice[1] + twice[2] == pytest.approx(fit_to_convergence(Z, y, run)[1], rel=1e-4)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_fedprox_without_a_pull_finds_the_local_optimum(penalty: str) -> None:
    """With mu = 0 and many iterations FedProx is the local fit."""
    Z, y = sample(100)
    run = Run(strategy="fedprox", proximal_mu=0.0, penalty=penalty, C=0.2, local_epochs=1000)
    found = train_near(Z, y, np.full(4, 0.3), 100.0, run)
    np.testing.assert_allclose(found, fit_to_convergence(Z, y, run), atol=1e-6)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_fedprox_with_a_strong_pull_stays(penalty: str) -> None:
    """A large mu keeps every parameter, the intercept too, at the global one."""
    Z, y = sample(100)
    run = Run(strategy="fedprox", proximal_mu=1e8, penalty=penalty, local_epochs=50)
    params = np.array([1.0, -2.0, 0.0, 0.5])
    np.testing.assert_allclose(train_near(Z, y, params, 100.0, run), params, atol=1e-6)


@pytest.mark.parametrize("mu", [0.01, 1.0])
def test_fedprox_pulls_as_its_paper_says(mu: float) -> None:
    """At the result the gradient of the mean loss and penalty equals mu (w_global - w)."""
    Z, y = sample(100)
    run = Run(strategy="fedprox", proximal_mu=mu, local_epochs=500)
    anchor = np.array([1.0, -2.0, 0.0, 0.5])
    w = train_near(Z, y, anchor, 300.0, run)
    gradient = Objective(Z, y, l2=1 / 300).smooth(w)[1]
    np.testing.assert_allclose(gradient, mu * (anchor - w), atol=1e-7)


def test_the_gradient_is_that_of_the_value() -> None:
    """Value and gradient agree by central differences."""
    Z, y = sample(20)
    objective = Objective(Z, y, l2=0.3, mu=0.7, anchor=np.ones(4))
    w, h = np.array([0.1, -0.2, 0.3, 0.4]), 1e-6
    steps = h * np.eye(4)
    slope = [(objective.smooth(w + e)[0] - objective.smooth(w - e)[0]) / (2 * h) for e in steps]
    np.testing.assert_allclose(objective.smooth(w)[1], slope, atol=1e-8)


def test_every_strategy_has_its_training() -> None:
    """FedProx trains near the global model; every other strategy trains as FedAvg."""
    for strategy in TUNING:
        expected = FEDPROX if strategy == "fedprox" else FEDAVG
        assert training_algorithm(Run(strategy=strategy)) is expected
    before = {"missing", "missing-by-site", "moments", "spread"}
    run = {"fedavg", "fedprox", "evaluate", "scores"}
    assert set(ALGORITHMS) - DESCRIPTIONS == before | run


def test_rounds_of_one_site_reach_the_pooled_optimum() -> None:
    """FedAvg and FedProx with one site and many rounds are the pooled fit, for every penalty."""
    Z, y = sample(150)
    for strategy, penalty in itertools.product(("fedavg", "fedprox"), PENALTIES):
        study = make_study(3, strategy=strategy, penalty=penalty, C=0.1)
        algorithm, state = training_algorithm(study.run), dict(start(3, 150))
        for _ in range(50):
            part = algorithm.contribute(Rows(Z, y), state, study)
            state = algorithm.update(state, total([part]), study)
        np.testing.assert_allclose(
            state["params"], fit_to_convergence(Z, y, study.run), atol=1e-5, err_msg=penalty
        )
