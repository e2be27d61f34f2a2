"""A site's own Table 1: what it shows of itself, made safe before it leaves."""

from __future__ import annotations

import numpy as np

from medhive.learning.algorithm import Algorithm, State
from medhive.learning.cells import (
    ALL,
    OUTCOME,
    absent,
    cells,
    continuous,
    count,
    groups,
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
        ``shown`` is 1 and ``floor`` the floor. ``cells`` (n_cells, 3) are counts without the
        event, with it and in all, `HIDDEN` where they are too small or would give away such a
        count. ``mean`` and ``sd`` (3, n_continuous; ddof 1) are 0 where their count is hidden
        or zero. ``absent`` (n_features,) is 1 where the site has no such column.
    """
    counts = count(rows, study)
    table = np.column_stack([counts, counts.sum(axis=1)])
    hidden = suppress(table, floor, (relations(study), OUTCOME))
    shown = (~hidden & (table >= floor))[observed_places(study)].T
    mean, sd = _spread(rows, study)
    return _pack(
        rows,
        study,
        floor=floor,
        shown=1,
        counts=np.where(hidden, HIDDEN, table),
        mean=np.where(shown, mean, 0.0),
        sd=np.where(shown, sd, 0.0),
    )


def withheld(rows: Rows, study: Study, floor: int) -> Sums:
    """Return the answer of a site that does not allow a table of its own: everything hidden."""
    nothing = np.zeros((ALL + 1, len(continuous(study))))
    return _pack(
        rows,
        study,
        floor=floor,
        shown=0,
        counts=np.full((len(cells(study)), ALL + 1), HIDDEN),
        mean=nothing,
        sd=nothing,
    )


def _pack(
    rows: Rows, study: Study, *, floor: int, shown: int, counts: Array, mean: Array, sd: Array
) -> Sums:
    return Sums.of(
        {
            "shown": shown,
            "floor": floor,
            "cells": counts,
            "mean": mean,
            "sd": sd,
            "absent": absent(rows, study),
        }
    )


def _spread(rows: Rows, study: Study) -> tuple[Array, Array]:
    X = values(rows, study)
    everybody = np.ones(len(rows), dtype=np.bool_)
    mean, sd = np.zeros((2, ALL + 1, X.shape[1]))
    for g, group in enumerate((*groups(rows), everybody)):
        for k, column in enumerate(X[group].T):
            known = column[np.isfinite(column)]
            if len(known) > 1:
                mean[g, k], sd[g, k] = known.mean(), known.std(ddof=1)
    return mean, sd


def _layout(state: State, study: Study) -> Layout:
    shape = (ALL + 1, len(continuous(study)))
    return (
        ("shown", ()),
        ("floor", ()),
        ("cells", (len(cells(study)), ALL + 1)),
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
