"""Rows: how many are read, left out and why, kept; duplicates; patterns of missing values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medhive.data.sitefile import Limits
from medhive.data.split import n_held_out
from medhive.datacheck.examine import Examination, Examined
from medhive.datacheck.finding import Finding, counted, share
from medhive.datacheck.identifiers import FEW
from medhive.rows import Array
from medhive.study import Study

MOST_PATTERNS = 8


@dataclass(frozen=True)
class RowCounts:
    """Where the rows of a file go, each counted once, at the first reason that holds.

    Parameters
    ----------
    read : int
        Rows in the file.
    filtered : int
        Left out by the site file's filter.
    broken : int
        A value breaks the contract.
    no_outcome : int
        Left out because the outcome is missing.
    incomplete : int
        Left out because another value is missing; none where the study fills missing values.
    held_out : int
        Kept for evaluation.
    training : int
        Kept for the fit.
    min_rows : int
        Fewest training rows that the study, and this site, ask for.
    """

    read: int
    filtered: int
    broken: int
    no_outcome: int
    incomplete: int
    held_out: int
    training: int
    min_rows: int

    @property
    def kept(self) -> int:
        """Rows that would take part."""
        return self.held_out + self.training


@dataclass(frozen=True)
class Pattern:
    """Columns that are missing together, and in how many rows."""

    columns: tuple[str, ...]
    n_rows: int


def count_rows(found: Examination, study: Study, limits: Limits) -> RowCounts:
    """Count the rows by what becomes of them."""
    there = [column for column in found.columns.values() if column.present]
    outcome = found.columns[study.study.outcome.column]
    none = np.zeros(found.n_rows, dtype=np.bool_)
    broken = _any([column.invalid for column in there], none)
    no_outcome = outcome.missing & ~broken if outcome.present else none
    gaps = _any([column.missing for column in there], none) & ~no_outcome & ~broken
    incomplete = int(gaps.sum()) if study.run.missing == "drop" else 0
    kept = found.n_rows - int(no_outcome.sum()) - int(broken.sum()) - incomplete
    held_out = n_held_out(kept, study.run.test_fraction)
    return RowCounts(
        read=found.n_read,
        filtered=found.n_read - found.n_rows,
        broken=int(broken.sum()),
        no_outcome=int(no_outcome.sum()),
        incomplete=incomplete,
        held_out=held_out,
        training=kept - held_out,
        min_rows=max(study.privacy.min_rows, limits.min_rows or 0),
    )


def check_rows(counts: RowCounts) -> Iterator[Finding]:
    """Say whether enough rows take part."""
    taken = counts.read - counts.filtered
    if not taken:
        yield Finding(
            "break",
            "rows",
            f"the filter leaves none of {counted(counts.read, 'row')}",
            "correct the filter in the site file",
        )
        return
    if not counts.kept:
        yield Finding(
            "break",
            "rows",
            "no row has every value that the study needs",
            "see what is missing, or breaks the contract, in most rows",
        )
    elif counts.training < counts.min_rows:
        yield Finding(
            "break",
            "rows",
            f"{counted(counts.training, 'training row')}, fewer than min-rows"
            f" ({counts.min_rows:,})",
            "add patients with complete values, or agree on a lower min-rows",
        )
    else:
        yield Finding(
            "ok",
            "rows",
            f"{counted(counts.training, 'training row')}, min-rows is {counts.min_rows:,}",
        )
    lost = counts.incomplete + counts.no_outcome
    if 5 * lost >= taken and counts.kept:
        yield Finding(
            "warning",
            "rows",
            f"{share(lost, taken)} of the rows are left out because a value is missing",
            "are they left out at random? see the missing patterns",
        )


def missing_patterns(found: Examination) -> tuple[Pattern, ...]:
    """Return the sets of columns that are missing together, the most frequent first."""
    gaps = {c.name: c.missing for c in found.columns.values() if c.present}
    gaps = {name: mask for name, mask in gaps.items() if mask.any()}
    if not gaps:
        return ()
    some = np.logical_or.reduce(list(gaps.values()))
    packed = np.packbits(np.column_stack([mask[some] for mask in gaps.values()]), axis=1)
    kinds, counts = np.unique(packed, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_PATTERNS]
    flags = np.unpackbits(kinds[order], axis=1, count=len(gaps)).astype(bool)
    names = list(gaps)
    return tuple(
        Pattern(tuple(name for name, is_missing in zip(names, row, strict=True) if is_missing), n)
        for row, n in zip(flags, counts[order].tolist(), strict=True)
    )


def check_duplicates(found: Examination) -> Iterator[Finding]:
    """Find rows that are the same in every column of the contract, and identifiers that recur."""
    columns = [column for column in found.columns.values() if column.present]
    if found.n_rows > 1 and columns:
        yield from _same_rows(columns, found.n_rows)
    again = found.n_ids - found.n_distinct_ids
    # a column with few different values, such as a type of case, is no identifier
    if again and found.n_distinct_ids > FEW and 10 * found.n_distinct_ids >= found.n_ids:
        yield Finding(
            "warning",
            found.id_column or "",
            f"{counted(again, 'row has', 'rows have')} an identifier that an earlier row has:"
            " several rows a patient?",
            "give one row a patient, such as the first stay, with the site file's query or filter",
        )


def _same_rows(columns: list[Examined], n: int) -> Iterator[Finding]:
    table = pa.table(
        {c.name: pa.array(np.where(c.invalid, np.inf, c.values), from_pandas=True) for c in columns}
    )
    same = n - table.group_by(table.column_names).aggregate([]).num_rows
    if not same:
        yield Finding("ok", "rows", "no two rows are the same")
        return
    expected = n * (n - 1) / 2
    for column in columns:
        expected *= _chance_of_a_tie(column.values)
    by_chance = same <= max(1.0, 5 * expected)
    yield Finding(
        "note" if by_chance else "warning",
        "rows",
        f"{counted(same, 'row is', 'rows are')} the same as an earlier one in every column"
        + (", about as many as chance gives" if by_chance else ", more than chance gives"),
        "" if by_chance else "was a part of the file exported or joined twice?",
    )


def _chance_of_a_tie(values: Array) -> float:
    """Return the chance that two rows have the same value: the sum of the squared shares."""
    _, counts = np.unique(values, return_counts=True)
    return float(np.sum((counts / counts.sum()) ** 2))


def _any(masks: list[NDArray[np.bool_]], none: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.logical_or.reduce([none, *masks])
    return found
