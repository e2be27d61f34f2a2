"""Table 1 by sums: counts, means, spreads and quantiles, by outcome.

The rows hold NaN where a value is missing, and no finite number where there is none to be used
(`medhive.rows.INVALID`). Group 0 holds the rows without the outcome event, group 1 those with it;
the overall figures follow from the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medhive.learning.algorithm import Algorithm, State
from medhive.learning.cells import cells, continuous, count, groups, observed_places, values
from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.sums import Layout, Sums

PASSES = 4
"""Histogram passes; each narrows the bins of a quantile about fiftyfold."""

BINS = 512
QUANTILES = (0.25, 0.5, 0.75)
GOAL = 1e-3
"""Error bound of a quantile, in standard deviations, at which no further pass is made."""

_LARGEST = np.finfo(np.float64).max
_EPSILON = np.finfo(np.float64).eps
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Moments:
    """Count, mean and standard deviation (ddof 1); arrays of shape (n_continuous,)."""

    n: Array
    mean: Array
    sd: Array


@dataclass(frozen=True)
class Quantile:
    """Estimates of a quantile, and how far they can be off; arrays of shape (n_continuous,)."""

    value: Array
    error: Array


def moments(state: State) -> tuple[Moments, Moments, Moments]:
    """Return the moments of group 0, of group 1 and overall.

    The overall sum of squares is that within the groups plus that between them.
    """
    n, mean, squares = state["observed"], state["group_mean"], state["squares"]
    both = n.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        weighted = np.where(n > 0, n * mean, 0.0).sum(axis=0)
        overall = weighted / both
        between = np.where(n > 0, n * (mean - overall) ** 2, 0.0).sum(axis=0)
        total = squares.sum(axis=0) + between
        parts = [
            Moments(count, centre, np.sqrt(ss / (count - 1)))
            for count, centre, ss in zip(
                [*n, both], [*mean, overall], [*squares, total], strict=True
            )
        ]
    return parts[0], parts[1], parts[2]


def initial_edges(state: State) -> Array:
    """Return the bin edges of the first pass, shape (n_continuous, BINS - 1).

    No value is farther from the mean than sqrt(n - 1) standard deviations (Samuelson 1968, JASA
    63:1522). The edges reach there, and are even in asinh of the standardised value.
    """
    overall = moments(state)[2]
    mean, sd = np.nan_to_num(overall.mean), np.nan_to_num(overall.sd)
    # of a constant only rounding can be left
    scale = np.maximum(sd, 8.0 * _EPSILON * abs(mean) + _TINY)
    reach = np.arcsinh(1.0 + 1.01 * np.sqrt(overall.n))
    even = np.linspace(-1.0, 1.0, BINS - 1)
    edges: Array = mean[:, None] + scale[:, None] * np.sinh(reach[:, None] * even)
    return edges


def quantile(state: State, q: float, group: int | None) -> Quantile:
    """Return a quantile of every continuous term, as pandas defines it (linear interpolation).

    Both order statistics around the position are somewhere in their bins; the estimate takes
    the middle of the bins, and its error is at most half of the wider one, and rounding.

    Parameters
    ----------
    state : mapping
        With ``edges`` and ``histogram``.
    q : float
    group : {0, 1, None}
        None for all rows.
    """
    histogram, edges = state["histogram"], state["edges"]
    counts = histogram.sum(axis=0) if group is None else histogram[group]
    value, error = np.full(len(edges), np.nan), np.full(len(edges), np.nan)
    for i, (row, cuts) in enumerate(zip(counts, edges, strict=True)):
        n = row.sum()
        if n == 0:
            continue
        position = (n - 1) * q
        below = _middle(cuts, _bin_of(row, np.floor(position)))
        above = _middle(cuts, _bin_of(row, np.ceil(position)))
        share = position - np.floor(position)
        value[i] = (1.0 - share) * below[0] + share * above[0]
        rounding = 4.0 * _EPSILON * (abs(below[0]) + abs(above[0])) + _TINY
        error[i] = max(below[1], above[1]) + rounding
    return Quantile(value, error)


def refine(state: State) -> Array:
    """Return edges that cut the bins around every quantile of every group finely."""
    edges, histogram = state["edges"], state["histogram"]
    new = np.empty_like(edges)
    for i, cuts in enumerate(edges):
        bins: set[int] = set()
        for counts in (*histogram[:, i], histogram[:, i].sum(axis=0)):
            n = counts.sum()
            for q in QUANTILES if n else ():
                position = (n - 1) * q
                bins |= {_bin_of(counts, np.floor(position)), _bin_of(counts, np.ceil(position))}
        new[i] = _cut(cuts, sorted(bins))
    return new


def _bin_of(counts: Array, position: float) -> int:
    """Return the bin that holds the order statistic at a position, from 0."""
    return int(np.searchsorted(np.cumsum(counts), position, side="right"))


def _bounds(cuts: Array) -> Array:
    return np.concatenate([[-_LARGEST], cuts, [_LARGEST]])


def _middle(cuts: Array, index: int) -> tuple[float, float]:
    """Return the middle of a bin and half of its width."""
    left, right = _bounds(cuts)[index : index + 2]
    return float(left / 2 + right / 2), float(right / 2 - left / 2)


def _cut(cuts: Array, bins: list[int]) -> Array:
    """Return as many edges as before, all of them in and at the given bins."""
    if not bins:
        return cuts
    bounds = _bounds(cuts)
    ends = {float(bounds[b + side]) for b in bins for side in (0, 1)}
    ends = {end for end in ends if abs(end) < _LARGEST}
    free = len(cuts) - len(ends)
    shares = np.diff(np.linspace(0, free, len(bins) + 1).astype(int))
    inside = [
        np.linspace(bounds[b], bounds[b + 1], share + 2)[1:-1]
        for b, share in zip(bins, shares, strict=True)
    ]
    edges = np.unique(np.concatenate([sorted(ends), *inside]))
    # a bin that is one float wide cannot be cut; the last edge then stands more than once
    return np.concatenate([edges, np.full(len(cuts) - len(edges), edges[-1])])


def _counts_layout(state: State, study: Study) -> Layout:
    return (("cells", (len(cells(study)), 2)), ("x", (2, len(continuous(study)))))


def _counts(rows: Rows, state: State, study: Study) -> Sums:
    X = values(rows, study)
    filled = np.where(np.isfinite(X), X, 0.0)
    return Sums.of(
        {
            "cells": count(rows, study),
            "x": np.array([filled[group].sum(axis=0) for group in groups(rows)]),
        }
    )


def _counts_update(state: State, total: Sums, study: Study) -> dict[str, Array]:
    observed = total["cells"][observed_places(study)].T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total["x"] / observed
    return {
        **state,
        "cells": total["cells"],
        "observed": observed,
        "group_mean": np.nan_to_num(mean),
    }


def _spread_layout(state: State, study: Study) -> Layout:
    shape = (2, len(continuous(study)))
    return (("dx", shape), ("dxx", shape))


def _spread(rows: Rows, state: State, study: Study) -> Sums:
    X = values(rows, study)
    parts = [
        np.where(np.isfinite(X[group]), X[group] - state["group_mean"][g], 0.0)
        for g, group in enumerate(groups(rows))
    ]
    return Sums.of(
        {
            "dx": np.array([d.sum(axis=0) for d in parts]),
            "dxx": np.array([(d * d).sum(axis=0) for d in parts]),
        }
    )


def _spread_update(state: State, total: Sums, study: Study) -> dict[str, Array]:
    """Correct mean and sum of squares for the rounding of the first pass (see standardise)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = np.nan_to_num(total["dx"] / state["observed"])
    squares = np.maximum(total["dxx"] - shift * total["dx"], 0.0)
    state = {**state, "group_mean": state["group_mean"] + shift, "squares": squares}
    return {**state, "edges": initial_edges(state)}


def _histogram_layout(state: State, study: Study) -> Layout:
    edges = state["edges"]
    return (("histogram", (2, len(edges), edges.shape[1] + 1)),)


def _histogram(rows: Rows, state: State, study: Study) -> Sums:
    edges, X = state["edges"], values(rows, study)
    n_bins = edges.shape[1] + 1
    counts = np.zeros((2, len(edges), n_bins))
    for g, group in enumerate(groups(rows)):
        for i, column in enumerate(X[group].T):
            bins = np.searchsorted(edges[i], column[np.isfinite(column)], side="right")
            counts[g, i] = np.bincount(bins, minlength=n_bins)
    return Sums.of({"histogram": counts})


def _histogram_update(state: State, total: Sums, study: Study) -> dict[str, Array]:
    return {**state, "histogram": total["histogram"]}


COUNTS = Algorithm("describe-counts", _counts_layout, _counts, _counts_update)
"""Adds ``cells`` (n_cells, 2), ``observed`` and ``group_mean`` (2, n_continuous)."""

SPREAD = Algorithm("describe-spread", _spread_layout, _spread, _spread_update)
"""Needs ``group_mean``; adds ``squares`` (2, n_continuous), of deviations within the groups, and
``edges``."""

HISTOGRAM = Algorithm("describe-histogram", _histogram_layout, _histogram, _histogram_update)
"""Needs ``edges`` (n_continuous, BINS - 1); adds ``histogram`` (2, n_continuous, BINS)."""
