"""Disclosure control: small counts are hidden, and enough beside them that no sum gives them away.

The tables here are counts by site, category and outcome together with their totals, so every
cell is tied to others by sums. A hidden cell is safe when the sums, and what anybody knows about
counts, still leave it several possible values.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from medhive.rows import Array

FLOOR = 5
"""The smallest count, but zero, that may be shown; contracts and sites can only raise it."""

HIDDEN = -1.0
"""Stands for a count that is not shown, where a vector of sums has to hold a number."""


def with_totals(counts: Array) -> Array:
    """Return a table with one more place on each axis, which holds the totals.

    Parameters
    ----------
    counts : ndarray of any dimension

    Returns
    -------
    ndarray
        Each axis longer by one.
    """
    table = counts
    for axis in range(counts.ndim):
        table = np.concatenate([table, table.sum(axis=axis, keepdims=True)], axis=axis)
    return table


def primary(table: Array, floor: int = FLOOR) -> NDArray[np.bool_]:
    """Return the cells that are too small to be shown: between zero and the floor."""
    return (table > 0) & (table < floor)


def suppress(table: Array, floor: int = FLOOR) -> NDArray[np.bool_]:
    """Return the cells of a table with totals that must not be shown.

    Cells below the floor are hidden. A line with a single hidden cell gives it away, so the
    smallest cell beside it is hidden too, until no line has just one; and as long as somebody
    who sees the rest can narrow a small cell down to fewer than `floor` values, one more is.

    Parameters
    ----------
    table : ndarray
        Counts with totals on every axis, as from `with_totals`.
    floor : int

    Returns
    -------
    ndarray of bool
        True where a cell is hidden.
    """
    small = primary(table, floor)
    hidden = small.copy()
    lines = _lines(table.shape)
    while True:
        given_away = [line for line in lines if sum(hidden[cell] for cell in line) == 1]
        if not given_away:
            given_away = [
                line
                for cell in _cells(small)
                if _width(table, hidden, cell) < floor - 1
                for line in lines
                if any(hidden[each] for each in line)
            ]
        partners = [cell for line in given_away for cell in line if not hidden[cell]]
        if not partners:
            return hidden
        hidden[min(partners, key=lambda cell: _cost(table, cell))] = True


def possible_values(
    table: Array, hidden: NDArray[np.bool_], cell: tuple[int, ...]
) -> tuple[float, float]:
    """Return the smallest and largest value that a hidden cell can have.

    What is known: every shown cell, that counts are not negative, and that each axis sums to
    its total.

    Parameters
    ----------
    table : ndarray
        Counts with totals; hidden cells are not looked at.
    hidden : ndarray of bool
    cell : tuple of int
    """
    unknown = _cells(hidden)
    index = {each: i for i, each in enumerate(unknown)}
    equations, known = _equations(table, hidden, index)
    ends = []
    for sign in (1.0, -1.0):
        goal = np.zeros(len(unknown))
        goal[index[cell]] = sign
        solved = linprog(goal, A_eq=equations, b_eq=known, bounds=(0, None), method="highs")
        ends.append(np.inf * -sign if solved.x is None else float(solved.x[index[cell]]))
    return ends[0], ends[1]


def _width(table: Array, hidden: NDArray[np.bool_], cell: tuple[int, ...]) -> float:
    low, high = possible_values(table, hidden, cell)
    return high - low


def _cells(mask: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    return [tuple(int(i) for i in cell) for cell in np.argwhere(mask)]


def _lines(shape: tuple[int, ...]) -> list[list[tuple[int, ...]]]:
    """Return every line of cells that add up: along each axis, the total last."""
    return [
        [(*place[:axis], i, *place[axis:]) for i in range(shape[axis])]
        for axis in range(len(shape))
        for place in itertools.product(*(range(n) for k, n in enumerate(shape) if k != axis))
    ]


def _equations(
    table: Array, hidden: NDArray[np.bool_], index: dict[tuple[int, ...], int]
) -> tuple[Array | None, Array | None]:
    """Return what the sums say about the hidden cells, as a matrix and its right-hand side."""
    rows: list[Array] = []
    known: list[float] = []
    for line in _lines(table.shape):
        if not any(hidden[cell] for cell in line):
            continue
        row, rest = np.zeros(len(index)), 0.0
        for cell, sign in zip(line, [1.0] * (len(line) - 1) + [-1.0], strict=True):
            if hidden[cell]:
                row[index[cell]] = sign
            else:
                rest -= sign * table[cell]
        rows.append(row)
        known.append(rest)
    return (np.array(rows), np.array(known)) if rows else (None, None)


def _cost(table: Array, cell: tuple[int, ...]) -> tuple[int, bool, float]:
    """Rank what is hidden first: inner cells before totals, small before large, zeros last."""
    totals = sum(i == n - 1 for i, n in zip(cell, table.shape, strict=True))
    return totals, table[cell] == 0, float(table[cell])
