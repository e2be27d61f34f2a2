"""The lines of a Table 1 as people read it: one text a cell, shared by the terminal and HTML."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from medhive.reports.table1 import EVENT, Column, Count, Figures, Summary, Table1

HIDDEN, NOTHING = "hidden", "–"  # noqa: RUF001 - a dash is what a table has there


@dataclass(frozen=True)
class Line:
    """One line.

    Parameters
    ----------
    label : str
    cells : tuple of str
        One a column; `HIDDEN` and `NOTHING` stand for themselves.
    head : bool
        Whether the line begins a feature.
    note : str
        What the figures are, said once beside the label.
    """

    label: str
    cells: tuple[str, ...]
    head: bool = False
    note: str = ""


def lines(table: Table1, columns: Sequence[Column]) -> Iterator[Line]:
    """Yield the lines of some columns."""
    ids = [column.id for column in columns]
    by_site = all(column.site for column in columns)
    yield Line("Patients", _cells(ids, table.rows), head=True, note="n (%)")
    if by_site:
        events = {column: counts[EVENT] for column, counts in table.outcome_by_site.items()}
        yield Line(f"with {table.outcome}", _cells(ids, events), note="n (%)")
    for summary in table.features:
        yield from _feature(summary, ids)


def blocks(columns: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """Yield the sites' columns, about equally many at a time, at most `width`."""
    sites = [column for column in columns if column.site]
    n_blocks = math.ceil(len(sites) / width)
    for i in range(n_blocks):
        yield sites[i * len(sites) // n_blocks : (i + 1) * len(sites) // n_blocks]


def _feature(summary: Summary, ids: list[str]) -> Iterator[Line]:
    unit = f", {summary.unit}" if summary.unit else ""
    label = f"{summary.name}{unit}"
    if summary.kind == "continuous":
        figures = [
            None if summary.observed[column].n == 0 else summary.figures[column] for column in ids
        ]
        digits = _digits(max((each.sd or 0.0 for each in summary.figures.values()), default=0.0))
        means = tuple(_mean(each, digits) for each in figures)
        yield Line(label, means, head=True, note="mean (sd)")
        if any(each is not None and each.median is not None for each in figures):
            yield Line("median [quartiles]", _quartiles(figures, digits))
    elif summary.kind == "binary":
        one = next(level for level in summary.levels if level.code == "1")
        said = f"{label}: {one.label}" if one.label != "1" else label
        yield Line(said, _cells(ids, one.counts), head=True, note="n (%)")
    else:
        yield Line(label, ("",) * len(ids), head=True, note="n (%)")
        for level in summary.levels:
            yield Line(level.label, _cells(ids, level.counts))
    for words, counts in (("missing", summary.missing), ("not allowed", summary.invalid)):
        if any(counts[column].n != 0 for column in ids):
            yield Line(words, _cells(ids, counts))


def _cells(ids: list[str], counts: Mapping[str, Count]) -> tuple[str, ...]:
    return tuple(_count(counts[column]) for column in ids)


def _count(count: Count) -> str:
    if count.n is None:
        return HIDDEN
    if count.n == 0 or count.percent is None:
        return str(count.n)
    return f"{count.n} ({percent(count.percent)})"


def percent(value: float) -> str:
    """Write a share: whole numbers say enough from 10 on, and never 0 or 100 for what is not."""
    if value == 100.0:
        return "100"
    digits = 0 if 10 <= value < 99.5 else 1
    return f"{min(max(value, 0.1), 99.9):.{digits}f}"


def _mean(figures: Figures | None, digits: int) -> str:
    if figures is None:
        return NOTHING
    if figures.mean is None or figures.sd is None:
        return HIDDEN
    return f"{number(figures.mean, digits)} ({number(figures.sd, digits)})"


def _quartiles(each: Sequence[Figures | None], digits: int) -> tuple[str, ...]:
    """Write median and quartiles of every column, without decimals where all are whole."""
    known = [
        None
        if figures is None or figures.q1 is None or figures.median is None or figures.q3 is None
        else [_simplest(v, figures.error_bound) for v in (figures.median, figures.q1, figures.q3)]
        for figures in each
    ]
    if all(value == round(value) for values in known if values for value in values):
        digits = 0
    return tuple(
        "{} [{}, {}]".format(*(number(value, digits) for value in values))
        if values
        else (NOTHING if figures is None else HIDDEN)
        for figures, values in zip(each, known, strict=True)
    )


def _simplest(value: float, error: float | None) -> float:
    """Return the number with the fewest decimals that a figure and its error bound allow."""
    simple = (round(value, digits) for digits in range(7))
    return next((each for each in simple if abs(each - value) <= (error or 0.0)), value)


def number(value: float, digits: int) -> str:
    """Write a number with some decimals, or in powers of ten where it is very large or small."""
    if value and not 1e-6 <= abs(value) < 1e9:
        return f"{value:.3g}"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0.0 else text


def _digits(sd: float) -> int:
    """Return the decimals that leave a standard deviation two significant digits."""
    if not sd > 0:
        return 1
    return min(max(1 - math.floor(math.log10(sd)), 0), 6)
