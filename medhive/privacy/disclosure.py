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

    Cells between zero and the floor are hidden, and cells that are unknown here. Whoever sees the
    rest must not be able to narrow a small cell down to a span of possible values below `floor`;
    nor an unknown one, unless what is left are values of at least the floor, or zero. Where that
    fails, the cheapest other table is sought in which the cell is greater by `floor`, and the
    cells that differ are hidden (Fischetti and Salazar-González 2001, Management Science 47:1008,
    in their linear relaxation). In the end every cell that was hidden beside others is shown
    again, the dearest first, if that breaks nothing.

    The span also makes every group of patients whose number follows from what is shown, and that
    holds a small cell, at least `floor` strong.

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
    not_shown = np.isnan(counts)
    counts = _deduce(counts, ties, floor)
    unknown, small = np.isnan(counts), primary(counts, floor)
    hidden = unknown | small
    price = _price(counts, ties)
    start = _System(ties, counts, unknown).any_table()
    audit = _Audit(ties, start, unknown, small, floor)
    for cell in np.flatnonzero(small).tolist():
        if not audit.wide(cell):
            audit.learn(_hide_beside(ties, start, price, cell, floor, hidden))
    while (given_away := audit.given_away(hidden)) is not None:
        table = _hide_beside(ties, start, price, given_away, floor, hidden)
        audit = _Audit(ties, start, unknown, small, floor, [*audit.found, table])
    beside = np.flatnonzero(hidden & ~unknown & ~small)
    for cell in beside[np.argsort(-price[beside], kind="stable")].tolist():
        hidden[cell] = False
        if audit.after_showing(cell, hidden) is not None:
            hidden[cell] = True
    return hidden | not_shown


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
        """Return some table that fits what is shown.

        Raises
        ------
        ValueError
            If there is none, because the shown counts contradict each other.
        """
        complete = self.ties.lines @ self.hidden.astype(np.float64) == 0
        rest = self.ties.signs @ np.where(self.hidden, 0.0, self.counts)
        if (abs(rest[complete]) > _TOLERANCE).any():
            raise ValueError("the counts of a table contradict each other")
        found = self._solve(np.zeros(len(self.counts)), self.hidden) if self.hidden.any() else None
        return self.counts if found is None else found

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
    """Keeps the tables found that fit what is shown, and which cells are known to be safe.

    Each table says something about the span of all cells at once, so one search mostly settles
    many. Hiding more cells leaves a table possible.
    """

    ties: _Ties
    start: Array
    unknown: Mask
    small: Mask
    floor: int
    found: list[Array] = field(default_factory=list)
    settled: Mask | None = field(default=None)

    def __post_init__(self) -> None:
        self.low = np.fmin.reduce([self.start, *self.found])
        self.high = np.fmax.reduce([self.start, *self.found])
        settled = np.zeros(len(self.start), dtype=np.bool_)
        self._harmless = settled if self.settled is None else self.settled.copy()

    def wide(self, cell: int) -> bool:
        """Say whether a cell is known to have enough possible values."""
        return bool(self.high[cell] - self.low[cell] >= self.floor - _TOLERANCE)

    def learn(self, table: Array) -> None:
        """Take note of a table that fits; NaN where it says nothing."""
        self.found.append(table)
        self.low, self.high = np.fmin(self.low, table), np.fmax(self.high, table)

    def after_showing(self, cell: int, hidden: Mask) -> int | None:
        """Return a cell that is not safe any more now that one more cell is shown."""
        # what has nothing to do with the cell is NaN in a table, and stays possible
        still = [t for t in self.found if not abs(t[cell] - self.start[cell]) > _TOLERANCE]
        # an unknown cell that could only be zero, or no less than the floor, still is
        audit = _Audit(
            self.ties, self.start, self.unknown, self.small, self.floor, still, self._harmless
        )
        given_away = audit.given_away(hidden)
        if given_away is None:
            self.found, self._harmless = audit.found, audit._harmless
        else:
            self.found += audit.found[len(still) :]
        return given_away

    def given_away(self, hidden: Mask) -> int | None:
        """Return a cell that is not safe, if there is one."""
        system = _System(self.ties, self.start, hidden)
        left = self._open()
        while len(left):
            before = len(left)
            self._widen(system, left)
            left = self._open()
            if len(left) > before / 2:
                break
        for cell in left.tolist():
            if not self.wide(cell):
                self._widen(system, np.array([cell]))
                if not self.wide(cell) and not self._is_harmless(cell):
                    return int(cell)
        return None

    def _is_harmless(self, cell: int) -> bool:
        """Say whether an unknown cell's values, all of them known, tell nothing that is hidden."""
        zero = self.high[cell] <= _TOLERANCE
        harmless = self.unknown[cell] and (zero or self.low[cell] >= self.floor - _TOLERANCE)
        self._harmless[cell] = harmless
        return bool(harmless)

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
        return np.flatnonzero((self.unknown | self.small) & ~wide & ~self._harmless)


def _deduce(counts: Array, ties: _Ties, floor: int) -> Array:
    """Fill in unknown counts that follow from others and are no secret: zeros, great enough ones.

    They are taken to be known from then on, which can only lead to hiding more.
    """
    counts = counts.copy()
    signs, lines = ties.signs.tocsr(), ties.lines
    while True:
        unknown = np.isnan(counts)
        filled = np.where(unknown, 0.0, counts)
        alone = lines @ unknown.astype(np.float64) == 1
        rest = -(signs @ filled)
        before = int(unknown.sum())
        for i in np.flatnonzero(alone):
            cells = signs[[i]].tocoo()
            for cell, sign in zip(cells.coords[1], cells.data, strict=True):
                value = sign * rest[i]
                if np.isnan(counts[cell]) and (value == 0 or value >= floor):
                    counts[cell] = value
        known_whole = (signs < 0) @ (~unknown & (filled == 0)).astype(np.float64) > 0
        parts = (signs[known_whole] > 0).sum(axis=0) > 0
        counts[parts & np.isnan(counts)] = 0.0
        if int(np.isnan(counts).sum()) == before:
            return counts


def _hide_beside(
    ties: _Ties, start: Array, price: Array, cell: int, floor: int, hidden: Mask
) -> Array:
    """Hide what lets a cell be greater by `floor`; return the table in which it is."""
    change = _change(ties, start, np.where(hidden, 0.0, price), cell, floor)
    hidden |= abs(change) > _TOLERANCE
    return np.where(hidden, start + change, start)


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
