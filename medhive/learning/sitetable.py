"""A site's own Table 1: what it shows of itself, made safe before it leaves."""

from __future__ import annotations

import numpy as np

from medhive.learning.algorithm import Algorithm, State
from medhive.learning.cells import (
    absent,
    cells,
    continuous,
    count,
    observed_places,
    relations,
    values,
)
from medhive.privacy.disclosure import HIDDEN, suppress
from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.sums import Layout, Sums


def site_table(rows: Rows, study: Study, floor: int) -> Sums:
    """Return a site's counts, means and standard deviations, as far as the floor allows them.

    Parameters
    ----------
    rows : Rows
        To be described.
    study : Study
    floor : int
        The site's: the contract's or a higher one.

    Returns
    -------
    Sums
        ``shown`` is 1 and ``floor`` the floor. ``cells`` (n_cells,) are counts and ``outcome``
        (2,) the rows without and with the event, `HIDDEN` where they are too small or would give
        away such a count. ``mean`` and ``sd`` (n_continuous,; ddof 1) are 0 where their count is
        hidden or zero. ``absent`` (n_features,) is 1 where the site has no such column.
    """
    counts = count(rows, study)
    table = np.concatenate([counts.sum(axis=1), counts[0]])
    n = len(counts)
    hidden = suppress(table, [*relations(study), ((n, n + 1), 0)], floor)
    shown = (~hidden & (table >= floor))[observed_places(study)]
    mean, sd = _spread(rows, study)
    safe = np.where(hidden, HIDDEN, table)
    return Sums.of(
        {
            "shown": 1,
            "floor": floor,
            "cells": safe[:n],
            "outcome": safe[n:],
            "mean": np.where(shown, mean, 0.0),
            "sd": np.where(shown, sd, 0.0),
            "absent": absent(rows, study),
        }
    )


def withheld(rows: Rows, study: Study, floor: int) -> Sums:
    """Return the answer of a site that does not allow a table of its own: everything hidden."""
    nothing = np.zeros(len(continuous(study)))
    return Sums.of(
        {
            "shown": 0,
            "floor": floor,
            "cells": np.full(len(cells(study)), HIDDEN),
            "outcome": [HIDDEN, HIDDEN],
            "mean": nothing,
            "sd": nothing,
            "absent": absent(rows, study),
        }
    )


def _spread(rows: Rows, study: Study) -> tuple[Array, Array]:
    X = values(rows, study)
    mean, sd = np.zeros((2, X.shape[1]))
    for k, column in enumerate(X.T):
        known = column[np.isfinite(column)]
        if len(known) > 1:
            mean[k], sd[k] = known.mean(), known.std(ddof=1)
    return mean, sd


def _layout(state: State, study: Study) -> Layout:
    shape = (len(continuous(study)),)
    return (
        ("shown", ()),
        ("floor", ()),
        ("cells", (len(cells(study)),)),
        ("outcome", (2,)),
        ("mean", shape),
        ("sd", shape),
        ("absent", (len(study.features),)),
    )


def _withhold(rows: Rows, state: State, study: Study) -> Sums:
    return withheld(rows, study, study.privacy.min_cell)


def _unchanged(state: State, total: Sums, study: Study) -> dict[str, Array]:
    return dict(state)


SITE_TABLE = Algorithm("describe-site", _layout, _withhold, _unchanged)
"""Collected by site, never added up. A site shows its table only where its own limits say so
(`medhive.client.answer`); the algorithm alone withholds it."""
