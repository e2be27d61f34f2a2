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
from scipy.sparse import csr_array, hstack

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

    Cells between zero and the floor are hidden, and cells that are unknown here. For each of them
    the cheapest other table is sought in which it is greater by `floor`, and the cells that differ
    are hidden with it (Fischetti and Salazar-González 2001, Management Science 47:1008, in their
    linear relaxation). In the end every cell that was hidden beside others is shown again, the
    dearest first, if all small and unknown cells keep a span of possible values of at least
    `floor`. The span also makes every group of patients whose number follows from what is shown,
    and that holds a small cell, at least `floor` strong.

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
    price = _price(counts, ties)
    start = _System(ties, counts, np.isnan(counts)).any_table()
    audit = _Audit(ties, start, sensitive, floor)
    for cell in np.flatnonzero(sensitive).tolist():
        if not audit.wide(cell):
            change = _change(ties, start, np.where(hidden, 0.0, price), cell, floor)
            hidden |= abs(change) > _TOLERANCE
            audit.learn(np.where(hidden, start + change, start))
    beside = np.flatnonzero(hidden & ~sensitive)
    for cell in beside[np.argsort(-price[beside], kind="stable")].tolist():
        hidden[cell] = False
        if audit.after_showing(cell, hidden) is not None:
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

    def tied(self, cells: Mask, hidden: Mask) -> Mask:
        """Return the hidden cells that some hidden cells are tied to by sums, directly or not."""
        while True:
            wider: Mask = (self.lines.T @ (self.lines @ cells > 0) > 0) & hidden | cells
            if (wider == cells).all():
                return wider
            cells = wider


@dataclass(frozen=True, eq=False)
class _System:
    """What somebody knows who sees all but the hidden cells."""

    ties: _Ties
    counts: Array
    hidden: Mask

    def any_table(self) -> Array:
        """Return some table that fits what is shown."""
        if self.hidden.any():
            found = self._solve(np.zeros(len(self.counts)), self.hidden)
            if found is not None:
                return found
        if (abs(self.ties.signs @ self.counts) > _TOLERANCE).any():
            raise ValueError("the counts of a table contradict each other")
        return self.counts

    def solve(self, goal: Array) -> Array | None:
        """Return the possible table that minimises `goal @ table`; None if there is no end.

        Hidden cells that have nothing to do with the goal are NaN.

        Raises
        ------
        ValueError
            If no table fits, because the shown counts contradict each other.
        """
        return self._solve(goal, self.ties.tied(goal != 0.0, self.hidden))

    def _solve(self, goal: Array, cells: Mask) -> Array | None:
        unknown = np.flatnonzero(cells)
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
    """Keeps the tables found that fit what is shown; hiding more cells leaves them possible.

    Each says something about the span of all cells at once, so one search mostly settles many.
    """

    ties: _Ties
    start: Array
    sensitive: Mask
    floor: int
    found: list[Array] = field(default_factory=list)
    low: Array = field(init=False)
    high: Array = field(init=False)

    def __post_init__(self) -> None:
        self.low = np.fmin.reduce([self.start, *self.found])
        self.high = np.fmax.reduce([self.start, *self.found])

    def wide(self, cell: int) -> bool:
        """Say whether a cell is known to have enough possible values."""
        return bool(self.high[cell] - self.low[cell] >= self.floor - _TOLERANCE)

    def learn(self, table: Array) -> None:
        """Take note of a table that fits; NaN where it says nothing."""
        self.found.append(table)
        self.low, self.high = np.fmin(self.low, table), np.fmax(self.high, table)

    def after_showing(self, cell: int, hidden: Mask) -> int | None:
        """Return a sensitive cell whose span is too small now that one more cell is shown."""
        # what has nothing to do with the cell is NaN in a table, and stays possible
        still = [t for t in self.found if not abs(t[cell] - self.start[cell]) > _TOLERANCE]
        audit = _Audit(self.ties, self.start, self.sensitive, self.floor, still)
        given_away = audit.given_away(hidden)
        self.found += audit.found[len(still) :]
        if given_away is None:
            self.found = audit.found
        return given_away

    def given_away(self, hidden: Mask) -> int | None:
        """Return a sensitive cell whose span is too small, if there is one."""
        system = _System(self.ties, self.start, hidden)
        left = self._open()
        while len(left):
            before = len(left)
            self._widen(system, left)
            left = self._open()
            if len(left) > before / 2:
                break
        for cell in left:
            if not self.wide(cell):
                self._widen(system, np.array([cell]))
            if not self.wide(cell):
                return int(cell)
        return None

    def _widen(self, system: _System, cells: NDArray[np.intp]) -> None:
        """Look for the smallest and the largest sum of some cells."""
        goal = np.zeros(len(self.start))
        goal[cells] = 1.0
        for sign in (1.0, -1.0):
            found = system.solve(sign * goal)
            if found is not None:
                self.learn(found)
            elif len(cells) == 1:
                self.high[cells] = np.inf

    def _open(self) -> NDArray[np.intp]:
        wide = self.high - self.low >= self.floor - _TOLERANCE
        return np.flatnonzero(self.sensitive & ~wide)


def _change(ties: _Ties, table: Array, price: Array, cell: int, amount: float) -> Array:
    """Return the cheapest change of a table that adds an amount to a cell and keeps every sum."""
    most = np.where(np.arange(len(table)) == cell, amount, np.inf)
    least = np.where(np.arange(len(table)) == cell, amount, 0.0)
    fall = np.where(np.arange(len(table)) == cell, 0.0, table)
    solved = linprog(
        np.concatenate([price, price]),
        A_eq=hstack([ties.signs, -ties.signs]),
        b_eq=np.zeros(ties.signs.shape[0]),
        bounds=np.column_stack([[*least, *np.zeros(len(table))], [*most, *fall]]),
        method="highs",
    )
    rise, fall = np.split(solved.x, 2)
    return np.asarray(rise - fall)


def _price(counts: Array, ties: _Ties) -> Array:
    """Return what hiding a cell costs: totals more than parts, great counts more than small ones.

    A zero costs more than its neighbours too: whoever reads the table may know that it is one.
    """
    depth = (ties.signs < 0).sum(axis=0)
    size = np.where(counts == 0, 20.0, 1.0 + np.log1p(np.nan_to_num(counts)))
    return np.asarray(size * 8.0**depth)
