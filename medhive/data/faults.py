"""Collecting the faults of a site's rows, so that one error names the first of each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medhive.data.sources import Table
from medhive.errors import DataError, Place
from medhive.rows import INVALID, Array

_LONGEST_SHOWN = 20
_MOST_TOLD = 6


@dataclass
class _Fault:
    row: int
    column: str
    cause: str
    n_rows: int

    def __str__(self) -> str:
        more = self.n_rows - 1
        rows = "row" if more == 1 else "rows"
        return self.cause + (f" (and {more} more such {rows})" if more else "")


class Faults:
    """The first row and the number of rows of every kind of fault."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._found: dict[tuple[str, str], _Fault] = {}

    def add(
        self,
        column: str,
        start: int,
        rows: NDArray[np.bool_],
        cause: Callable[[int], str],
        step: str,
    ) -> None:
        """Record one kind of fault in a batch.

        Parameters
        ----------
        column : str
        start : int
            Row at which the batch starts.
        rows : ndarray of bool, shape (n_batch,)
            Where the fault is.
        cause : callable
            Says the cause for a row of the batch.
        step : str
            What the person can do; it tells the kinds of fault in one column apart.
        """
        count = int(np.count_nonzero(rows))
        if not count:
            return
        fault = self._found.get((column, step))
        if fault is None:
            first = int(np.argmax(rows))
            self._found[column, step] = _Fault(start + first, column, cause(first), count)
        else:
            fault.n_rows += count

    def raise_if_any(self) -> None:
        """Raise one error for everything that was found, the earliest row first.

        Raises
        ------
        DataError
        """
        if not self._found:
            return
        found = sorted(self._found.items(), key=lambda item: item[1].row)
        lines = self._table.lines_of([fault.row for _, fault in found])
        ((_, step), first), line = found[0], lines[0]
        others = [
            f'line {number}, column "{fault.column}": {fault}'
            for (_, fault), number in zip(found[1:_MOST_TOLD], lines[1:_MOST_TOLD], strict=True)
        ]
        if len(found) > _MOST_TOLD:
            others.append(f"{len(found) - _MOST_TOLD} more kinds of fault")
        cause = f"{first}. Also {'; '.join(others)}" if others else str(first)
        raise DataError(
            cause,
            place=Place(file=self._table.file, line=line, column=first.column),
            next_step=step,
        )


class Tolerated(Faults):
    """Faults that are marked among the values instead of being raised."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._rows: dict[str, list[NDArray[np.intp]]] = {}

    def add(
        self,
        column: str,
        start: int,
        rows: NDArray[np.bool_],
        cause: Callable[[int], str],
        step: str,
    ) -> None:
        """Remember where the fault is."""
        self._rows.setdefault(column, []).append(start + np.flatnonzero(rows))

    def mark(self, values: Mapping[str, Array]) -> None:
        """Put `INVALID` where a fault was found."""
        for column, parts in self._rows.items():
            values[column][np.concatenate(parts)] = INVALID


def shown(value: object) -> str:
    """Quote a value if it is short; a long one may be free text about a patient."""
    text = str(value)
    if len(text) > _LONGEST_SHOWN or not text.isprintable():
        return f"a text of {len(text)} characters"
    return f'"{text}"'
