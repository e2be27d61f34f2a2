"""The area under the ROC curve from histograms of the scores, sharpened pass by pass."""

from __future__ import annotations

import numpy as np

from medhive.learning.algorithm import Algorithm, State
from medhive.learning.evaluation import linear_predictor
from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.sums import Layout, Sums

PASSES = 3
"""Passes after which the AUC is within 0.001 of the exact one."""

# even, so that no edge falls on the middle, where every score is when the coefficients are zero
_EDGES = 2048
_REACH = 1e12
_TAIL = 700.0  # asinh of 1e304


def initial_edges(location: float = 0.0, scale: float = 1.0) -> Array:
    """Return the bin edges of the first pass: dense around `location`, reaching far out.

    Parameters
    ----------
    location, scale : float
        Where the scores are expected, and about how far apart; see :func:`expected_scores`.

    Returns
    -------
    ndarray, shape (2048,)
        Increasing; evenly spaced in asinh((score - location) / scale).
    """
    far = float(np.arcsinh(_REACH))
    return np.unique(location + scale * np.sinh(np.linspace(-far, far, _EDGES)))


def expected_scores(state: State) -> tuple[float, float]:
    """Return location and scale of the scores, from the parameters and the pooled mean and sd.

    The mean is exact on the training rows; the scale leaves out the correlations.
    """
    params, scale = state["params"], state["scale"]
    location = params[0] + params[1:] @ ((state["mean"] - state["centre"]) / scale)
    spread = float(np.linalg.norm(params[1:] * state["sd"] / scale))
    return float(location), spread if spread > 1e-9 * abs(location) and spread > 0.0 else 1.0


def auc(total: Sums) -> tuple[float, float]:
    r"""Return the AUC and a bound on its error.

    Pairs of an event and a non-event in one bin count half, as ties do (Mann-Whitney). Each such
    pair is wrong by one half at most, hence the bound :math:`\sum_b P_b N_b / (2 P N)`; scores
    that are truly equal are right and still count in the bound.

    Returns
    -------
    auc, error_bound : float
        Both NaN where there is no event, or nothing but events.
    """
    positive, negative = total["positive"], total["negative"]
    pairs = positive.sum() * negative.sum()
    if pairs == 0.0:
        return float("nan"), float("nan")
    below = np.cumsum(negative) - negative
    tied = positive @ negative / 2
    return float((positive @ below + tied) / pairs), float(tied / pairs)


def refine(edges: Array, total: Sums) -> Array:
    """Return the edges of the next pass: as many, placed where the scores are.

    Half of the edges share out the rows evenly, each outcome having the same weight however rare
    it is; with k such bins the bound is 1/(2k) at most. The other half go to the bins that hold
    both outcomes, the only ones where the AUC is uncertain. Within a bin an even spread of its
    scores (in asinh) is assumed; a bin that holds nothing gets no edge.

    Parameters
    ----------
    edges : ndarray, shape (k - 1,)
        Increasing.
    total : Sums
        The histograms of these edges, fields ``positive`` and ``negative`` of shape (k,).
    """
    positive, negative = total["positive"], total["negative"]
    if not (positive.any() or negative.any()):
        return edges
    mass = positive / max(positive.sum(), 1.0) + negative / max(negative.sum(), 1.0)
    mixed = np.sqrt(positive * negative)
    bounds = np.concatenate([[-_TAIL], np.arcsinh(edges), [_TAIL]])
    if not mixed.any():
        return np.unique(np.sinh(_quantiles(bounds, mass, np.arange(1, _EDGES + 1) / (_EDGES + 1))))
    half = _EDGES // 2
    by_mass = _quantiles(bounds, mass, np.arange(1, half + 1) / (half + 1))
    # at other fractions, or a single occupied bin would get every edge twice
    by_doubt = _quantiles(bounds, mixed, (np.arange(half) + 0.5) / half)
    return np.unique(np.sinh(np.concatenate([by_mass, by_doubt])))


def _quantiles(bounds: Array, weight: Array, fractions: Array) -> Array:
    """Return where these fractions of `weight`, spread evenly within each bin, are reached."""
    held = np.flatnonzero(weight)
    ends = np.cumsum(weight[held])
    goal = ends[-1] * fractions
    which = np.minimum(np.searchsorted(ends, goal), len(held) - 1)
    inside = np.clip(1.0 - (ends[which] - goal) / weight[held][which], 0.0, 1.0)
    left, right = bounds[held[which]], bounds[held[which] + 1]
    return np.asarray(left + inside * (right - left), dtype=np.float64)


def _layout(state: State, study: Study) -> Layout:
    bins = len(state["edges"]) + 1
    return (("positive", (bins,)), ("negative", (bins,)))


def _contribute(rows: Rows, state: State, study: Study) -> Sums:
    edges = state["edges"]
    bins = np.searchsorted(edges, linear_predictor(rows, state), side="right")
    event = rows.y == 1.0
    return Sums.of(
        {
            "positive": np.bincount(bins[event], minlength=len(edges) + 1),
            "negative": np.bincount(bins[~event], minlength=len(edges) + 1),
        }
    )


def _update(state: State, total: Sums, study: Study) -> dict[str, Array]:
    area, error = auc(total)
    return {
        **state,
        "auc": np.asarray(area),
        "auc_error": np.asarray(error),
        "edges": refine(state["edges"], total),
    }


SCORES = Algorithm("scores", _layout, _contribute, _update)
"""Needs ``params``, ``centre``, ``scale`` and ``edges`` of the linear predictor (finite; the first
and the last bin are open); adds ``auc`` and ``auc_error``, and refines ``edges``."""
