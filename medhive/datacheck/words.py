"""The words of a report, the same on a terminal and on a page."""

from __future__ import annotations

from collections.abc import Mapping

from medhive.datacheck.features import Summary
from medhive.datacheck.finding import Level, share
from medhive.datacheck.report import Report

LEVEL_WORDS: Mapping[Level, str] = {
    "break": "BREAK",
    "warning": "WARNING",
    "note": "note",
    "ok": "ok",
}
STAYS = (
    "This report holds the hospital's own figures, some of single patients. It is not meant to"
    " leave the hospital."
)


def row_lines(report: Report) -> list[tuple[str, int]]:
    """Return what becomes of the rows, in words, with how many."""
    rows = report.rows
    broken = ("dropped: " if report.allow_drop else "") + "a value breaks the contract"
    lines = [("rows in the file", rows.read)]
    lines += [("left out by the site file's filter", rows.filtered)] if rows.filtered else []
    lines += [(broken, rows.broken)] if rows.broken else []
    lines += [("dropped: the outcome is missing", rows.no_outcome)]
    if report.study.run.missing == "drop":
        lines += [("dropped: a feature is missing", rows.incomplete)]
    lines += [("kept", rows.kept)]
    if rows.held_out:
        lines += [("of them held out for evaluation", rows.held_out)]
        lines += [("of them for training", rows.training)]
    return lines


def outcome_line(report: Report) -> str:
    """Say how often the event occurred."""
    outcome = report.outcome
    known = outcome.events + outcome.others
    if not known:
        return "no row has an outcome that can be read"
    text = f"{outcome.events:,} events, {outcome.others:,} without"
    text += f" ({share(outcome.events, known)} events)"
    return text + (f"; {outcome.n_missing:,} missing" if outcome.n_missing else "")


def values(summary: Summary) -> tuple[str, str, str]:
    """Return smallest, median and largest number; empty texts where there is none."""
    return (number(summary.low), number(summary.median), number(summary.high))


def level_counts(summary: Summary) -> str:
    """Return the rows of each level: ``1: 23, 2: 50``."""
    return ", ".join(f"{level}: {n:,}" for level, n in summary.levels)


def missing(summary: Summary) -> str:
    """Return how many values are missing, and their share."""
    total = summary.n + summary.n_missing + summary.n_broken
    if not summary.n_missing:
        return "0"
    return f"{summary.n_missing:,} ({share(summary.n_missing, total)})"


def number(value: float | None) -> str:
    """Write a number in at most five digits."""
    return "" if value is None else f"{value:.5g}"


def printable(text: str) -> str:
    """Replace what could steer a terminal or cannot be seen."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
