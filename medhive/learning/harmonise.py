"""How far the sites' data are alike: what a Table 1 says about columns, codes and units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medhive.learning.cells import (
    INVALID_VALUE,
    LEVEL,
    OBSERVED,
    Cell,
    cells,
    continuous,
    levels,
)
from medhive.learning.disclosed import Description
from medhive.study import Feature, Study

FAR = 0.5
"""Standardised difference from which on a site is reported."""

Kind = Literal["absent", "empty", "unseen", "invalid", "far"]


@dataclass(frozen=True)
class Finding:
    """One way in which a site differs from what the contract or the other sites have.

    Parameters
    ----------
    kind : str
        ``absent``: no such column. ``empty``: a column without a value. ``unseen``: a level that
        no row has. ``invalid``: values that the contract does not allow. ``far``: a mean or a
        share that differs much.
    site, feature : str
    level : str
        Code of the level, where it is about one.
    count : float or None
        Rows with such values; None where the count is hidden or there is none.
    difference : float or None
        The site's mean or share minus that of the other sites, in standard deviations.
    here, others : float or None
        The two means or shares.
    """

    kind: Kind
    site: str
    feature: str
    level: str = ""
    count: float | None = None
    difference: float | None = None
    here: float | None = None
    others: float | None = None


def harmonise(study: Study, found: Description) -> tuple[Finding, ...]:
    """Compare each site that shows a table with the contract and with all other sites.

    Which columns are absent is known of every site.
    """
    findings: list[Finding] = []
    for i, feature in enumerate(study.features):
        for site, absent in found.absent.items():
            if absent[i]:
                findings.append(Finding("absent", site, feature.name))
            elif site in found.sites:
                findings += _compare(study, found, feature, site)
    return tuple(findings)


def _compare(study: Study, found: Description, feature: Feature, site: str) -> Iterator[Finding]:
    place = {cell: i for i, cell in enumerate(cells(study))}
    here, everywhere = found.counts[found.sites.index(site)], found.counts[-1]
    name = feature.name
    observed = place[Cell(OBSERVED, name)]
    invalid = here[place[Cell(INVALID_VALUE, name)]]
    if invalid != 0:
        yield Finding("invalid", site, name, count=None if np.isnan(invalid) else float(invalid))
    if here[observed] == 0:
        yield Finding("empty", site, name)
        return
    for level in levels(feature):
        cell = place[Cell(LEVEL, name, level)]
        if here[cell] == 0:
            yield Finding("unseen", site, name, level)
            continue
        shares = _shares(here[cell], here[observed], everywhere[cell], everywhere[observed])
        # the two levels of a binary feature say the same
        if shares is not None and not (feature.kind == "binary" and level == "0"):
            yield from _far(site, name, level, shares)
    if feature.kind == "continuous":
        k = [each.name for each in continuous(study)].index(name)
        i = found.sites.index(site)
        means = _means(
            (here[observed], found.mean[i, k], found.sd[i, k]),
            (everywhere[observed], found.mean[-1, k], found.sd[-1, k]),
            found.floor,
        )
        if means is not None:
            yield from _far(site, name, "", means)


def _far(
    site: str, feature: str, level: str, pair: tuple[float, float, float]
) -> Iterator[Finding]:
    here, others, sd = pair
    if here == others:
        return
    difference = (here - others) / sd if sd > 0 else float(np.copysign(np.inf, here - others))
    if abs(difference) > FAR:
        yield Finding("far", site, feature, level, difference=difference, here=here, others=others)


def _shares(
    here: float, n: float, total: float, n_total: float
) -> tuple[float, float, float] | None:
    """Return a level's share here and at the other sites, and their standard deviation."""
    if np.isnan([here, n, total, n_total]).any() or n_total - n < 1:
        return None
    p, q = here / n, (total - here) / (n_total - n)
    return p, q, float(np.sqrt((p * (1 - p) + q * (1 - q)) / 2))


def _means(
    here: tuple[float, float, float], everywhere: tuple[float, float, float], floor: int
) -> tuple[float, float, float] | None:
    """Return the mean here and at the other sites, and their standard deviation.

    The pooled one of Austin 2009, Statistics in Medicine 28:3083, section 2. The other sites' sum
    of squares is the total's without the site's own and without that between the two.
    """
    n, mean, sd = here
    n_total, mean_total, sd_total = everywhere
    if np.isnan([*here, *everywhere]).any() or n_total - n < floor:
        return None
    rest = n_total - n
    others = (n_total * mean_total - n * mean) / rest
    between = n * (mean - mean_total) ** 2 + rest * (others - mean_total) ** 2
    squares = (n_total - 1) * sd_total**2 - (n - 1) * sd**2 - between
    variance = max(squares, 0.0) / (rest - 1)
    return mean, others, float(np.sqrt((sd**2 + variance) / 2))
