"""What every federated algorithm is: two pure functions around a vector of sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.sums import Layout, Sums

State = Mapping[str, Array]
"""What the server knows and sends: parameters, means, bin edges. Scalars are 0-d arrays."""


@dataclass(frozen=True)
class Algorithm:
    """One federated algorithm.

    Parameters
    ----------
    name : str
        Name in messages and in the ledger.
    layout : callable
        ``layout(state, study)``: names and shapes of the sums that the server expects of every
        site, so that a reply of another shape is refused.
    contribute : callable
        ``contribute(rows, state, study)``: runs at the site; its result has exactly that layout.
    update : callable
        ``update(state, total, study)``: runs at the server; returns the whole next state.
    """

    name: str
    layout: Callable[[State, Study], Layout]
    contribute: Callable[[Rows, State, Study], Sums]
    update: Callable[[State, Sums, Study], dict[str, Array]]
