"""Reading one column's cells as numbers or levels, with a fault for every cell that is neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from medhive.data.faults import Spot, shown
from medhive.data.recode import Recode
from medhive.rows import Array
from medhive.study import Feature, Outcome, code

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_INFINITE = r"(?i)^[+-]?inf(inity)?$"
_DECIMAL_COMMA = r"^[+-]?[0-9]+,[0-9]+$"
_WITH_POINT = r"\."
MISSING = frozenset({"", ".", "NA", "na", "N/A", "n/a", "NaN", "nan", "NAN"}) | frozenset(
    {"NULL", "null", "Null", "NONE", "None", "none"}
)
"""What stands for a missing value, unless the contract lists that word as a level."""

Reader = Callable[[pa.Array, Spot], Array]
"""Turns a batch of one column's cells into numbers."""


def feature_reader(feature: Feature, recode: Recode) -> Reader:
    """Return the reader of a feature."""
    if feature.kind == "continuous":
        return lambda cells, spot: _read_continuous(feature, recode, cells, spot)
    codes = ("0", "1") if feature.kind == "binary" else feature.codes
    step = (
        "code the column as 0 and 1 (words such as true or yes are not read)"
        if feature.kind == "binary"
        else "correct the value, or agree on another level in the study"
    )
    return lambda cells, spot: _read_levels(codes, step, recode, cells, spot)


def outcome_reader(outcome: Outcome, recode: Recode) -> Reader:
    """Return the reader of the outcome: 1.0 where the event occurred."""
    if outcome.comparison is not None:
        return lambda cells, spot: _read_comparison(outcome, recode, cells, spot)
    others: list[str] = []
    return lambda cells, spot: _read_event(outcome, others, recode, cells, spot)


def read_numbers(cells: pa.Array, recode: Recode, spot: Spot) -> Array:
    """Return cells as numbers in the file's unit, NaN where they are missing."""
    if pt.is_boolean(cells.type) and not recode.levels:
        cells = pc.cast(cells, pa.int64())
    if pt.is_string(cells.type) or recode.levels:
        text = pc.utf8_trim_whitespace(as_text(cells))
        if recode.levels:
            text = _translated(text, recode)
        values = _parse(text, recode, spot)
    else:
        values = _float(cells)
        spot.add(
            np.isinf(values),
            lambda i: f"{shown(cells[i])} is not a finite number",
            "correct the number, or leave the field empty if it is unknown",
        )
    for word in recode.missing:
        try:
            values = np.where(values == float(word), np.nan, values)
        except ValueError:
            continue
    return values


def as_text(cells: pa.Array) -> pa.Array:
    """Return cells of any type as text."""
    return cells if pt.is_string(cells.type) else pc.cast(cells, pa.string())


def distinct(text: pa.Array) -> tuple[list[str | None], NDArray[np.int32]]:
    """Return the distinct texts, None for null, and which of them each cell holds."""
    encoded = text.dictionary_encode(null_encoding="encode")
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _float(cells: pa.Array) -> Array:
    values: Array = pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def _parse(text: pa.Array, recode: Recode, spot: Spot) -> Array:
    words = sorted(MISSING | recode.missing)
    is_missing = pc.or_(pc.is_null(text), pc.is_in(text, value_set=pa.array(words)))
    given = pc.if_else(is_missing, pa.scalar(None, pa.string()), text)
    has_point = None
    if recode.decimal == ",":
        has_point = pc.match_substring_regex(given, _WITH_POINT)
        given = pc.if_else(has_point, pa.scalar(None, pa.string()), given)
        given = pc.replace_substring(given, ",", ".")
    try:
        numbers = pc.cast(given, pa.float64())
    except pa.ArrowInvalid:
        is_number = pc.match_substring_regex(given, _NUMBER)
        given = pc.if_else(is_number, pc.utf8_ltrim(given, "+"), pa.scalar(None, pa.string()))
        numbers = pc.cast(given, pa.float64())
    values: Array = numbers.to_numpy(zero_copy_only=False)
    bad = ~np.isfinite(values) & ~_mask(is_missing)
    if bad.any():
        _add_faults(text, recode, bad, values, has_point, spot)
    return values


def _add_faults(
    text: pa.Array,
    recode: Recode,
    bad: NDArray[np.bool_],
    values: Array,
    has_point: pa.Array | None,
    spot: Spot,
) -> None:
    infinite = bad & (np.isinf(values) | _mask(pc.match_substring_regex(text, _INFINITE)))
    sign = np.zeros_like(bad)
    if has_point is not None:
        sign = bad & ~infinite & _mask(has_point)
        cause = 'it has a point, and the site file says decimal = ","'
        step = "write numbers with a decimal comma and nothing between thousands, such as 1234,5"
    elif recode.decimal == ".":
        sign = bad & _mask(pc.match_substring_regex(text, _DECIMAL_COMMA))
        cause = "it has a decimal comma"
        step = (
            'write numbers with a decimal point, such as 3.5, or say decimal = "," in a site file'
        )
    spot.add(
        infinite,
        lambda i: f"{shown(text[i])} is not a finite number",
        "correct the number, or leave the field empty if it is unknown",
    )
    if sign.any():
        spot.add(sign, lambda i: f"{shown(text[i])} is not a number: {cause}", step)
    spot.add(
        bad & ~infinite & ~sign,
        lambda i: f"{shown(text[i])} is not a number",
        "write a number, or leave the field empty if the value is missing",
    )


def _read_continuous(feature: Feature, recode: Recode, cells: pa.Array, spot: Spot) -> Array:
    values = read_numbers(cells, recode, spot)
    conversion = recode.conversion
    if conversion is not None:
        values = conversion.apply(values)
    if feature.range is not None:
        low, high = feature.range

        def cause(i: int) -> str:
            value = shown(cells[i])
            if conversion is not None and conversion.source != conversion.target:
                value += f" {conversion.source} is {values[i]:.6g} {conversion.target}, which"
            return f"{value} is outside the study's range {low:g} to {high:g}"

        spot.add(
            np.isfinite(values) & ((values < low) | (values > high)),
            cause,
            "correct the value, or leave the field empty if it is unknown",
        )
    return values


def _read_levels(
    codes: Sequence[str], step: str, recode: Recode, cells: pa.Array, spot: Spot
) -> Array:
    """Return the position of each value's level among the codes."""
    text = _words(cells, codes, recode)
    words, indices = distinct(text)
    position = {level: float(number) for number, level in enumerate(codes)}
    unknown = -1.0
    values = np.array(
        [
            np.nan if level is None else position.get(level, unknown)
            for level in (_level_of(word, recode, codes) for word in words)
        ]
    )[indices]
    if recode.levels:
        listed = f"not in [levels.{recode.name}]"
        step = f"add it under [levels.{recode.name}] of the site file, or to missing"
    else:
        listed = f"not one of the levels {', '.join(codes)}"
    spot.add(values == unknown, lambda i: f"{shown(text[i])} is {listed}", step)
    return values


def _read_comparison(outcome: Outcome, recode: Recode, cells: pa.Array, spot: Spot) -> Array:
    numbers = read_numbers(cells, recode, spot)
    return np.where(np.isnan(numbers), np.nan, outcome.holds(numbers))


def _read_event(
    outcome: Outcome, others: list[str], recode: Recode, cells: pa.Array, spot: Spot
) -> Array:
    """Return 1 where the value is the event; `others` collects the values that are not."""
    event = _plain(outcome, outcome.event)
    text = _words(cells, (event,), recode)
    words, indices = distinct(text)
    levels = [_level_of(word, recode, (event, str(outcome.event))) for word in words]
    plain = [None if level is None else _plain(outcome, level) for level in levels]
    values = np.array([np.nan if p is None else float(p == event) for p in plain])
    if recode.levels:
        unlisted = np.array([level == "" for level in levels])
        spot.add(
            unlisted[indices],
            lambda i: f"{shown(text[i])} is not in [levels.{recode.name}]",
            f"add it under [levels.{recode.name}] of the site file, or to missing",
        )
    for level, value in zip(plain, values, strict=True):
        if level and value == 0.0 and level not in others:
            others.append(level)
    if len(others) > 1:
        excess = np.array(
            [v == 0.0 and level != others[0] for v, level in zip(values, plain, strict=True)]
        )
        spot.add(
            excess[indices],
            lambda _: (
                f"the outcome has the values {_listed(others)} beside the event "
                f"{shown(event)}; it may have one"
            ),
            'in the study, choose another event, or a comparison such as "> 0"; or recode the '
            "column to two values",
        )
    return values[indices]


def _level_of(word: str | None, recode: Recode, listed: Sequence[str]) -> str | None:
    """Return the study's code of a word; None if it is missing, empty if it has none."""
    if word is None or code(word) in recode.missing:
        return None
    if recode.levels:
        known = recode.levels.get(code(word))
        return known if known is not None else None if word in MISSING else ""
    level = code(word)
    return None if word in MISSING and level not in listed else level


def _words(cells: pa.Array, codes: Sequence[str], recode: Recode) -> pa.Array:
    """Return cells as trimmed text; true and false are 1 and 0 unless they are words here."""
    if pt.is_boolean(cells.type):
        known = {word.casefold() for word in (*codes, *recode.levels)}
        if known.isdisjoint({"true", "false"}):
            cells = pc.cast(cells, pa.int64())
    return pc.utf8_trim_whitespace(as_text(cells))


def _translated(text: pa.Array, recode: Recode) -> pa.Array:
    """Replace the values that the site file lists; the others stay."""
    words, indices = distinct(text)
    known = [None if word is None else recode.levels.get(code(word), word) for word in words]
    return pa.array(known, pa.string()).take(pa.array(indices))


def _plain(outcome: Outcome, value: object) -> str:
    # true in a study file means the words true, True and TRUE of a data file
    return code(value).lower() if isinstance(outcome.event, bool) else code(value)


def _listed(values: Sequence[str], most: int = 5) -> str:
    words = [shown(value) for value in values[:most]]
    return ", ".join(words) + (", …" if len(values) > most else "")


def _mask(flags: pa.Array) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = flags.fill_null(False).to_numpy(zero_copy_only=False)
    return mask
