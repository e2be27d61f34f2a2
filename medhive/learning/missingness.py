"""How often each column of a study has no value: by sums, and by site as far as it may be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medhive.learning.algorithm import Algorithm, State
from medhive.privacy.disclosure import HIDDEN, primary, suppress
from medhive.rows import Array, Rows
from medhive.study import Study
from medhive.sums import Layout, Sums


@dataclass(frozen=True)
class MissingCount:
    """How many values of a column are missing; None where the count is hidden.

    Parameters
    ----------
    n : int or None
        At all sites.
    by_site : mapping of str to (int or None)
    """

    n: int | None
    by_site: Mapping[str, int | None]


def counted(missing: Mapping[str, int], study: Study) -> Sums:
    """Return a site's counts for the total over all sites.

    Parameters
    ----------
    missing : mapping of str to int
        Rows without a value, for each of ``study.columns``, among all rows that were read.
    study : Study
    """
    return Sums.of({"missing": _in_order(missing, study)})


def counted_for_itself(missing: Mapping[str, int], study: Study, floor: int) -> Sums:
    """Return a site's counts to be shown by site: `HIDDEN` where they are below its floor."""
    counts = _in_order(missing, study)
    return Sums.of({"floor": floor, "missing": np.where(primary(counts, floor), HIDDEN, counts)})


def disclose(
    study: Study, total: Sums, sites: Mapping[str, int], replies: Mapping[str, Sums]
) -> dict[str, MissingCount]:
    """Put total and sites together, column by column, and hide what must not be shown.

    Parameters
    ----------
    study : Study
    total : Sums
        Over `sites`.
    sites : mapping of str to int
        The sites in the total.
    replies : mapping of str to Sums
        What each site says of itself. Where one in the total says nothing, or what is no count, no
        site's count is shown: its own floor is not known.
    """
    p = len(study.columns)
    told = {name: replies[name] for name in sites if name in replies}
    floor = max([study.privacy.min_cell, *(int(each.number("floor")) for each in told.values())])
    complete = len(told) == len(sites) and all(_is_table(each["missing"]) for each in told.values())
    own = np.array([told[name]["missing"] if complete else np.full(p, HIDDEN) for name in sites])
    return {
        column: _shown(counts, n, tuple(sites), floor, complete)
        for column, counts, n in zip(study.columns, own.T, total["missing"], strict=True)
    }


def _shown(
    own: Array, n: float, sites: tuple[str, ...], floor: int, complete: bool
) -> MissingCount:
    table = np.append(np.where(own == HIDDEN, np.nan, own), n)
    hidden = np.isnan(table) | primary(table, floor)
    if complete:
        try:
            hidden |= suppress(table, [(range(len(sites)), len(sites))], floor)
        except ValueError:
            # counts that do not add up to the total say nothing about any site
            hidden[:-1] = True
    shown = [None if hide else int(count) for count, hide in zip(table, hidden, strict=True)]
    return MissingCount(shown[-1], dict(zip(sites, shown[:-1], strict=True)))


def _is_table(counts: Array) -> bool:
    return bool(((counts == HIDDEN) | ((counts >= 0) & (counts == np.round(counts)))).all())


def _in_order(missing: Mapping[str, int], study: Study) -> Array:
    return np.array([missing[name] for name in study.columns], dtype=np.float64)


def _layout(state: State, study: Study) -> Layout:
    return (("missing", (len(study.columns),)),)


def _contribute(rows: Rows, state: State, study: Study) -> Sums:
    return counted(_among(rows, study), study)


def _own_layout(state: State, study: Study) -> Layout:
    return (("floor", ()), *_layout(state, study))


def _own(rows: Rows, state: State, study: Study) -> Sums:
    return counted_for_itself(_among(rows, study), study, study.privacy.min_cell)


def _among(rows: Rows, study: Study) -> dict[str, int]:
    columns = {term.feature: rows.X[:, j] for j, term in enumerate(study.terms) if not term.missing}
    columns[study.study.outcome.column] = rows.y
    return {name: int(np.isnan(columns[name]).sum()) for name in study.columns}


def _unchanged(state: State, total: Sums, study: Study) -> dict[str, Array]:
    return dict(state)


MISSING = Algorithm("missing", _layout, _contribute, _unchanged)
"""Added up. A site counts before it drops a row (`medhive.client.answer`); the algorithm alone
counts in the rows that it is given."""

MISSING_BY_SITE = Algorithm("missing-by-site", _own_layout, _own, _unchanged)
"""Collected by site, never added up."""
