"""Evaluation by sums: the confusion matrix, log-loss and Brier score."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from medhive.learning.algorithm import Algorithm, State
from medhive.learning.standardise import standardise
from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.sums import Layout, Sums

_FIELDS = ("n", "tp", "fp", "tn", "fn", "log_loss", "brier")


def linear_predictor(rows: Rows, state: State) -> Array:
    """Return the log-odds of the event, shape (n_samples,)."""
    params = state["params"]
    return np.asarray(params[0] + standardise(rows.X, state) @ params[1:], dtype=np.float64)


def metrics(total: Sums) -> dict[str, float]:
    """Return the metrics of all rows together; NaN where a metric has no denominator.

    Returns
    -------
    dict
        ``accuracy``, ``loss`` (mean log-loss), ``brier``, ``sensitivity``, ``specificity``,
        ``ppv``, ``npv``, ``f1``, equal to scikit-learn's on the pooled rows.
    """
    n, tp, fp, tn, fn, log_loss, brier = (total.number(name) for name in _FIELDS)
    return {
        "accuracy": _ratio(tp + tn, n),
        "loss": _ratio(log_loss, n),
        "brier": _ratio(brier, n),
        "sensitivity": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "ppv": _ratio(tp, tp + fp),
        "npv": _ratio(tn, tn + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def _layout(state: State, study: Study) -> Layout:
    return tuple((name, ()) for name in _FIELDS)


def _contribute(rows: Rows, state: State, study: Study) -> Sums:
    p = expit(linear_predictor(rows, state))
    event, predicted = rows.y == 1.0, p >= 0.5
    # clipped as sklearn.metrics.log_loss does
    eps = np.finfo(np.float64).eps
    likelihood = np.clip(np.where(event, p, 1.0 - p), eps, 1.0 - eps)
    return Sums.of(
        {
            "n": len(rows),
            "tp": np.sum(predicted & event),
            "fp": np.sum(predicted & ~event),
            "tn": np.sum(~predicted & ~event),
            "fn": np.sum(~predicted & event),
            "log_loss": -np.log(likelihood).sum(),
            "brier": np.sum((p - rows.y) ** 2),
        }
    )


def _update(state: State, total: Sums, study: Study) -> dict[str, Array]:
    return {**state, **{name: np.asarray(value) for name, value in metrics(total).items()}}


EVALUATE = Algorithm("evaluate", _layout, _contribute, _update)
"""Needs ``params``, ``centre`` and ``scale``; adds the metrics as 0-d arrays. The event is
predicted where its probability is at least 0.5."""
