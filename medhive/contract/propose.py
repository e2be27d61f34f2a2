"""From what a column holds to what it could be in a study.

A draft leaves the site, so nothing in it may be a patient's value: ranges are rounded outward, and
level codes are listed only where several rows share them.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from medhive.contract.candidate import Candidate, unfit_name
from medhive.contract.columns import Column
from medhive.contract.words import looks_like_identifier, looks_personal
from medhive.study import Kind

FEWEST_ROWS = 5
"""Rows that must share a level code before it is written into a draft."""

MOST_NUMERIC_LEVELS = 10
MOST_TEXT_LEVELS = 20
LONGEST_LEVEL = 60
LEAST_FILLED = 0.2
_WIDEN = 0.1


def propose(column: Column) -> Candidate:
    """Propose what a column of a site's file is in the study."""
    name = column.name
    if why := unfit_name(name) or _personal(column) or _empty(column):
        return _left_out(column, why)
    if column.n_dates >= 0.9 * column.n_given:
        return _left_out(column, "dates; the model takes numbers, such as age or days since")
    if column.numeric:
        return _number(column)
    if column.n_decimal_commas >= 0.5 * column.n_given:
        return _left_out(column, "decimal commas; write 3.5, not 3,5, and draft again")
    many = column.n_distinct > MOST_NUMERIC_LEVELS
    if many and column.n_numbers >= 0.5 * column.n_given:
        return _left_out(column, "numbers, but some rows hold a text; correct, and draft again")
    return _text(column)


def _personal(column: Column) -> str | None:
    if why := looks_personal(column.name):
        return why
    # "case" and "no" can also be what a column with few values answers
    many = column.n_distinct > MOST_NUMERIC_LEVELS
    return "looks like an identifier" if many and looks_like_identifier(column.name) else None


def _empty(column: Column) -> str | None:
    if column.n_given == 0:
        return "empty"
    if column.n_given < LEAST_FILLED * column.n_rows:
        return f"nearly empty: fewer than {LEAST_FILLED:.0%} of the rows have a value"
    if column.n_distinct == 1 or len(column.counts) == 1:
        return "the same value in every row"
    return None


def _number(column: Column) -> Candidate:
    if set(column.counts) == {"0", "1"}:
        return _candidate(column, "binary", "0 and 1")
    if column.counts_up and column.n_given >= FEWEST_ROWS:
        return _left_out(column, "counts the rows: looks like an identifier")
    every_row_differs = column.n_distinct == column.n_given and column.n_given > 10
    if column.whole and every_row_differs and column.low >= 10_000:
        return _left_out(column, "every row has another long number: looks like an identifier")
    n_codes = len(column.counts)
    few = 0 < n_codes <= MOST_NUMERIC_LEVELS and column.n_given >= FEWEST_ROWS * n_codes
    if column.whole and few and len(_levels(column)) > 1:
        both: tuple[Kind, ...] = ("categorical", "continuous")
        # three or more neighbouring codes are often grades of one thing
        if n_codes > 2 and column.high - column.low == n_codes - 1:
            why = f"{n_codes} codes, grades in order? (continuous: every step counts the same)"
        else:
            why = f"{n_codes} different whole numbers"
        return _candidate(column, "categorical", why, both, doubtful=n_codes > 2)
    return _candidate(column, "continuous", "numbers")


def _text(column: Column) -> Candidate:
    if column.n_distinct == column.n_given:
        return _left_out(column, "every row has another text: an identifier or free text")
    if not column.counts or len(column.counts) > MOST_TEXT_LEVELS:
        return _left_out(column, f"more than {MOST_TEXT_LEVELS} different texts: free text?")
    if column.longest > LONGEST_LEVEL:
        return _left_out(column, "long texts: free text?")
    levels = _levels(column)
    if not all(level.isprintable() for level in levels):
        return _left_out(column, "texts with characters that cannot be printed")
    if len(levels) < 2:
        return _left_out(column, f"no two texts that {FEWEST_ROWS} rows share")
    return _candidate(
        column,
        "categorical",
        f"{len(column.counts)} different texts",
        ("categorical",),
        doubtful=len(column.counts) > MOST_NUMERIC_LEVELS or len(levels) < len(column.counts),
    )


def _candidate(
    column: Column,
    kind: Kind,
    reason: str,
    choices: tuple[Kind, ...] = (),
    *,
    doubtful: bool = False,
) -> Candidate:
    could = choices or (kind,)
    levels = _levels(column) if "categorical" in could else ()
    return Candidate(
        name=column.name,
        kind=kind,
        reason=reason,
        choices=could,
        doubtful=doubtful,
        range=outward(column.low, column.high) if "continuous" in could else None,
        levels=tuple((level, "") for level in levels),
        reference=max(levels, key=lambda level: column.counts[level]) if levels else None,
        rare=len(column.counts) - len(levels) if levels else 0,
        counts=column.counts,
        low=column.low if column.numeric else None,
        high=column.high if column.numeric else None,
    )


def _left_out(column: Column, reason: str) -> Candidate:
    return Candidate(
        name=column.name,
        kind=None,
        reason=reason,
        counts=column.counts,
        low=column.low if column.numeric else None,
        high=column.high if column.numeric else None,
    )


def _levels(column: Column) -> tuple[str, ...]:
    """Return the codes that enough rows share, numbers in their order."""
    shared = [level for level, n in column.counts.items() if n >= FEWEST_ROWS]
    return tuple(sorted(shared, key=_order))


def _order(level: str) -> tuple[float, str]:
    try:
        return (float(level), level)
    except ValueError:
        return (math.inf, level.casefold())


def outward(low: float, high: float) -> tuple[float, float] | None:
    """Return a range that is wider than the data and shows neither end of them.

    Each end moves outward by a tenth of the spread and is rounded outward to two significant
    digits; a positive column does not become negative.
    """
    room = _WIDEN * (high - low)
    if not (math.isfinite(room) and low - room < low and high + room > high):
        return None
    bottom = max(low - room, 0.0) if low > 0 else low - room
    top = min(high + room, 0.0) if high < 0 else high + room
    ends = _rounded(bottom, ROUND_FLOOR), _rounded(top, ROUND_CEILING)
    return ends if all(map(math.isfinite, ends)) and ends[0] < low and ends[1] > high else None


def _rounded(value: float, rounding: str) -> float:
    number = Decimal(value)
    if not number:
        return 0.0
    step = Decimal(1).scaleb(number.adjusted() - 1)
    return float((number / step).to_integral_value(rounding) * step)
