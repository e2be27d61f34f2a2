"""Disclosure control: small counts are hidden, and enough beside them that no sum gives them away.

A table is an array of counts in which, along every axis, some places are the sums of others: sites
and their total, levels and the rows that have one. So every cell is tied to others by sums. A
hidden cell is safe when the sums, and what anybody knows about counts, still leave it several
possible values: the audit of linear relations in Hundepool et al. 2012, Statistical Disclosure
Control, section 4.
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
Axis = Sequence[tuple[Sequence[int], int]]
"""The sums along one axis: each says which places add up to which."""

_TOLERANCE = 1e-6


def with_totals(counts: Array) -> Array:
    """Return a table with one more place on each axis, which holds the totals."""
    table = counts
    for axis in range(counts.ndim):
        table = np.concatenate([table, table.sum(axis=axis, keepdims=True)], axis=axis)
    return table


def totals_last(shape: Sequence[int]) -> tuple[Axis, ...]:
    """Return the sums of a table from `with_totals`: all other places add up to the last one."""
    return tuple([(range(n - 1), n - 1)] for n in shape)


def primary(table: Array, floor: int = FLOOR) -> Mask:
    """Return the cells that are too small to be shown: between zero and the floor."""
    return (table > 0) & (table < floor)


def suppress(table: Array, floor: int = FLOOR, axes: Sequence[Axis] | None = None) -> Mask:
    """Return the cells of a table that must not be shown.

    Cells between zero and the floor are hidden, and cells that are unknown here. A sum with a
    single hidden cell gives it away, so the smallest cell beside it is hidden too, until no sum
    has just one; and as long as somebody who sees the rest can narrow a small or unknown cell
    down to a span below `floor`, one more is. The span also makes every group of patients whose
    number follows from what is shown, and that holds a small cell, at least `floor` strong.

    Parameters
    ----------
    table : ndarray
        Counts that agree with the sums; NaN where a count is unknown, because whoever has it does
        not show it.
    floor : int
    axes : sequence of Axis, optional
        The sums along each axis; by default those of `with_totals`.

    Returns
    -------
    ndarray of bool
        True where a cell is hidden.
    """
    sums = _Sums.of(table.shape, axes)
    flat = table.ravel()
    sensitive = np.isnan(flat) | primary(flat, floor)
    hidden = sensitive.copy()
    audit = _Audit(sums, flat, sensitive, floor)
    order = _order(table, sums)
    while True:
        alone = sums.parts[sums.parts[:, hidden].sum(axis=1) == 1]
        if alone.shape[0]:
            beside = alone.sum(axis=0) > 0
        else:
            cell = audit.given_away(hidden)
            if cell is None:
                break
            beside = sums.neighbours(cell, hidden)
        partners = np.flatnonzero(beside & ~hidden)
        if not len(partners):
            break
        hidden[partners[np.argmin(order[partners])]] = True
    return hidden.reshape(table.shape)


def possible_values(
    table: Array, hidden: Mask, cell: tuple[int, ...], axes: Sequence[Axis] | None = None
) -> tuple[float, float]:
    """Return the smallest and largest value that a hidden cell can have.

    What is known: every shown cell, that counts are not negative, and the sums.

    Parameters
    ----------
    table : ndarray
        Counts; hidden cells are not looked at.
    hidden : ndarray of bool
    cell : tuple of int
    axes : sequence of Axis, optional
        As for `suppress`.
    """
    sums = _Sums.of(table.shape, axes)
    system = _System(sums, table.ravel(), hidden.ravel())
    goal = np.zeros(table.size)
    goal[np.ravel_multi_index(cell, table.shape)] = 1.0
    low, high = system.solve(goal), system.solve(-goal)
    end = int(np.ravel_multi_index(cell, table.shape))
    return (-np.inf if low is None else low[end]), (np.inf if high is None else high[end])


@dataclass(frozen=True, eq=False)
class _Sums:
    """Every sum of a table, one a row: 1 for the parts, -1 for what they add up to."""

    signs: csr_array
    parts: csr_array

    @classmethod
    def of(cls, shape: Sequence[int], axes: Sequence[Axis] | None) -> _Sums:
        places = np.arange(int(np.prod(shape))).reshape(shape)
        rows, columns, signs = [], [], []
        number = 0
        for axis, relations in enumerate(totals_last(shape) if axes is None else axes):
            lines = np.moveaxis(places, axis, -1).reshape(-1, shape[axis])
            for (parts, whole), line in itertools.product(relations, lines):
                cells = [*line[list(parts)], line[whole]]
                columns += cells
                rows += [number] * len(cells)
                signs += [1.0] * len(parts) + [-1.0]
                number += 1
        matrix = csr_array((signs, (rows, columns)), shape=(number, places.size))
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
            wider = (self._beside(cells) | cells) & hidden
            if (wider == cells).all():
                return wider
            cells = wider

    def _beside(self, cells: Mask) -> Mask:
        beside: Mask = self.parts.T @ (self.parts @ cells > 0) > 0
        return beside


@dataclass(frozen=True, eq=False)
class _System:
    """What somebody knows who sees all but the hidden cells."""

    sums: _Sums
    table: Array
    hidden: Mask

    def solve(self, goal: Array) -> Array | None:
        """Return the possible table that minimises `goal @ table`; None if there is no end.

        Hidden cells that have nothing to do with the goal are NaN.

        Raises
        ------
        ValueError
            If no table fits, because the shown counts contradict each other.
        """
        unknown = np.flatnonzero(self.sums.tied(goal != 0.0, self.hidden))
        shown = np.where(self.hidden, 0.0, self.table)
        matrix = self.sums.signs[:, unknown]
        lines = np.diff(matrix.indptr) > 0
        known = -(self.sums.signs @ shown)[lines]
        solved = linprog(
            goal[unknown], A_eq=matrix[lines], b_eq=known, bounds=(0, None), method="highs"
        )
        if solved.status == 2:
            raise ValueError("the counts of a table contradict each other")
        if solved.x is None:
            return None
        found = np.where(self.hidden, np.nan, self.table)
        found[unknown] = solved.x
        return found


@dataclass(eq=False)
class _Audit:
    """Keeps the spans that were proven; hiding more cells can only widen them.

    Every solution found is a table that fits what is shown, so it says something about the span of
    all cells at once, and one search mostly settles many.
    """

    sums: _Sums
    table: Array
    sensitive: Mask
    floor: int
    low: Array = field(init=False)
    high: Array = field(init=False)

    def __post_init__(self) -> None:
        known = ~np.isnan(self.table)
        self.low = np.where(known, self.table, np.inf)
        self.high = np.where(known, self.table, -np.inf)

    def given_away(self, hidden: Mask) -> int | None:
        """Return a sensitive cell whose span is too small, if there is one."""
        system = _System(self.sums, self.table, hidden)
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
        goal = np.zeros(len(self.table))
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


def _order(table: Array, sums: _Sums) -> Array:
    """Rank what is hidden first: inner cells before totals, small before large, zeros last."""
    flat = table.ravel()
    depth = (sums.signs < 0).sum(axis=0)
    rank = np.empty(len(flat))
    rank[np.lexsort((flat, flat == 0, depth))] = np.arange(len(flat))
    return rank
