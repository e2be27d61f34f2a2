"""Each feature: its figures against the contract, constant columns, codes that mean missing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medhive.datacheck.examine import Examined
from medhive.datacheck.finding import Finding, counted, share
from medhive.study import Feature, Study

MUCH_MISSING = 0.2
FEW_DISTINCT = 5
CODES = (
    0.0,
    -1.0,
    -9.0,
    -99.0,
    -999.0,
    -9999.0,
    9.0,
    99.0,
    999.0,
    9999.0,
    77.0,
    777.0,
    88.0,
    888.0,
)
"""Numbers that often stand for a missing value."""


@dataclass(frozen=True)
class Summary:
    """The figures of one column. They stay at the site.

    Parameters
    ----------
    name, column : str
        The study's and the file's name.
    kind : str
    contract : str
        What the contract says of its values.
    n, n_missing, n_broken : int
        Values that fit the contract, missing ones, and those that break it.
    low, median, high : float or None
        Of the numbers of a continuous feature, those outside its range included.
    levels : tuple of (str, int)
        Rows a level.
    present : bool
        Whether the file has the column.
    """

    name: str
    column: str
    kind: str
    contract: str
    n: int
    n_missing: int
    n_broken: int
    low: float | None = None
    median: float | None = None
    high: float | None = None
    levels: tuple[tuple[str, int], ...] = ()
    present: bool = True


def summarise(feature: Feature, found: Examined) -> Summary:
    """Return a feature's figures."""
    levels: tuple[tuple[str, int], ...] = ()
    low = median = high = None
    if feature.kind == "continuous":
        numbers = found.numbers
        if len(numbers):
            low, median, high = map(float, (numbers.min(), np.median(numbers), numbers.max()))
    else:
        codes = _codes(feature)
        counts = np.bincount(found.valid.astype(np.int64), minlength=len(codes))
        levels = tuple(zip(codes, counts.tolist(), strict=True))
    return Summary(
        name=feature.name,
        column=found.column,
        kind=feature.kind,
        contract=_contract(feature),
        n=len(found.valid),
        n_missing=int(found.missing.sum()) if found.present else 0,
        n_broken=int(found.invalid.sum()),
        low=low,
        median=median,
        high=high,
        levels=levels,
        present=found.present,
    )


def check_feature(feature: Feature, found: Examined, study: Study) -> Iterator[Finding]:
    """Say what is odd about a feature, beside values that break the contract."""
    if not len(found.values):
        return
    yield from _missing(feature, found, study)
    yield from _constant(feature, found)
    if feature.kind == "continuous":
        yield from _codes_for_missing(feature, found)
        yield from _negative(feature, found)
        if feature.range is None and not feature.unit:
            yield Finding("note", feature.name, "the contract has no range and no unit for it")
    else:
        absent = [level for level, n in summarise(feature, found).levels if not n]
        if absent and len(found.valid):
            which = f"level {absent[0]}" if len(absent) == 1 else f"levels {', '.join(absent)}"
            sentence = f"{which} of the contract: no row has it"
            yield Finding("note", feature.name, sentence)


def _missing(feature: Feature, found: Examined, study: Study) -> Iterator[Finding]:
    n, total = int(found.missing.sum()), len(found.values)
    if n == total:
        fatal = study.run.missing == "drop"
        yield Finding(
            "break" if fatal else "warning",
            feature.name,
            "no row has a value",
            "fill in the column, or ask the study's statistician to do without it",
        )
    elif n >= MUCH_MISSING * total:
        yield Finding("warning", feature.name, f"missing in {share(n, total)} of the rows")


def _constant(feature: Feature, found: Examined) -> Iterator[Finding]:
    valid = found.valid
    if len(valid) < 2 or valid.min() != valid.max():
        return
    value = f"{valid[0]:g}" if feature.kind == "continuous" else _codes(feature)[int(valid[0])]
    if feature.kind == "continuous" and valid[0] in CODES:
        yield Finding(
            "warning",
            feature.name,
            f"every row has the same value, {value}: does it mean that it was not measured?",
            f"{_as_missing(feature, value)}; the column has then no value at all",
        )
    else:
        yield Finding(
            "warning",
            feature.name,
            f"every row has the same value, {value}: this site says nothing about its effect",
            "is it the right column?",
        )


def _codes_for_missing(feature: Feature, found: Examined) -> Iterator[Finding]:
    """Find a usual code for a missing value that lies far from all other values."""
    numbers = found.numbers
    for code in CODES:
        is_code = numbers == code
        n, others = int(is_code.sum()), numbers[~is_code]
        if not n or len(np.unique(others)) < FEW_DISTINCT:
            continue
        # another code at the same end must not hide this one
        others = others[~np.isin(others, [c for c in CODES if abs(c) > 9 or c < 0])]
        if len(others) < FEW_DISTINCT:
            continue
        low, high = float(others.min()), float(others.max())
        gap = low - code if code < low else code - high
        quarters = np.percentile(others, [25, 75])
        if gap > 0 and (_outside(feature, code) or gap > quarters[1] - quarters[0]):
            yield Finding(
                "warning",
                feature.name,
                f"{counted(n, 'row has', 'rows have')} {code:g}, the others lie between {low:g}"
                f" and {high:g}: does {code:g} mean that it was not measured?",
                _as_missing(feature, f"{code:g}"),
            )


def _outside(feature: Feature, value: float) -> bool:
    return feature.range is not None and not feature.range[0] <= value <= feature.range[1]


def _negative(feature: Feature, found: Examined) -> Iterator[Finding]:
    numbers = found.numbers
    n = int((numbers < 0).sum())
    if feature.range is None and n and n < 0.05 * len(numbers):
        yield Finding(
            "warning",
            feature.name,
            f"{counted(n, 'value is', 'values are')} negative, the smallest {numbers.min():g}",
            "is that possible? the contract has no range",
        )


def _as_missing(feature: Feature, code: str) -> str:
    return f"if so, say it in the site file: [missing] {feature.name} = [{code}]"


def _codes(feature: Feature) -> tuple[str, ...]:
    return ("0", "1") if feature.kind == "binary" else feature.codes


def _contract(feature: Feature) -> str:
    if feature.kind == "continuous":
        if feature.range is None:
            return feature.unit or "any number"
        low, high = (_number(end) for end in feature.range)
        return f"{low} to {high} {feature.unit}".strip()
    return ", ".join(_codes(feature))


def _number(value: float) -> str:
    return f"{value:g}" if math.isfinite(value) else str(value)
