import math

import numpy as np
import pytest
from sklearn import metrics as reference

from medhive.learning.algorithm import State
from medhive.learning.evaluation import EVALUATE, metrics
from medhive.learning.scores import PASSES, SCORES, auc, expected_scores, initial_edges, refine
from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.sums import Sums, total

STUDY = Study.model_validate(
    {
        "study": {"name": "test", "outcome": {"column": "y", "event": 1}},
        "features": [{"name": "x", "kind": "continuous"}],
    }
)
N = 20_000


def identity() -> dict[str, Array]:
    """State of a model whose linear predictor is its one column."""
    return {"params": np.array([0.0, 1.0]), "centre": np.zeros(1), "scale": np.ones(1)}


def in_sites(x: Array, y: Array) -> list[Rows]:
    X = x[:, None]
    return [Rows(X[part], y[part]) for part in (slice(0, 3), slice(3, 3), slice(3, None))]


def passes(x: Array, y: Array, edges: Array | None = None) -> list[tuple[float, float]]:
    state: State = {**identity(), "edges": initial_edges() if edges is None else edges}
    found = []
    for _ in range(PASSES):
        parts = [SCORES.contribute(rows, state, STUDY) for rows in in_sites(x, y)]
        assert all(part.layout == SCORES.layout(state, STUDY) for part in parts)
        state = SCORES.update(state, total(parts), STUDY)
        found.append((float(state["auc"]), float(state["auc_error"])))
        assert np.isfinite(state["edges"]).all()
        assert (np.diff(state["edges"]) > 0).all()
        assert len(state["edges"]) <= 2048
    return found


def outcomes(signal: Array, rng: np.random.Generator) -> Array:
    return (rng.random(len(signal)) < 1 / (1 + np.exp(-np.clip(signal, -30, 30)))).astype(float)


def adversaries() -> dict[str, tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    z = rng.normal(size=N)
    y = outcomes(z, rng)
    rare = np.zeros(N)
    rare[[5, 50, 500]] = 1.0
    outlier = z.copy()
    outlier[0] = 1e9
    huge = 1e-4 * z
    huge[0] = 1e300
    atoms = rng.choice([-1.2, 0.3, 0.30001, 2.0], N)
    return {
        "normal": (z, y),
        "rare outcome": (z, rare),
        "rare non-event": (z, 1 - rare),
        "weak model": (1e-4 * z, y),
        "weak model away from zero": (1e-4 * z - 3, y),
        "weak model far from zero": (1e-4 * z + 17.3, y),
        "one outlier": (outlier, y),
        "an outlier and a weak model": (huge, y),
        "separated": (np.where(y == 1, 1.0, -1.0) * (1000 + 1e4 * rng.random(N)), y),
        "separated the wrong way": (np.where(y == 1, -1.0, 1.0) * (1000 + 1e4 * rng.random(N)), y),
        "heavy tails": (100 * np.tan(1.5 * np.tanh(z)), y),
        "sixteen orders of magnitude": (np.sign(z) * 10 ** (16 * rng.random(N) - 8), y),
        "a narrow cluster in a wide one": (np.where(rng.random(N) < 0.5, 1e-4, 5.0) * z, y),
        "ties": (atoms, outcomes(atoms, rng)),
        "nine in ten tied": (np.where(rng.random(N) < 0.9, 0.5, z), y),
        "all tied": (np.full(N, -2.2), y),
        "all zero": (np.zeros(N), y),
        "twelve rows": (z[:12], np.tile([0.0, 1.0], 6)),
        "two rows": (z[:2], np.array([0.0, 1.0])),
    }


@pytest.mark.parametrize("name", adversaries())
def test_the_auc_is_within_a_thousandth_after_three_passes(name: str) -> None:
    """Whatever the scores look like, the AUC is near the exact one, within its own bound."""
    x, y = adversaries()[name]
    exact = reference.roc_auc_score(y, x)
    found = passes(x, y)
    assert abs(found[-1][0] - exact) < 1e-3
    for area, bound in found:
        assert abs(area - exact) <= bound + 1e-12


@pytest.mark.parametrize("span", [1e-8, 1e-5, 1e-1, 1e5])
@pytest.mark.parametrize("location", [0.0, -3.0, 1234.5])
def test_edges_where_scores_are_expected_resolve_any_span(span: float, location: float) -> None:
    """With location and scale from the model, the bound itself is below a thousandth."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=N)
    x, y = location + span * z, outcomes(z, rng)
    area, bound = passes(x, y, initial_edges(location, 3 * span))[-1]
    assert bound < 1e-3
    assert abs(area - reference.roc_auc_score(y, x)) < 1e-3


def test_scores_are_expected_where_they_are() -> None:
    """Location and scale are the mean and the sd of the linear predictor of one column."""
    x = np.random.default_rng(2).normal(50.0, 4.0, size=300)
    mean, sd = np.array([x.mean()]), np.array([x.std()])
    for centre, scale in [(mean, sd), (np.zeros(1), np.ones(1))]:
        params = np.array([-1.0, 0.25])
        eta = params[0] + params[1] * (x - centre) / scale
        state = {"params": params, "centre": centre, "scale": scale, "mean": mean, "sd": sd}
        assert expected_scores(state) == pytest.approx((eta.mean(), eta.std()))
    flat = {**state, "params": np.array([-1.0, 0.0])}
    assert expected_scores(flat) == (-1.0, 1.0)


def test_ties_count_half() -> None:
    """Two events and two others, one pair tied: (1 + 1 + 1 + 1/2) / 4 by hand."""
    x, y = np.array([0.0, 1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0, 1.0])
    area, bound = passes(x, y)[0]
    assert area == 3.5 / 4
    assert bound == 0.5 / 4


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_one_class_has_no_auc(only: float) -> None:
    """Without events, or with events only, the AUC is NaN and the passes go on."""
    assert all(math.isnan(a) and math.isnan(b) for a, b in passes(np.arange(9.0), np.full(9, only)))


def test_no_rows_leave_the_edges_alone() -> None:
    """Refining on an empty histogram keeps the edges."""
    edges = initial_edges()
    empty = Sums.of({"positive": np.zeros(2049), "negative": np.zeros(2049)})
    assert refine(edges, empty) is edges
    assert math.isnan(auc(empty)[0])


@pytest.mark.parametrize("spread", [0.1, 3.0, 2000.0])
def test_metrics_equal_those_of_the_pooled_rows(spread: float) -> None:
    """All metrics equal scikit-learn's, also where probabilities round to 0 and 1."""
    rng = np.random.default_rng(3)
    x = spread * rng.normal(size=400)
    y = outcomes(x / spread, rng)
    parts = [EVALUATE.contribute(rows, identity(), STUDY) for rows in in_sites(x, y)]
    assert all(part.layout == EVALUATE.layout(identity(), STUDY) for part in parts)
    found = metrics(total(parts))
    p = 1 / (1 + np.exp(-np.clip(x, -700, 700)))
    yes = p >= 0.5
    expected = {
        "accuracy": reference.accuracy_score(y, yes),
        "loss": reference.log_loss(y, p),
        "brier": reference.brier_score_loss(y, p),
        "sensitivity": reference.recall_score(y, yes),
        "specificity": reference.recall_score(1 - y, ~yes),
        "ppv": reference.precision_score(y, yes),
        "npv": reference.precision_score(1 - y, ~yes),
        "f1": reference.f1_score(y, yes),
    }
    assert found == pytest.approx(expected, abs=1e-9, rel=1e-9)
    state = EVALUATE.update(identity(), total(parts), STUDY)
    assert float(state["brier"]) == found["brier"]


def test_a_probability_of_one_half_predicts_the_event() -> None:
    """The event is predicted where its probability is at least 0.5."""
    sums = EVALUATE.contribute(Rows(np.zeros((2, 1)), np.array([1.0, 0.0])), identity(), STUDY)
    assert [sums.number(name) for name in ("tp", "fp", "tn", "fn")] == [1, 1, 0, 0]


def test_metrics_without_a_denominator_are_nan() -> None:
    """No row gives no metric; no event gives no sensitivity but a specificity."""
    nothing = EVALUATE.contribute(Rows(np.empty((0, 1)), np.empty(0)), identity(), STUDY)
    assert all(math.isnan(value) for value in metrics(nothing).values())
    healthy = EVALUATE.contribute(Rows(-np.ones((3, 1)), np.zeros(3)), identity(), STUDY)
    assert math.isnan(metrics(healthy)["sensitivity"])
    assert metrics(healthy)["specificity"] == 1.0
