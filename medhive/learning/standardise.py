"""Federated mean and standard deviation, in two passes, filling, and the change of units."""

from __future__ import annotations

import numpy as np

from medhive.errors import FederationError
from medhive.learning.algorithm import Algorithm, State
from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.sums import Layout, Sums


def standardise(X: Array, state: State) -> Array:
    """Return ``(X - centre) / scale`` with ``fill`` for NaN, shape (n_samples, n_features)."""
    missing = np.isnan(X)
    if missing.any():
        X = np.where(missing, state["fill"], X)
    return np.asarray((X - state["centre"]) / state["scale"], dtype=np.float64)


def moments(rows: Rows, study: Study) -> State:
    """Return the state after both passes over rows that are all in one place."""
    state: State = {}
    for algorithm in (MOMENTS, SPREAD):
        state = algorithm.update(state, algorithm.contribute(rows, state, study), study)
    return state


def to_clinical(params: Array, centre: Array, scale: Array) -> Array:
    """Convert parameters of a model on ``(X - centre) / scale`` to clinical units.

    Parameters
    ----------
    params : ndarray, shape (n_features + 1,)
        Intercept first.
    centre, scale : ndarray, shape (n_features,)
        Clinical units; no scale is zero.
    """
    coef = params[1:] / scale
    return np.concatenate([[params[0] - coef @ centre], coef])


def to_standardised(params: Array, mean: Array, sd: Array) -> Array:
    """Convert parameters in clinical units to the standardised scale (per standard deviation).

    The coefficient of a constant column (`sd` 0) becomes 0: its effect is in the intercept.
    """
    coef = params[1:]
    return np.concatenate([[params[0] + coef @ mean], coef * sd])


def _moments_layout(state: State, study: Study) -> Layout:
    shape = (len(study.terms),)
    return (("n", ()), ("events", ()), ("observed", shape), ("x", shape))


def _moments_contribute(rows: Rows, state: State, study: Study) -> Sums:
    observed, X = _observed(rows.X)
    return Sums.of(
        {"n": len(rows), "events": rows.y.sum(), "observed": observed, "x": X.sum(axis=0)}
    )


def _moments_update(state: State, total: Sums, study: Study) -> dict[str, Array]:
    _rows_in(total)
    mean = _per_value(total["x"], total["observed"])
    return {**state, "n": total["n"], "events": total["events"], "mean": mean}


def _spread_layout(state: State, study: Study) -> Layout:
    shape = (len(study.terms),)
    return (("n", ()), ("observed", shape), ("dx", shape), ("dxx", shape))


def _spread_contribute(rows: Rows, state: State, study: Study) -> Sums:
    observed, d = _observed(rows.X - state["mean"])
    return Sums.of(
        {
            "n": len(rows),
            "observed": observed,
            "dx": d.sum(axis=0),
            "dxx": (d * d).sum(axis=0),
        }
    )


def _observed(X: Array) -> tuple[Array, Array]:
    """Return how many values each column has, and the columns with 0 where there is none."""
    missing = np.isnan(X)
    observed = len(X) - np.count_nonzero(missing, axis=0).astype(np.float64)
    return observed, np.where(missing, 0.0, X) if missing.any() else X


def _per_value(sums: Array, observed: Array) -> Array:
    """Return sums divided by the number of values; 0 where there is none."""
    return np.divide(sums, observed, out=np.zeros_like(sums), where=observed > 0)


def _spread_update(state: State, total: Sums, study: Study) -> dict[str, Array]:
    """Finish the corrected two-pass algorithm.

    Var = (sum d^2 - (sum d)^2 / n) / n with d = x - centre (Chan, Golub and LeVeque 1983, The
    American Statistician 37:242, eq. 1.7): sum d would be zero but for rounding, or for a cohort
    that changed between the passes, and corrects both the variance and the mean. A value that is
    missing, and gets the mean, adds nothing to the sum of squares, and counts in n.
    """
    n, observed = _rows_in(total), total["observed"]
    shift = _per_value(total["dx"], observed)
    mean = state["mean"] + shift
    variance = np.maximum(total["dxx"] / n - shift * shift * (observed / n), 0.0)
    # scikit-learn's bound on what rounding leaves of a constant column (_is_constant_feature)
    noise = (n * np.finfo(np.float64).eps * mean) ** 2
    sd = np.where(variance <= noise, 0.0, np.sqrt(variance))
    if study.run.standardise:
        centre, scale = mean, np.where(sd == 0.0, 1.0, sd)
    else:
        centre, scale = np.zeros_like(mean), np.ones_like(mean)
    fill = {} if study.run.missing == "drop" else {"fill": mean}
    found = {"mean": mean, "sd": sd, "centre": centre, "scale": scale, "observed": observed}
    return {**state, **found, **fill}


def _rows_in(total: Sums) -> float:
    n = total.number("n")
    if n < 1:
        raise FederationError(
            "no site has a row that can be used",
            next_step="ask the sites to check their data against the study file",
        )
    return n


MOMENTS = Algorithm("moments", _moments_layout, _moments_contribute, _moments_update)
"""First pass: adds ``n``, ``events`` and ``mean`` (of the values there are, clinical units)."""

SPREAD = Algorithm("spread", _spread_layout, _spread_contribute, _spread_update)
"""Second pass, around ``mean``: adds ``sd`` (ddof 0), ``centre`` and ``scale``, and rounds off
``mean``. ``centre`` and ``scale`` are what training uses: mean and sd where the contract
standardises (1 for a constant column), else 0 and 1. Where the contract fills missing values, adds
``fill``, the mean, or 0 where a column has no value at all (``observed`` 0); ``sd`` is that of the
filled column."""
