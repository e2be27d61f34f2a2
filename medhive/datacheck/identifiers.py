"""Features that look like an identifier or a date of birth: refused, whoever offers them."""

from __future__ import annotations

import numpy as np

from medhive.contract.words import looks_like_identifier, looks_personal
from medhive.datacheck.examine import Examined
from medhive.datacheck.finding import Finding
from medhive.study import Feature

FEW = 10
"""Different values up to which a column tells groups of patients apart, not patients."""

LONG_NUMBER = 10_000
_NEARLY_ALL = 0.95


def identifier(feature: Feature, found: Examined) -> str | None:
    """Say why a feature looks like an identifier, if it does.

    A measurement that the contract gives a unit is judged by its name alone: platelets also have
    another long number in every row.
    """
    sample = found.sample
    if sample is None or not sample.n_given:
        return None
    names = dict.fromkeys((feature.name, found.column))
    many = sample.n_distinct > FEW
    for name in names:
        why = looks_personal(name)
        if why and (many or feature.kind == "continuous"):
            return why
        if looks_like_identifier(name) and many and 2 * sample.n_distinct >= sample.n_given:
            return "its name and its many different values are those of an identifier"
    if sample.n_dates >= 0.9 * sample.n_given:
        return "it holds dates; use an age, or days since an event"
    if not many or feature.unit:
        return None
    if sample.n_numbers < 0.5 * sample.n_given:
        return (
            "nearly every row has another text"
            if sample.n_distinct >= _NEARLY_ALL * sample.n_given
            else None
        )
    return _by_numbers(found)


def _by_numbers(found: Examined) -> str | None:
    numbers = found.numbers
    if len(numbers) <= FEW or not np.array_equal(numbers, np.floor(numbers)):
        return None
    if np.all(np.diff(numbers) == 1):
        return "it counts the rows"
    if numbers.min() < LONG_NUMBER:
        return None
    nearly_all = len(np.unique(numbers)) >= _NEARLY_ALL * len(numbers)
    return "nearly every row has another long number" if nearly_all else None


def check_identifier(feature: Feature, found: Examined, allowed: frozenset[str]) -> list[Finding]:
    """Refuse a feature that looks like an identifier, unless this site says that it is none."""
    why = identifier(feature, found)
    if why is None:
        return []
    if allowed & {feature.name, found.column}:
        return [Finding("note", feature.name, f"taken although it looks like one: {why}")]
    return [
        Finding(
            "break",
            feature.name,
            f"looks like an identifier, and is refused as a feature: {why}",
            "ask the study's statistician to remove it; if it is a measurement, add"
            f" --not-an-identifier {feature.name}",
        )
    ]
