"""One lenient pass over a site's rows: every value, and every fault instead of the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medhive.contract.columns import Column, describe
from medhive.contract.words import looks_like_identifier
from medhive.data.csvfile import Table
from medhive.data.faults import Fault, Faults, shown
from medhive.data.keep import keep
from medhive.data.progress import Reading
from medhive.data.recode import Plan
from medhive.data.sources import Source
from medhive.data.values import as_text, feature_reader, outcome_reader
from medhive.errors import Place
from medhive.rows import Array
from medhive.study import Study

SAMPLE = 20_000
"""Rows of a column that are looked at as text."""

MOST_WORDS = 50
"""Different unreadable values of a column that are remembered."""


@dataclass(eq=False)
class Examined:
    """One column of the contract as the file has it.

    Parameters
    ----------
    name, column : str
        The study's and the file's name.
    values : ndarray, shape (n_rows,)
        Numbers in the study's unit, positions of levels, or 1.0 for the event; NaN where there is
        none. A number outside the range is kept.
    invalid : ndarray of bool, shape (n_rows,)
        Where the value breaks the contract.
    words : Counter of str
        Rows a value that is no number or no level.
    sample : Column or None
        What the first rows look like as text.
    present : bool
        Whether the file has the column.
    """

    name: str
    column: str
    values: Array
    invalid: NDArray[np.bool_]
    words: Counter[str] = field(default_factory=Counter)
    sample: Column | None = None
    present: bool = True

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where there is no value."""
        mask: NDArray[np.bool_] = np.isnan(self.values) & ~self.invalid
        return mask

    @property
    def numbers(self) -> Array:
        """The finite numbers, those outside the range included."""
        return self.values[np.isfinite(self.values)]

    @property
    def valid(self) -> Array:
        """The values that fit the contract."""
        return self.values[np.isfinite(self.values) & ~self.invalid]


@dataclass(frozen=True, eq=False)
class Examination:
    """What one pass over the rows found.

    Parameters
    ----------
    columns : dict of str to Examined
        The contract's columns, by the study's name, in its order.
    n_read : int
        Rows in the file.
    n_rows : int
        Rows that the filter takes.
    faults : list of (Fault, Place, str)
        Every kind of fault, the place of its first row, and the next step.
    id_column : str, optional
        A column of the file outside the contract that looks like an identifier.
    n_ids, n_distinct_ids : int
        Rows that have one, and how many different ones there are.
    """

    columns: dict[str, Examined]
    n_read: int
    n_rows: int
    faults: list[tuple[Fault, Place, str]]
    id_column: str | None = None
    n_ids: int = 0
    n_distinct_ids: int = 0


def examine(source: Source, study: Study, how: Plan, reading: Reading) -> Examination:
    """Read the contract's columns, and note what breaks it.

    Raises
    ------
    DataError
        If the file itself is damaged: a row of the wrong length, an open quote.
    """
    if isinstance(source, Table):
        source.require_columns()
    wanted = {name: how.recodes[name].column for name in study.columns}
    there = {name: column for name, column in wanted.items() if column in source.names}
    readers = {f.name: feature_reader(f, how.recodes[f.name]) for f in study.features}
    outcome = study.study.outcome
    readers[outcome.column] = outcome_reader(outcome, how.recodes[outcome.column])
    by_word = {f.name for f in study.features if f.kind != "continuous"}
    id_column = _id_column(source.names, {*wanted.values()})
    read = [column for column in how.read if column in source.names]
    if id_column is not None and id_column not in read:
        read.append(id_column)

    values: dict[str, list[Array]] = {name: [] for name in there}
    invalid: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in there}
    words: dict[str, Counter[str]] = {name: Counter() for name in there}
    samples: dict[str, Column] = {}
    ids: list[pa.Array] = []
    faults, n_read = Faults(source), 0
    name_of_file = str(source.file).rpartition("/")[2] or "the rows"
    with reading.stage(f"reading {name_of_file}", source.n_rows) as stage:
        for batch in source.batches(read):
            rows = np.arange(n_read, n_read + batch.num_rows)
            n_read += batch.num_rows
            stage.advance(batch.num_rows)
            if how.filter is not None:
                mask = keep(how.filter, batch, how.filtered, rows, faults)
                batch, rows = batch.filter(mask), rows[mask]
            if not len(rows):
                continue
            for name, column in there.items():
                cells = batch.column(column)
                spot = _Noted(faults, column, rows)
                numbers = readers[name](cells, spot)
                unreadable = spot.invalid if name in by_word else spot.invalid & np.isnan(numbers)
                _count_words(words[name], cells, unreadable)
                values[name].append(np.where(unreadable, np.nan, numbers))
                invalid[name].append(spot.invalid)
                if name not in samples:
                    samples[name] = _sample(column, cells)
            if id_column is not None:
                ids.append(as_text(batch.column(id_column)))
    n_rows = sum(map(len, values[next(iter(values))])) if values else 0
    columns = {}
    for name in study.columns:
        if name in there:
            columns[name] = Examined(
                name,
                there[name],
                np.concatenate([np.empty(0), *values.pop(name)]),
                np.concatenate([np.empty(0, np.bool_), *invalid.pop(name)]),
                words[name],
                samples.get(name),
            )
        else:
            nothing = np.full(n_rows, np.nan), np.zeros(n_rows, np.bool_)
            columns[name] = Examined(name, wanted[name], *nothing, present=False)
    n_ids, n_distinct = _count_ids(ids)
    return Examination(columns, n_read, n_rows, faults.listed(), id_column, n_ids, n_distinct)


class _Noted:
    """A spot whose faults are counted and marked."""

    def __init__(self, faults: Faults, column: str, rows: NDArray[np.int64]) -> None:
        self._faults = faults
        self._column = column
        self._rows = rows
        self.invalid = np.zeros(len(rows), dtype=np.bool_)

    def add(self, faulty: NDArray[np.bool_], cause: Callable[[int], str], step: str) -> None:
        """Record one kind of fault, unless another one is known of the same row."""
        new = faulty & ~self.invalid
        self._faults.add(self._column, self._rows, new, cause, step)
        self.invalid |= new


def _count_words(words: Counter[str], cells: pa.Array, faulty: NDArray[np.bool_]) -> None:
    if not faulty.any():
        return
    counts = pc.value_counts(pc.utf8_trim_whitespace(as_text(cells.filter(pa.array(faulty)))))
    for pair in counts[:MOST_WORDS].to_pylist():
        word = shown(pair["values"])
        if word in words or len(words) < MOST_WORDS:
            words[word] += pair["counts"]


def _sample(column: str, cells: pa.Array) -> Column:
    return describe(column, pa.chunked_array([as_text(cells[:SAMPLE]).fill_null("")]))


def _id_column(names: Iterable[str], taken: set[str]) -> str | None:
    free = (name for name in names if name not in taken)
    return next((name for name in free if looks_like_identifier(name)), None)


def _count_ids(parts: list[pa.Array]) -> tuple[int, int]:
    if not parts:
        return 0, 0
    given = pc.utf8_trim_whitespace(pa.chunked_array(parts)).drop_null()
    given = given.filter(pc.not_equal(given, ""))
    return len(given), int(pc.count_distinct(given).as_py())
