"""FedAvg: every site trains, the server takes the average weighted by rows."""

from __future__ import annotations

import numpy as np

from medhive.errors import FederationError
from medhive.learning.algorithm import Algorithm, State
from medhive.learning.local import train
from medhive.learning.standardise import standardise
from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.sums import Layout, Sums


def layout(state: State, study: Study) -> Layout:
    """Return the layout of :func:`weighted`."""
    return (("weighted", (len(study.terms) + 1,)), ("n", ()))


def weighted(params: Array, n: int) -> Sums:
    """Return a site's parameters times its rows, and its rows."""
    return Sums.of({"weighted": n * params, "n": n})


def average(total: Sums) -> Array:
    r"""Return :math:`\sum_k n_k w_k / \sum_k n_k`, shape (n_features + 1,).

    McMahan et al. 2017 (AISTATS), algorithm 1. The adaptive strategies start from it too.
    """
    n = total.number("n")
    if n < 1:
        raise FederationError(
            "no site has a training row",
            next_step="ask the sites to check their data against the study file",
        )
    return total["weighted"] / n


def update(state: State, total: Sums, study: Study) -> dict[str, Array]:
    """Return the state with the average as its parameters."""
    return {**state, "params": average(total)}


def _contribute(rows: Rows, state: State, study: Study) -> Sums:
    params = np.zeros(len(study.terms) + 1)
    if len(rows):
        Z = standardise(rows.X, state)
        params = train(Z, rows.y, state["params"], float(state["n"]), study.run)
    return weighted(params, len(rows))


FEDAVG = Algorithm("fedavg", layout, _contribute, update)
"""Needs ``params``, ``centre``, ``scale`` and ``n`` (training rows of all sites)."""
