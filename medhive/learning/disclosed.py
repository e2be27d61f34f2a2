"""A federation's Table 1 as it may be shown: nothing in it gives a small count away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medhive.learning.algorithm import State
from medhive.learning.cells import observed_places, relations
from medhive.learning.describe import QUANTILES, moments, quantile
from medhive.privacy.disclosure import HIDDEN, Addition, additions, suppress
from medhive.rows import Array
from medhive.study import Study
from medhive.sums import Sums

GROUPS = 3
"""Groups of all sites together: rows without the outcome event, rows with it, all rows."""


@dataclass(frozen=True, eq=False)
class Description:
    """What is known about the rows of all sites; NaN where it is hidden or does not exist.

    The first axis holds the sites that show a table of their own, then the three `GROUPS`.

    Parameters
    ----------
    sites : tuple of str
        Sites that show a table of their own.
    withheld : mapping of str to str
        The other ones, and why they show none.
    floor : int
        Counts above zero and below it are hidden.
    counts : ndarray, shape (n_sites + 3, n_cells)
        In the order of `medhive.learning.cells.cells`.
    outcome : ndarray, shape (n_sites, 2)
        Rows of each site without and with the event.
    mean, sd : ndarray, shape (n_sites + 3, n_continuous)
        The standard deviation has ddof 1.
    quantiles, errors : ndarray, shape (n_quantiles, 3, n_continuous)
        Of all sites together: estimates, and how far each can be off.
    absent : mapping of str to ndarray of bool, shape (n_features,)
        For every site, which features have no column there.
    """

    sites: tuple[str, ...]
    withheld: Mapping[str, str]
    floor: int
    counts: Array
    outcome: Array
    mean: Array
    sd: Array
    quantiles: Array
    errors: Array
    absent: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


def disclose(study: Study, state: State, replies: Mapping[str, Sums]) -> Description:
    """Put totals and sites' tables together, and hide what must not be shown.

    What the sites that show no table have together follows from the totals and the other tables.
    It is protected like a table of its own, and a single such site gets company: the smallest
    other one.

    Parameters
    ----------
    study : Study
    state : mapping
        As the passes of `medhive.learning.describe` leave it.
    replies : mapping of str to Sums
        What each site says of itself (`medhive.learning.sitetable`).
    """
    floor = max([study.privacy.min_cell, *(int(each.number("floor")) for each in replies.values())])
    without, event = state["cells"].T
    groups = np.array([without, event, without + event])
    withheld = _without_a_table(replies)
    tables = {name: each for name, each in replies.items() if name not in withheld}
    try:
        counts, outcome = _shown_counts(study, groups, tables, bool(withheld), floor)
    except ValueError:
        withheld |= dict.fromkeys(tables, "the sites' tables contradict the totals")
        tables = {}
        counts, outcome = _shown_counts(study, groups, tables, True, floor)
    found = moments(state)
    mean = np.array([*(each["mean"] for each in tables.values()), *(each.mean for each in found)])
    sd = np.array([*(each["sd"] for each in tables.values()), *(each.sd for each in found)])
    enough = counts[:, observed_places(study)] >= floor  # false for NaN
    estimates = [[quantile(state, q, group) for group in (0, 1, None)] for q in QUANTILES]
    all_sites = enough[-GROUPS:]
    return Description(
        sites=tuple(tables),
        withheld=withheld,
        floor=floor,
        counts=counts,
        outcome=outcome,
        mean=np.where(enough, mean, np.nan),
        sd=np.where(enough, sd, np.nan),
        quantiles=_where(all_sites, [[each.value for each in row] for row in estimates]),
        errors=_where(all_sites, [[each.error for each in row] for row in estimates]),
        absent={name: reply["absent"] == 1.0 for name, reply in replies.items()},
    )


def _without_a_table(replies: Mapping[str, Sums]) -> dict[str, str]:
    """Return the sites whose table is not shown, and why."""
    reasons: dict[str, str] = {}
    for name, reply in replies.items():
        if reply.number("shown") != 1.0:
            reasons[name] = "the site does not allow it"
        elif not _is_table(np.concatenate([reply["cells"], reply["outcome"]])):
            reasons[name] = "what the site sent is not a table of counts"
    open_sites = {
        name: float(reply["cells"][0]) for name, reply in replies.items() if name not in reasons
    }
    if len(reasons) == 1 and open_sites:
        (alone,) = reasons
        company = min(open_sites, key=lambda name: (open_sites[name], name))
        reasons[company] = f"it would give away {alone}, which shows none"
    return reasons


def _is_table(table: Array) -> bool:
    return bool(((table == HIDDEN) | ((table >= 0) & (table == np.round(table)))).all())


def _unknown(table: Array) -> Array:
    return np.where(table == HIDDEN, np.nan, table)


def _shown_counts(
    study: Study, groups: Array, tables: Mapping[str, Sums], others: bool, floor: int
) -> tuple[Array, Array]:
    """Return the counts of some sites and of the groups, and the outcome's by site.

    NaN stands where a count is hidden.

    Raises
    ------
    ValueError
        If the tables contradict each other.
    """
    sites = np.array([_unknown(each["cells"]) for each in tables.values()])
    outcomes = np.array([_unknown(each["outcome"]) for each in tables.values()])
    sites, outcomes = sites.reshape(-1, groups.shape[1]), outcomes.reshape(-1, 2)
    if others:
        sites = np.vstack([sites, groups[-1] - sites.sum(axis=0)])
        outcomes = np.vstack([outcomes, groups[:2, 0] - outcomes.sum(axis=0)])
    if (sites < 0).any() or (outcomes < 0).any():
        raise ValueError("some sites have more rows than all of them together")
    n, table = len(sites), np.vstack([sites, groups])
    # nobody shows these; that they cannot be worked out is part of what is looked after
    crossed = np.full(2 * sites.size, np.nan)
    flat = np.concatenate([table.ravel(), outcomes.ravel(), crossed])
    hidden = suppress(flat, _sums(study, table.shape, n), floor)
    shown = np.where(hidden, np.nan, flat)
    counts = shown[: table.size].reshape(table.shape)
    outcome = shown[table.size : table.size + outcomes.size].reshape(n, 2)
    return np.vstack([counts[: len(tables)], counts[n:]]), outcome[: len(tables)]


def _sums(study: Study, shape: tuple[int, int], n_sites: int) -> list[Addition]:
    """Return how everything adds up.

    The vector holds the table of sites and groups, the outcome by site, and the cells by site and
    outcome, which nobody shows.
    """
    size, n_cells = shape[0] * shape[1], shape[1]
    places = np.arange(size).reshape(shape)
    outcome = size + np.arange(2 * n_sites).reshape(n_sites, 2)
    crossed = size + outcome.size + np.arange(2 * n_sites * n_cells).reshape(n_sites, n_cells, 2)
    without, event, total = range(n_sites, n_sites + GROUPS)
    down: list[Addition] = [(range(n_sites), total), ([without, event], total)]
    sums = [*additions(places, 1, relations(study)), *additions(places, 0, down)]
    sums += additions(crossed, 1, relations(study))
    for i in range(n_sites):
        sums += [(crossed[i, c].tolist(), int(places[i, c])) for c in range(n_cells)]
        sums += [([int(crossed[i, 0, g])], int(outcome[i, g])) for g in (0, 1)]
    for g in (0, 1):
        sums += [(crossed[:, c, g].tolist(), int(places[n_sites + g, c])) for c in range(n_cells)]
    return sums


def _where(shown: NDArray[np.bool_], figures: list[list[Array]]) -> Array:
    return np.where(shown, np.array(figures), np.nan)
