"""Disclosure control: small counts are hidden, and enough beside them that no sum gives them away.

A table is a vector of counts of which some are the sums of others: a total over sites, the rows
that have a value over its levels. A hidden cell is safe when the sums, and what anybody knows
about counts, still leave it several possible values: the audit of linear relations in Hundepool
et al. 2012, Statistical Disclosure Control, section 4.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array

from medhive.rows import Array

FLOOR = 5
"""The smallest count, but zero, that may be shown; contracts and sites can only raise it."""

HIDDEN = -1.0
"""Stands for a count that is not shown, where a vector of sums has to hold a number."""

Mask = NDArray[np.bool_]
Addition = tuple[Sequence[int], int]
"""Which cells add up to which."""

_TOLERANCE = 1e-6


def additions(places: NDArray[np.intp], axis: int, along: Sequence[Addition]) -> list[Addition]:
    """Return the sums of every line of a table along one of its axes.

    Parameters
    ----------
    places : ndarray of int
        The table: which cell of the vector stands where.
    axis : int
    along : sequence of Addition
        Which places of the axis add up to which.
    """
    lines = np.moveaxis(places, axis, -1).reshape(-1, places.shape[axis])
    return [
        (line[list(parts)].tolist(), int(line[whole]))
        for line, (parts, whole) in itertools.product(lines, along)
    ]


def primary(table: Array, floor: int = FLOOR) -> Mask:
    """Return the cells that are too small to be shown: between zero and the floor."""
    return (table > 0) & (table < floor)


def suppress(counts: Array, sums: Sequence[Addition], floor: int = FLOOR) -> Mask:
    """Return the cells that must not be shown.

    Cells between zero and the floor are hidden, and cells that are unknown here. A sum with a
    single hidden cell gives it away, so the smallest cell beside it is hidden too, until no sum
    has just one; and as long as somebody who sees the rest can narrow a small or unknown cell
    down to a span below `floor`, one more is. In the end every cell that was hidden beside others
    is shown again, the totals first, if that gives nothing away. The span also makes every group
    of patients whose number follows from what is shown, and that holds a small cell, at least
    `floor` strong.

    Parameters
    ----------
    counts : ndarray, shape (n_cells,)
        Counts that agree with the sums; NaN where one is unknown, because whoever has it does
        not show it.
    sums : sequence of Addition
    floor : int

    Returns
    -------
    ndarray of bool, shape (n_cells,)
        True where a cell is hidden.

    Raises
    ------
    ValueError
        If the known counts contradict the sums.
    """
    ties = _Ties.of(len(counts), sums)
    sensitive = np.isnan(counts) | primary(counts, floor)
    hidden = sensitive.copy()
    audit = _Audit(ties, counts, sensitive, floor)
    order = _order(counts, ties)
    while True:
        alone = ties.lines[ties.lines[:, hidden].sum(axis=1) == 1]
        if alone.shape[0]:
            beside = alone.sum(axis=0) > 0
        else:
            cell = audit.given_away(hidden)
            if cell is None:
                break
            beside = ties.neighbours(cell, hidden)
        partners = np.flatnonzero(beside & ~hidden)
        if not len(partners):
            break
        hidden[partners[np.argmin(order[partners])]] = True
    beside = np.flatnonzero(hidden & ~sensitive)
    for cell in beside[np.argsort(-order[beside])]:
        hidden[cell] = False
        around = ties.tied(ties.beside(cell), hidden) & sensitive
        if _Audit(ties, counts, around, floor).given_away(hidden) is not None:
            hidden[cell] = True
    return hidden


def possible_values(
    counts: Array, sums: Sequence[Addition], hidden: Mask, cell: int
) -> tuple[float, float]:
    """Return the smallest and largest value that a hidden cell can have.

    What is known: every shown cell, that counts are not negative, and the sums.

    Parameters
    ----------
    counts : ndarray, shape (n_cells,)
        Hidden ones are not looked at.
    sums : sequence of Addition
    hidden : ndarray of bool, shape (n_cells,)
    cell : int
    """
    system = _System(_Ties.of(len(counts), sums), counts, hidden)
    goal = np.zeros(len(counts))
    goal[cell] = 1.0
    low, high = system.solve(goal), system.solve(-goal)
    return (-np.inf if low is None else low[cell]), (np.inf if high is None else high[cell])


@dataclass(frozen=True, eq=False)
class _Ties:
    """Every sum, one a row: 1 for its parts, and -1 for what they add up to (1 in `lines`)."""

    signs: csr_array
    lines: csr_array

    @classmethod
    def of(cls, size: int, sums: Sequence[Addition]) -> _Ties:
        columns = [cell for parts, whole in sums for cell in (*parts, whole)]
        rows = [i for i, (parts, _) in enumerate(sums) for _ in range(len(parts) + 1)]
        signs = [sign for parts, _ in sums for sign in (*[1.0] * len(parts), -1.0)]
        matrix = csr_array((signs, (rows, columns)), shape=(len(sums), size))
        return cls(matrix, abs(matrix))

    def neighbours(self, cell: int, hidden: Mask) -> Mask:
        """Return the cells of the nearest sums around a hidden cell that have one to hide."""
        reached = np.zeros(len(hidden), dtype=np.bool_)
        reached[cell] = True
        while True:
            wider = self._beside(reached & hidden)
            if (wider & ~hidden).any() or (wider == reached).all():
                return wider
            reached = wider

    def tied(self, cells: Mask, hidden: Mask) -> Mask:
        """Return the hidden cells that some hidden cells are tied to by sums, directly or not."""
        while True:
            wider = (self._beside(cells & hidden) | cells) & hidden
            if (wider == cells).all():
                return wider
            cells = wider

    def beside(self, cell: int) -> Mask:
        """Return the cells that share a sum with a cell."""
        cells = np.zeros(self.lines.shape[1], dtype=np.bool_)
        cells[cell] = True
        return self._beside(cells)

    def _beside(self, cells: Mask) -> Mask:
        beside: Mask = self.lines.T @ (self.lines @ cells > 0) > 0
        return beside


@dataclass(frozen=True, eq=False)
class _System:
    """What somebody knows who sees all but the hidden cells."""

    ties: _Ties
    counts: Array
    hidden: Mask

    def solve(self, goal: Array) -> Array | None:
        """Return the possible table that minimises `goal @ table`; None if there is no end.

        Hidden cells that have nothing to do with the goal are NaN.

        Raises
        ------
        ValueError
            If no table fits, because the shown counts contradict each other.
        """
        unknown = np.flatnonzero(self.ties.tied(goal != 0.0, self.hidden))
        shown = np.where(self.hidden, 0.0, self.counts)
        matrix = self.ties.signs[:, unknown]
        lines = np.diff(matrix.indptr) > 0
        known = -(self.ties.signs @ shown)[lines]
        solved = linprog(
            goal[unknown], A_eq=matrix[lines], b_eq=known, bounds=(0, None), method="highs"
        )
        if solved.status == 2:
            raise ValueError("the counts of a table contradict each other")
        if solved.x is None:
            return None
        found = np.where(self.hidden, np.nan, self.counts)
        found[unknown] = solved.x
        return found


@dataclass(eq=False)
class _Audit:
    """Keeps the spans that were proven; hiding more cells can only widen them.

    Every solution found is a table that fits what is shown, so it says something about the span of
    all cells at once, and one search mostly settles many.
    """

    ties: _Ties
    counts: Array
    sensitive: Mask
    floor: int
    low: Array = field(init=False)
    high: Array = field(init=False)

    def __post_init__(self) -> None:
        known = ~np.isnan(self.counts)
        self.low = np.where(known, self.counts, np.inf)
        self.high = np.where(known, self.counts, -np.inf)

    def given_away(self, hidden: Mask) -> int | None:
        """Return a sensitive cell whose span is too small, if there is one."""
        system = _System(self.ties, self.counts, hidden)
        left = self._open()
        while len(left):
            before = len(left)
            self._widen(system, left)
            left = self._open()
            if len(left) > before / 2:
                break
        for cell in left:
            if not self._wide(cell):
                self._widen(system, np.array([cell]))
            if not self._wide(cell):
                return int(cell)
        return None

    def _widen(self, system: _System, cells: NDArray[np.intp]) -> None:
        """Look for the smallest and the largest sum of some cells."""
        goal = np.zeros(len(self.counts))
        goal[cells] = 1.0
        for sign in (1.0, -1.0):
            found = system.solve(sign * goal)
            if found is not None:
                self.low = np.fmin(self.low, found)
                self.high = np.fmax(self.high, found)
            elif len(cells) == 1:
                self.high[cells] = np.inf

    def _wide(self, cell: int) -> bool:
        return bool(self.high[cell] - self.low[cell] >= self.floor - _TOLERANCE)

    def _open(self) -> NDArray[np.intp]:
        wide = self.high - self.low >= self.floor - _TOLERANCE
        return np.flatnonzero(self.sensitive & ~wide)


def _order(counts: Array, ties: _Ties) -> Array:
    """Rank what is hidden first: inner cells before totals, small before large, zeros last."""
    depth = (ties.signs < 0).sum(axis=0)
    rank = np.empty(len(counts))
    rank[np.lexsort((counts, counts == 0, depth))] = np.arange(len(counts))
    return rank
