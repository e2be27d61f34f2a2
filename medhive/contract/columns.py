"""What each column of a site's file holds: the facts that a proposal needs, and no more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medhive.contract.reading import columns_of
from medhive.data.check import MISSING
from medhive.study import code

MOST_CODES = 50
"""Distinct values up to which a column's values are kept one by one."""

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_DECIMAL_COMMA = r"^[+-]?[0-9]+,[0-9]+$"
_DATE = (
    r"^([0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.]([0-9]{4}|[0-9]{2}))"
    r"([ T][0-9:.]+(Z|[+-][0-9:]+)?)?$"
)


@dataclass(frozen=True)
class Column:
    """One column of a site's file. It holds patients' values and stays at the site.

    Parameters
    ----------
    name : str
    n_rows, n_given, n_distinct : int
        Rows, rows with a value, and distinct values.
    counts : mapping of str to int
        Rows a level code; empty where there are more than `MOST_CODES`.
    n_numbers, n_dates, n_decimal_commas : int
        Rows whose value looks so.
    longest : int
        Characters of the longest value.
    low, high : float
        Smallest and largest number; NaN where there is none.
    whole : bool
        Every number is a whole one.
    counts_up : bool
        Whole numbers that go up by one from row to row.
    """

    name: str
    n_rows: int
    n_given: int = 0
    n_distinct: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    n_numbers: int = 0
    n_dates: int = 0
    n_decimal_commas: int = 0
    longest: int = 0
    low: float = math.nan
    high: float = math.nan
    whole: bool = False
    counts_up: bool = False

    @property
    def numeric(self) -> bool:
        """Whether every value is a number."""
        return 0 < self.n_given == self.n_numbers


def read_columns(path: Path) -> Iterator[Column]:
    """Describe every column of a site's file.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    for name, texts in columns_of(path):
        yield describe(name, texts)


def describe(name: str, texts: pa.ChunkedArray) -> Column:
    """Describe one column.

    Parameters
    ----------
    name : str
    texts : ChunkedArray of string
        The values as they are in the file.
    """
    texts = pc.utf8_trim_whitespace(texts)
    missing = pc.is_in(texts, value_set=pa.array(sorted(MISSING)))
    given = texts.filter(pc.invert(missing))
    if len(given) == 0:
        return Column(name, len(texts))
    counted = pc.value_counts(given)
    words = counted.field("values")
    rows = counted.field("counts")

    def rows_like(pattern: str) -> int:
        return int(pc.sum(pc.filter(rows, pc.match_substring_regex(words, pattern))).as_py() or 0)

    numbers = _numbers(given)
    finite = numbers[np.isfinite(numbers)]
    whole = bool(len(finite)) and bool(np.all(finite == np.floor(finite)))
    steps = np.diff(finite)
    return Column(
        name=name,
        n_rows=len(texts),
        n_given=len(given),
        n_distinct=len(words),
        counts=_codes(words, rows) if len(words) <= MOST_CODES else {},
        n_numbers=len(finite),
        n_dates=rows_like(_DATE),
        n_decimal_commas=rows_like(_DECIMAL_COMMA),
        longest=int(pc.max(pc.utf8_length(words)).as_py()),
        low=float(finite.min()) if len(finite) else math.nan,
        high=float(finite.max()) if len(finite) else math.nan,
        whole=whole,
        counts_up=whole and len(steps) > 0 and bool(np.all(steps == 1)),
    )


def _numbers(given: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    written = pc.filter(given, pc.match_substring_regex(given, _NUMBER))
    numbers = pc.cast(pc.utf8_ltrim(written, "+"), pa.float64())
    return np.asarray(numbers.to_numpy(), dtype=np.float64)


def _codes(words: pa.Array, rows: pa.Array) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word, n in zip(words.to_pylist(), rows.to_pylist(), strict=True):
        counts[code(word)] = counts.get(code(word), 0) + n
    return counts
