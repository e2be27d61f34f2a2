"""The counts of a Table 1: which cells there are, how they add up, how rows are counted.

Of every feature, rows = observed + missing + invalid, and observed = the sum of its levels. The
rows are those whose outcome is known; a value is invalid where the contract does not allow it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medhive.privacy.disclosure import Addition
from medhive.rows import ABSENT, INVALID, Array, Rows
from medhive.study import Feature, Study

ROWS, OBSERVED, MISSING, INVALID_VALUE, LEVEL = "rows", "observed", "missing", "invalid", "level"


class Cell(NamedTuple):
    """One count: of rows, or of a feature's values of some kind."""

    kind: str
    feature: str = ""
    level: str = ""


def levels(feature: Feature) -> tuple[str, ...]:
    """Return the codes that a feature's values are counted by; none for a continuous one."""
    if feature.kind == "binary":
        return ("0", "1")
    return feature.codes if feature.kind == "categorical" else ()


def cells(study: Study) -> tuple[Cell, ...]:
    """Return the cells of the table, in order; the first one counts the rows."""
    found = [Cell(ROWS)]
    for feature in study.features:
        name = feature.name
        found += [Cell(kind, name) for kind in (OBSERVED, MISSING, INVALID_VALUE)]
        found += [Cell(LEVEL, name, level) for level in levels(feature)]
    return tuple(found)


def relations(study: Study) -> list[Addition]:
    """Return how the cells add up."""
    place = {cell: i for i, cell in enumerate(cells(study))}
    sums: list[Addition] = []
    for feature in study.features:
        name = feature.name
        observed = place[Cell(OBSERVED, name)]
        parts = [observed, place[Cell(MISSING, name)], place[Cell(INVALID_VALUE, name)]]
        sums.append((parts, place[Cell(ROWS)]))
        if codes := levels(feature):
            sums.append(([place[Cell(LEVEL, name, code)] for code in codes], observed))
    return sums


def continuous(study: Study) -> tuple[Feature, ...]:
    """Return the continuous features."""
    return tuple(feature for feature in study.features if feature.kind == "continuous")


def observed_places(study: Study) -> NDArray[np.intp]:
    """Return the places of the cells that count the continuous features' values."""
    place = {cell: i for i, cell in enumerate(cells(study))}
    found = [place[Cell(OBSERVED, feature.name)] for feature in continuous(study)]
    return np.array(found, dtype=np.intp)


def values(rows: Rows, study: Study) -> Array:
    """Return the columns of the continuous features, shape (n_rows, n_continuous)."""
    first = _first_terms(study)
    return rows.X[:, [first[feature.name] for feature in continuous(study)]]


def groups(rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows are without and with the outcome event."""
    event = rows.y == 1.0
    return ~event, event


def count(rows: Rows, study: Study) -> Array:
    """Return the counts of some rows, shape (n_cells, 2): without and with the event."""
    names = [term.name for term in study.terms]
    first = _first_terms(study)
    found: list[NDArray[np.bool_]] = [np.ones(len(rows), dtype=np.bool_)]
    for feature in study.features:
        column = rows.X[:, first[feature.name]]
        observed = np.isfinite(column)
        found += [observed, np.isnan(column) | (column == ABSENT), column == INVALID]
        if feature.kind == "binary":
            found += [column == 0.0, column == 1.0]
        elif feature.kind == "categorical":
            here = {
                code: rows.X[:, names.index(f"{feature.name}[{code}]")] == 1.0
                for code in feature.indicators
            }
            reference = observed & ~np.logical_or.reduce(list(here.values()))
            found += [here.get(code, reference) for code in feature.codes]
    counted = [[np.count_nonzero(each & group) for group in groups(rows)] for each in found]
    return np.array(counted, dtype=np.float64)


def absent(rows: Rows, study: Study) -> NDArray[np.bool_]:
    """Return which features have no column at all, shape (n_features,)."""
    first = _first_terms(study)
    columns = [rows.X[:, first[feature.name]] for feature in study.features]
    return np.array([len(rows) > 0 and bool((column == ABSENT).all()) for column in columns])


def _first_terms(study: Study) -> dict[str, int]:
    found: dict[str, int] = {}
    for j, term in enumerate(study.terms):
        found.setdefault(term.feature, j)
    return found
