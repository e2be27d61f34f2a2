"""A Table 1 as CSV: one line a figure, one column a group or site, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from medhive.reports.files import write_atomically
from medhive.reports.table1 import EVENT, NO_EVENT, Count, Summary, Table1
from medhive.reports.table1_lines import HIDDEN

HEAD = ("feature", "level", "label", "unit", "statistic")
FIGURES = ("mean", "sd", "median", "q1", "q3", "error_bound")

Row = tuple[tuple[str, str, str, str, str], list[str]]


def write_csv(table: Table1, path: Path) -> None:
    """Write ``table1.csv`` atomically.

    Numbers have all their digits; an empty field is a figure that does not exist, or that is not
    computed by site.
    """
    ids = [column.id for column in table.columns]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*HEAD, *map(_safe, ids)])
    for head, figures in _rows(table, ids):
        writer.writerow([*map(_safe, head), *figures])
    # spreadsheets take a file without this mark for another encoding
    write_atomically(path, "\ufeff" + text.getvalue())


def _rows(table: Table1, ids: list[str]) -> Iterator[Row]:
    yield ("", "", "patients", "", "n"), [_n(table.rows[column]) for column in ids]
    for group in (NO_EVENT, EVENT):
        mine = {column: counts[group] for column, counts in table.outcome_by_site.items()}
        mine |= {column: table.rows[column] for column in (NO_EVENT, EVENT) if column == group}
        yield ("", "", f"patients, {group}", "", "n"), _listed(mine, ids)
    for summary in table.features:
        yield from _feature(summary, ids)


def _feature(summary: Summary, ids: list[str]) -> Iterator[Row]:
    name, unit = summary.name, summary.unit
    for kind in ("observed", "missing", "invalid"):
        yield (name, "", "", "", kind), _listed(getattr(summary, kind), ids)
    for level in summary.levels:
        yield (name, level.code, level.label, "", "n"), _listed(level.counts, ids)
        shares = [level.counts[column].percent for column in ids]
        yield (
            (name, level.code, level.label, "", "percent"),
            [
                HIDDEN if level.counts[column].n is None else _figure(share)
                for column, share in zip(ids, shares, strict=True)
            ],
        )
    if not summary.figures:
        return
    for figure in FIGURES:
        yield (name, "", "", unit, figure), [_of(summary, column, figure) for column in ids]


def _listed(counts: Mapping[str, Count], ids: list[str]) -> list[str]:
    return [_n(counts[column]) if column in counts else "" for column in ids]


def _n(count: Count) -> str:
    return HIDDEN if count.n is None else str(count.n)


def _of(summary: Summary, column: str, figure: str) -> str:
    value: float | None = getattr(summary.figures[column], figure)
    by_site = figure in ("mean", "sd") or not column.startswith("site:")
    if value is None and by_site and summary.observed[column].n != 0:
        return HIDDEN
    return _figure(value)


def _figure(value: float | None) -> str:
    return "" if value is None else repr(value)


def _safe(text: str) -> str:
    """Keep a spreadsheet from taking a text for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
