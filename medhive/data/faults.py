"""Collecting the faults of a site's rows, so that one error names the first of each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medhive.data.sources import Source
from medhive.errors import DataError, Place
from medhive.rows import INVALID, Array

_LONGEST_SHOWN = 20
_MOST_TOLD = 6


@dataclass
class Fault:
    """One kind of fault in one column: the first row, from 0, its cause, and how many rows."""

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

    def __init__(self, source: Source) -> None:
        self._source = source
        self._found: dict[tuple[str, str], Fault] = {}

    def add(
        self,
        column: str,
        rows: NDArray[np.int64],
        faulty: NDArray[np.bool_],
        cause: Callable[[int], str],
        step: str,
    ) -> None:
        """Record one kind of fault in a batch.

        Parameters
        ----------
        column : str
            Its name in the file.
        rows : ndarray of int, shape (n_batch,)
            Numbers of the batch's rows in the file, from 0.
        faulty : ndarray of bool, shape (n_batch,)
            Where the fault is.
        cause : callable
            Says the cause for a row of the batch.
        step : str
            What the person can do; it tells the kinds of fault in one column apart.
        """
        count = int(np.count_nonzero(faulty))
        if not count:
            return
        fault = self._found.get((column, step))
        if fault is None:
            first = int(np.argmax(faulty))
            self._found[column, step] = Fault(int(rows[first]), column, cause(first), count)
        else:
            fault.n_rows += count

    def raise_if_any(self) -> None:
        """Raise one error for everything that was found, the earliest row first.

        Raises
        ------
        DataError
        """
        found = self.listed()
        if not found:
            return
        first, place, step = found[0]
        others = [
            f'{_numbered(where)}, column "{fault.column}": {fault}'
            for fault, where, _ in found[1:_MOST_TOLD]
        ]
        if len(found) > _MOST_TOLD:
            others.append(f"{len(found) - _MOST_TOLD} more kinds of fault")
        cause = f"{first}. Also {'; '.join(others)}" if others else str(first)
        raise DataError(cause, place=place, next_step=step)

    def listed(self) -> list[tuple[Fault, Place, str]]:
        """Return every kind of fault, the place of its first row and the next step, in order."""
        if not self._found:
            return []
        found = sorted(self._found.items(), key=lambda item: item[1].row)
        numbers = self._source.lines_of([fault.row for _, fault in found])
        by_line = self._source.counts == "line"
        return [
            (
                fault,
                Place(
                    file=self._source.file,
                    line=number if by_line else None,
                    row=None if by_line else number,
                    column=fault.column,
                ),
                step,
            )
            for ((_, step), fault), number in zip(found, numbers, strict=True)
        ]


def _numbered(place: Place) -> str:
    return f"line {place.line}" if place.line is not None else f"row {place.row}"


class Spot(Protocol):
    """One column of one batch, where faults are found."""

    def add(self, faulty: NDArray[np.bool_], cause: Callable[[int], str], step: str) -> None:
        """Record one kind of fault; see `Faults.add`."""


@dataclass(frozen=True, eq=False)
class Required:
    """A spot whose faults are raised in the end."""

    faults: Faults
    column: str
    rows: NDArray[np.int64]

    def add(self, faulty: NDArray[np.bool_], cause: Callable[[int], str], step: str) -> None:
        """Record one kind of fault; see `Faults.add`."""
        self.faults.add(self.column, self.rows, faulty, cause, step)


class Tolerated:
    """A spot whose faults are marked among the values instead of being raised."""

    def __init__(self, n_rows: int) -> None:
        self._invalid = np.zeros(n_rows, dtype=np.bool_)

    def add(self, faulty: NDArray[np.bool_], cause: Callable[[int], str], step: str) -> None:
        """Remember where the fault is."""
        self._invalid |= faulty

    def mark(self, values: Array) -> Array:
        """Put `INVALID` where a fault was found."""
        return np.where(self._invalid, INVALID, values)


def shown(value: object) -> str:
    """Quote a value if it is short; a long one may be free text about a patient."""
    text = str(value)
    if len(text) > _LONGEST_SHOWN or not text.isprintable():
        return f"a text of {len(text)} characters"
    return f'"{text}"'
