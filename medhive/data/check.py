"""Checking a site's values against the study contract, and turning them into numbers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medhive.data.faults import Faults, Tolerated, shown
from medhive.data.sources import SEPARATORS, Table
from medhive.errors import DataError, Place
from medhive.rows import ABSENT, Array
from medhive.study import Feature, Outcome, Study, code

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_INFINITE = r"(?i)^[+-]?inf(inity)?$"
_DECIMAL_COMMA = r"^[+-]?[0-9]+,[0-9]+$"
MISSING = frozenset({"", ".", "NA", "na", "N/A", "n/a", "NaN", "nan", "NAN"}) | frozenset(
    {"NULL", "null", "Null", "NONE", "None", "none"}
)
"""What stands for a missing value, unless the contract lists that word as a level."""

Reader = Callable[[pa.Array, int, Faults], Array]
"""Turns a batch of one column's texts, which starts at a row, into numbers."""


@dataclass(frozen=True, eq=False)
class Checked:
    """The contract's columns as numbers, all rows of the file.

    Parameters
    ----------
    values : mapping of str to ndarray, shape (n_rows,)
        Per column: a number, for a categorical feature the position of the level in the
        contract, for the outcome 1.0 where the event occurred; NaN where the value is missing;
        of a lenient check also `INVALID` and `ABSENT`.
    complete : ndarray of bool, shape (n_rows,)
        Rows without a missing value.
    unused : tuple of str
        Columns of the file that the contract does not name.
    """

    values: Mapping[str, Array]
    complete: NDArray[np.bool_]
    unused: tuple[str, ...]

    @property
    def missing(self) -> dict[str, int]:
        """Rows without a value, per column."""
        return {name: int(np.isnan(values).sum()) for name, values in self.values.items()}


def check(table: Table, study: Study, *, lenient: bool = False) -> Checked:
    """Read the contract's columns and require that every value is what the contract says.

    Parameters
    ----------
    table : Table
    study : Study
    lenient : bool
        Describe what is there instead of requiring it: a feature's value that breaks the contract
        becomes `INVALID`, a feature without a column `ABSENT`. The outcome is required as ever.

    Raises
    ------
    DataError
        At the first offending line of every kind of fault, or if no complete row is left.
    """
    unused = _check_header(table, study, lenient)
    columns = [name for name in study.columns if name in table.names]
    outcome = study.study.outcome.column
    readers = {f.name: _feature_reader(f) for f in study.features if f.name in columns}
    readers[outcome] = _outcome_reader(study.study.outcome)
    parts: dict[str, list[Array]] = {name: [] for name in readers}
    faults, tolerated = Faults(table), Tolerated(table)
    start = 0
    for batch in table.batches(columns):
        for name, read in readers.items():
            text = pc.utf8_trim_whitespace(batch.column(name))
            found = tolerated if lenient and name != outcome else faults
            parts[name].append(read(text, start, found))
        start += batch.num_rows
    faults.raise_if_any()
    values = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    tolerated.mark(values)
    absent = [name for name in study.columns if name not in columns]
    values |= {name: np.full(start, ABSENT) for name in absent}
    complete = np.ones(start, dtype=np.bool_)
    for column in values.values():
        complete &= np.isfinite(column)
    checked = Checked(values, complete, unused)
    _require_rows(table, study, checked, lenient)
    return checked


def _check_header(table: Table, study: Study, lenient: bool) -> tuple[str, ...]:
    """Return the unused columns; raise for missing ones and for extra ones that are refused."""
    if len(table.names) == 1:
        raise DataError(
            f"only one column was found (separator: {SEPARATORS[table.delimiter]}), "
            f"the study needs {len(study.columns)}",
            place=Place(file=table.file, line=table.header_line),
            next_step=f"separate the columns by {', '.join(SEPARATORS.values())}",
        )
    required = [study.study.outcome.column] if lenient else study.columns
    absent = [name for name in required if name not in table.names]
    unused = tuple(name for name in table.names if name not in study.columns)
    if absent:
        steps = [_did_you_mean(name, unused) for name in absent]
        more = f"; so are {', '.join(absent[1:])}" if absent[1:] else ""
        raise DataError(
            f"the column is missing{more}",
            place=Place(file=table.file, line=table.header_line, column=absent[0]),
            next_step="; ".join(step for step in steps if step)
            or f"add it; the file has: {', '.join(table.names)}",
        )
    if unused and study.study.extra_columns == "refused":
        more = f"; nor does it name {', '.join(unused[1:])}" if unused[1:] else ""
        raise DataError(
            f"the study does not name this column, and refuses extra columns{more}",
            place=Place(file=table.file, line=table.header_line, column=unused[0]),
            next_step="delete the column from the file",
        )
    return unused


def _did_you_mean(name: str, present: Sequence[str]) -> str | None:
    folded = {other.casefold(): other for other in present}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f'rename "{folded[close[0]]}" to "{name}", if it is that column' if close else None


def _require_rows(table: Table, study: Study, checked: Checked, lenient: bool) -> None:
    outcome = study.study.outcome.column
    if np.isnan(checked.values[outcome]).all():
        raise DataError(
            "the outcome is missing in every row",
            place=Place(file=table.file, column=outcome),
            next_step="fill in the outcome",
        )
    if not lenient and not checked.complete.any():
        missing = checked.missing
        worst = max(missing, key=lambda name: missing[name])
        raise DataError(
            "no row is complete: every row lacks a value that the study needs",
            place=Place(file=table.file, column=worst),
            next_step="fill in the missing values, this column's first",
        )


def _feature_reader(feature: Feature) -> Reader:
    if feature.kind == "continuous":
        return lambda text, start, faults: _read_continuous(feature, text, start, faults)
    codes = ("0", "1") if feature.kind == "binary" else feature.codes
    step = (
        "code the column as 0 and 1 (words such as true or yes are not read)"
        if feature.kind == "binary"
        else "correct the value, or agree on another level in the study"
    )
    return lambda text, start, faults: _read_levels(feature.name, codes, step, text, start, faults)


def _read_continuous(feature: Feature, text: pa.Array, start: int, faults: Faults) -> Array:
    values = _read_numbers(feature.name, text, start, faults)
    if feature.range is not None:
        low, high = feature.range
        faults.add(
            feature.name,
            start,
            (values < low) | (values > high),
            lambda i: f"{shown(text[i])} is outside the study's range {low:g} to {high:g}",
            "correct the value, or leave the field empty if it is unknown",
        )
    return values


def _read_numbers(column: str, text: pa.Array, start: int, faults: Faults) -> Array:
    is_missing = pc.is_in(text, value_set=pa.array(sorted(MISSING)))
    given = pc.if_else(is_missing, pa.scalar(None, pa.string()), text)
    try:
        numbers = pc.cast(given, pa.float64())
    except pa.ArrowInvalid:
        is_number = pc.match_substring_regex(given, _NUMBER)
        given = pc.if_else(is_number, pc.utf8_ltrim(given, "+"), pa.scalar(None, pa.string()))
        numbers = pc.cast(given, pa.float64())
    values: Array = numbers.to_numpy(zero_copy_only=False)
    bad = ~np.isfinite(values) & ~_mask(is_missing)
    if bad.any():
        infinite = bad & (np.isinf(values) | _mask(pc.match_substring_regex(text, _INFINITE)))
        comma = bad & _mask(pc.match_substring_regex(text, _DECIMAL_COMMA))
        faults.add(
            column,
            start,
            infinite,
            lambda i: f"{shown(text[i])} is not a finite number",
            "correct the value, or leave the field empty if it is unknown",
        )
        faults.add(
            column,
            start,
            comma,
            lambda i: f"{shown(text[i])} is not a number: it has a decimal comma",
            "write numbers with a decimal point, such as 3.5",
        )
        faults.add(
            column,
            start,
            bad & ~infinite & ~comma,
            lambda i: f"{shown(text[i])} is not a number",
            "write a number, or leave the field empty if the value is missing",
        )
    return values


def _read_levels(
    column: str, codes: Sequence[str], step: str, text: pa.Array, start: int, faults: Faults
) -> Array:
    """Return the position of each value's level among the codes."""
    words, indices = _distinct(text)
    position = {level: float(number) for number, level in enumerate(codes)}
    unknown = -1.0
    values = np.array([position.get(code(w), _missing_or(w, unknown)) for w in words])[indices]
    faults.add(
        column,
        start,
        values == unknown,
        lambda i: f"{shown(text[i])} is not one of the levels {', '.join(codes)}",
        step,
    )
    return values


def _outcome_reader(outcome: Outcome) -> Reader:
    if outcome.comparison is not None:
        return lambda text, start, faults: _read_comparison(outcome, text, start, faults)
    others: list[str] = []
    return lambda text, start, faults: _read_event(outcome, others, text, start, faults)


def _read_comparison(outcome: Outcome, text: pa.Array, start: int, faults: Faults) -> Array:
    numbers = _read_numbers(outcome.column, text, start, faults)
    return np.where(np.isnan(numbers), np.nan, outcome.holds(numbers))


def _read_event(
    outcome: Outcome, others: list[str], text: pa.Array, start: int, faults: Faults
) -> Array:
    """Return 1 where the value is the event; `others` collects the values that are not."""
    event = _level(outcome, outcome.event)
    words, indices = _distinct(text)
    levels = [_level(outcome, word) for word in words]
    values = np.empty(len(words))
    for number, (word, level) in enumerate(zip(words, levels, strict=True)):
        values[number] = 1.0 if level == event else _missing_or(word, 0.0)
        if values[number] == 0.0 and level not in others:
            others.append(level)
    if len(others) > 1:
        excess = np.array(
            [v == 0.0 and lv != others[0] for v, lv in zip(values, levels, strict=True)]
        )
        faults.add(
            outcome.column,
            start,
            excess[indices],
            lambda _: (
                f"the outcome has the values {_listed(others)} beside the event "
                f"{shown(event)}; it may have one"
            ),
            'in the study, choose another event, or a comparison such as "> 0"; or recode the '
            "column to two values",
        )
    return values[indices]


def _level(outcome: Outcome, value: object) -> str:
    # true in a study file means the words true, True and TRUE of a data file
    return code(value).lower() if isinstance(outcome.event, bool) else code(value)


def _listed(values: Sequence[str], most: int = 5) -> str:
    words = [shown(value) for value in values[:most]]
    return ", ".join(words) + (", …" if len(values) > most else "")


def _missing_or(word: str, value: float) -> float:
    return np.nan if word in MISSING else value


def _distinct(text: pa.Array) -> tuple[list[str], NDArray[np.int32]]:
    encoded = text.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _mask(flags: pa.Array) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = flags.fill_null(False).to_numpy(zero_copy_only=False)
    return mask
