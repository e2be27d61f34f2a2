"""Checking a site's values against the study contract, and turning them into numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medhive.data.csvfile import Table
from medhive.data.faults import Faults, Required, Tolerated
from medhive.data.keep import keep
from medhive.data.progress import Reading
from medhive.data.recode import Plan, plan
from medhive.data.sources import Source
from medhive.data.values import MISSING, feature_reader, outcome_reader
from medhive.errors import DataError, Place
from medhive.rows import ABSENT, Array
from medhive.study import Study
from medhive.tomlfile import close_to

__all__ = ["MISSING", "Checked", "check"]


@dataclass(frozen=True, eq=False)
class Checked:
    """The contract's columns as numbers, all rows that take part.

    Parameters
    ----------
    values : mapping of str to ndarray, shape (n_rows,)
        Per column: a number, for a categorical feature the position of the level in the
        contract, for the outcome 1.0 where the event occurred; NaN where the value is missing;
        of a lenient check also `INVALID` and `ABSENT`.
    complete : ndarray of bool, shape (n_rows,)
        Rows without a missing value.
    unused : tuple of str
        Columns of the file that neither the contract nor the filter names.
    n_read : int
        Rows in the file, those that the filter leaves out included.
    n_broken : int
        Rows left out because a value breaks the contract; none unless that was allowed.
    broken : mapping of str to int
        In how many of them it is this column's value, for each column that has any.
    """

    values: Mapping[str, Array]
    complete: NDArray[np.bool_]
    unused: tuple[str, ...]
    n_read: int
    n_broken: int = 0
    broken: Mapping[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> dict[str, int]:
        """Rows without a value, per column."""
        return {name: int(np.isnan(values).sum()) for name, values in self.values.items()}


def check(
    source: Source,
    study: Study,
    how: Plan | None = None,
    *,
    lenient: bool = False,
    allow_drop: bool = False,
    reading: Reading | None = None,
) -> Checked:
    """Read the contract's columns and require that every value is what the contract says.

    Parameters
    ----------
    source : Source
    study : Study
    how : Plan, optional
        What the file calls and codes otherwise; nothing where it is absent.
    lenient : bool
        Describe what is there instead of requiring it: a feature's value that breaks the contract
        becomes `INVALID`, a feature without a column `ABSENT`. The outcome is required as ever.
    allow_drop : bool
        Leave out a row in which a feature's value breaks the contract. Every column is required,
        and so is the outcome as ever: which of its rows are left out could decide the answer.
    reading : Reading, optional
        Shows how far it is.

    Raises
    ------
    DataError
        At the first offending line of every kind of fault, or if no row can be used.
    """
    how = how or plan(None, study, source.names)
    unused = _check_header(source, study, how, lenient)
    there = {name: how.recodes[name].column for name in study.columns}
    there = {name: column for name, column in there.items() if column in source.names}
    outcome = study.study.outcome.column
    readers = {f.name: feature_reader(f, how.recodes[f.name]) for f in study.features}
    readers[outcome] = outcome_reader(study.study.outcome, how.recodes[outcome])
    found = {name: _Column(source.n_rows or 0) for name in there}
    faults = Faults(source)
    n_read = 0
    with (reading or Reading()).stage(f"reading {_short(source)}", source.n_rows) as stage:
        for batch in source.batches([column for column in how.read if column in source.names]):
            rows = np.arange(n_read, n_read + batch.num_rows)
            n_read += batch.num_rows
            stage.advance(batch.num_rows)
            if how.filter is not None:
                mask = keep(how.filter, batch, how.filtered, rows, faults)
                batch, rows = batch.filter(mask), rows[mask]
            for name, column in there.items():
                cells = batch.column(column)
                if (lenient or allow_drop) and name != outcome:
                    tolerated = Tolerated(len(rows))
                    found[name].extend(tolerated.mark(readers[name](cells, tolerated)))
                else:
                    found[name].extend(readers[name](cells, Required(faults, column, rows)))
    faults.raise_if_any()
    values = {name: column.values for name, column in found.items()}
    n_rows = len(values[outcome])
    if not n_rows:
        raise DataError(
            f"the filter leaves none of {n_read} rows",
            place=how.filter_place,
            next_step="correct the filter",
        )
    values |= {name: np.full(n_rows, ABSENT) for name in study.columns if name not in there}
    n_broken = 0
    broken: dict[str, int] = {}
    if allow_drop and not lenient:
        values, n_broken, broken = _without_broken(values)
        if n_broken == n_rows:
            raise DataError(
                "a value breaks the contract in every row",
                place=Place(file=source.file),
                next_step="see medhive data check for what breaks it",
            )
        n_rows -= n_broken
    complete = np.ones(n_rows, dtype=np.bool_)
    for column_values in values.values():
        complete &= np.isfinite(column_values)
    checked = Checked(values, complete, unused, n_read, n_broken, broken)
    _require_rows(source, study, how, checked, lenient)
    return checked


class _Column:
    """Numbers of one column, gathered in one piece of memory.

    A list of batches would keep the memory that they were read into, and need twice as much when
    it is joined.
    """

    def __init__(self, expected: int) -> None:
        self._memory = np.empty(max(expected, 1))
        self._n = 0

    def extend(self, values: Array) -> None:
        """Add the numbers of a batch."""
        end = self._n + len(values)
        if end > len(self._memory):
            larger = np.empty(2 * end)
            larger[: self._n] = self.values
            self._memory = larger
        self._memory[self._n : end] = values
        self._n = end

    @property
    def values(self) -> Array:
        """The numbers so far."""
        return self._memory[: self._n]


def _without_broken(values: Mapping[str, Array]) -> tuple[dict[str, Array], int, dict[str, int]]:
    """Leave out the rows in which a value is `INVALID`; count them, and those of each column."""
    invalid = {name: np.isposinf(column) for name, column in values.items()}
    keep = ~np.logical_or.reduce(list(invalid.values()))
    counts = {name: int(mask.sum()) for name, mask in invalid.items() if mask.any()}
    if not counts:
        return dict(values), 0, {}
    return {name: v[keep] for name, v in values.items()}, int((~keep).sum()), counts


def _short(source: Source) -> str:
    return str(source.file).rpartition("/")[2] or "the rows"


def _check_header(source: Source, study: Study, how: Plan, lenient: bool) -> tuple[str, ...]:
    """Return the unused columns; raise for missing ones and for extra ones that are refused."""
    if isinstance(source, Table):
        source.require_columns()
    required = [study.study.outcome.column] if lenient else study.columns
    recodes = [how.recodes[name] for name in required]
    absent = [recode for recode in recodes if recode.column not in source.names]
    unused = tuple(name for name in source.names if name not in how.read)
    if absent:
        taken = {recode.column for recode in how.recodes.values()}
        free = [name for name in source.names if name not in taken]
        steps = [_did_you_mean(recode.name, free, how) for recode in absent]
        also = ", ".join(recode.column for recode in absent[1:])
        raise DataError(
            f"the column is missing{f'; so are {also}' if also else ''}",
            place=Place(file=source.file, line=source.header_line, column=absent[0].column),
            next_step="; ".join(step for step in steps if step)
            or f"add it; the file has: {', '.join(source.names)}",
        )
    if unused and study.study.extra_columns == "refused":
        more = f"; nor does it name {', '.join(unused[1:])}" if unused[1:] else ""
        raise DataError(
            f"the study does not name this column, and refuses extra columns{more}",
            place=Place(file=source.file, line=source.header_line, column=unused[0]),
            next_step="delete the column from the file",
        )
    return unused


def _did_you_mean(name: str, present: Sequence[str], how: Plan) -> str | None:
    close = close_to(name, present)
    if close is None:
        return None
    if how.has_site_file:
        return f'write {name} = "{close}" under [columns] of the site file, if it is that column'
    return f'rename "{close}" to "{name}", if it is that column'


def _require_rows(source: Source, study: Study, how: Plan, checked: Checked, lenient: bool) -> None:
    outcome = study.study.outcome.column
    if np.isnan(checked.values[outcome]).all():
        raise DataError(
            "the outcome is missing in every row",
            place=Place(file=source.file, column=how.recodes[outcome].column),
            next_step="fill in the outcome",
        )
    if study.run.missing == "drop" and not lenient and not checked.complete.any():
        missing = checked.missing
        worst = max(missing, key=lambda name: missing[name])
        raise DataError(
            "no row is complete: every row lacks a value that the study needs",
            place=Place(file=source.file, column=how.recodes[worst].column),
            next_step="fill in the missing values, this column's first",
        )
