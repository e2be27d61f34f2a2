"""Units that look wrong: values that would fit the contract in another unit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from medhive.data.units import ANALYTES, analyte_of
from medhive.datacheck.examine import Examined
from medhive.datacheck.finding import Finding, counted
from medhive.rows import Array
from medhive.study import Feature

_NEARLY_ALL = 0.9
_FEWEST = 3


@dataclass(frozen=True)
class Guess:
    """Another unit: ``value · factor + offset`` is what the contract asks for."""

    unit: str
    factor: float
    offset: float = 0.0
    of: str = ""

    def convert(self, values: Array) -> Array:
        """Return values in the contract's unit."""
        return values * self.factor + self.offset

    def __str__(self) -> str:
        return f"{self.unit} ({self.of})" if self.of else self.unit


_PLAIN: Mapping[str, tuple[Guess, ...]] = {
    "kg": (Guess("lb", 0.45359237), Guess("g", 0.001)),
    "g": (Guess("kg", 1000.0),),
    "cm": (Guess("inches", 2.54), Guess("m", 100.0), Guess("mm", 0.1), Guess("feet", 30.48)),
    "m": (Guess("cm", 0.01), Guess("inches", 0.0254), Guess("feet", 0.3048)),
    "mm": (Guess("cm", 10.0), Guess("inches", 25.4), Guess("µm", 0.001)),
    "degc": (Guess("°F", 5 / 9, -160 / 9), Guess("K", 1.0, -273.15)),
    "degf": (Guess("°C", 1.8, 32.0),),
    "mmhg": (Guess("kPa", 7.50062), Guess("cm Hg", 10.0)),
    "kpa": (Guess("mm Hg", 1 / 7.50062),),
    "years": (Guess("months", 1 / 12), Guess("days", 1 / 365.25)),
    "months": (Guess("years", 12.0), Guess("days", 12 / 365.25)),
    "days": (Guess("hours", 1 / 24), Guess("weeks", 7.0), Guess("years", 365.25)),
    "mg/dl": (Guess("g/l", 100.0), Guess("mg/l", 0.1)),
    "g/dl": (Guess("g/l", 0.1), Guess("mg/dl", 0.001)),
    "g/l": (Guess("g/dl", 10.0), Guess("mg/dl", 0.01)),
    "mg/l": (Guess("mg/dl", 10.0), Guess("µg/l", 0.001)),
    "mmol/l": (Guess("µmol/l", 0.001),),
    "umol/l": (Guess("mmol/l", 1000.0),),
    "%": (Guess("a fraction", 100.0), Guess("mmol/mol", 0.09148, 2.152, "HbA1c")),
    "mmol/mol": (Guess("%", 1 / 0.09148, -2.152 / 0.09148, "HbA1c"),),
    "10^9/l": (Guess("per µl", 0.001), Guess("per l", 1e-9)),
}
"""By the contract's unit: units that hospitals use for the same thing."""

_MASS: Mapping[str, float] = {"mg/dl": 0.1, "g/dl": 1e-4, "g/l": 1e-3, "mg/l": 1.0}
"""Number of each mass unit in 1 mg/l."""

_MOLAR: Mapping[str, float] = {"mmol/l": 1.0, "umol/l": 1e3, "nmol/l": 1e6}
"""Number of each molar unit in 1 mmol/l."""

_SPELLINGS: Mapping[str, str] = {
    "mm[hg]": "mmhg",
    "celsius": "degc",
    "°c": "degc",
    "c": "degc",
    "fahrenheit": "degf",
    "°f": "degf",
    "year": "years",
    "yr": "years",
    "yrs": "years",
    "y": "years",
    "a": "years",
    "month": "months",
    "day": "days",
    "d": "days",
    "percent": "%",
    "g/100ml": "g/dl",
    "mg/100ml": "mg/dl",
    "x10^9/l": "10^9/l",
    "10*9/l": "10^9/l",
}

_COMMON = tuple(a for a in ANALYTES if a.name in {"glucose", "cholesterol", "triglycerides"})

_UNITLESS = (
    Guess("inches instead of cm", 2.54),
    Guess("m instead of cm", 100.0),
    Guess("lb instead of kg", 0.45359237),
    Guess("°F instead of °C", 5 / 9, -160 / 9),
    Guess("a fraction instead of %", 100.0),
)

# Rough adult medians: only their order of magnitude matters here
_USUAL: Mapping[tuple[str, str], float] = {
    ("glucose", "mg/dl"): 100.0,
    ("cholesterol", "mg/dl"): 200.0,
    ("ldl", "mg/dl"): 120.0,
    ("hdl", "mg/dl"): 50.0,
    ("triglycerides", "mg/dl"): 130.0,
    ("creatinine", "mg/dl"): 1.0,
    ("uric-acid", "mg/dl"): 5.5,
    ("bilirubin", "mg/dl"): 0.7,
    ("calcium", "mg/dl"): 9.4,
    ("haemoglobin", "g/dl"): 13.5,
    ("height", "cm"): 170.0,
    ("weight", "kg"): 75.0,
    ("temperature", "degc"): 37.0,
    ("hba1c", "%"): 6.0,
}
_WORDS: Mapping[str, str] = {
    "height": "height",
    "weight": "weight",
    "temp": "temperature",
    "temperature": "temperature",
    "hba1c": "hba1c",
    "a1c": "hba1c",
}


def check_unit(feature: Feature, found: Examined) -> list[Finding]:
    """Say which other unit would fit, where most values, or some, do not fit the contract's."""
    values = found.numbers
    if feature.kind != "continuous" or len(values) < _FEWEST:
        return []
    median = float(np.median(values))
    guesses = list(_guesses(feature))
    usual = _usual(feature)
    if feature.range is not None:
        low, high = feature.range
        outside = (values < low) | (values > high)
        if outside.mean() > 0.5:
            aim = usual or _middle(low, high)
            best = _best(guesses, values[outside], low, high, aim)
            return [_whole(feature, median, aim, best)] if best else []
        if outside.sum() >= _FEWEST:
            aim = float(np.median(values[~outside]))
            best = _best(guesses, values[outside], low, high, aim, most=3.0)
            if best:
                return [_mixed(feature, values[outside], best)]
    if usual is not None and not 0.4 < median / usual < 2.5:
        low, high = usual / 2, usual * 2
        best = _best(guesses, np.array([median]), low, high, usual, most=1.7)
        return [_whole(feature, median, usual, best)] if best else []
    return []


def _best(
    guesses: list[Guess], values: Array, low: float, high: float, aim: float, most: float = math.inf
) -> Guess | None:
    """Return the unit in which nearly all values fit, and come nearest to what is expected."""
    fitting = []
    for guess in guesses:
        there = guess.convert(values)
        median = float(np.median(there))
        if np.mean((there >= low) & (there <= high)) < _NEARLY_ALL:
            continue
        ratio = median / aim if aim else 0.0
        far = abs(math.log(ratio)) if ratio > 0 else abs(median - aim)
        if far <= math.log(most):
            fitting.append((far, guess))
    return min(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _whole(feature: Feature, median: float, aim: float, guess: Guess) -> Finding:
    ratio = median / aim if aim else math.nan
    off = f"about {max(ratio, 1 / ratio):.2g} times off" if ratio > 0 else "off"
    wanted = feature.unit or "the contract's unit"
    return Finding(
        "warning",
        feature.name,
        f"the unit looks wrong: the median {median:.4g} is {off} for {wanted}, and would fit as"
        f" {guess}",
        _step(feature, guess),
    )


def _mixed(feature: Feature, values: Array, guess: Guess) -> Finding:
    return Finding(
        "warning",
        feature.name,
        f"two units in one column? {counted(len(values), 'value')} outside the range would fit as"
        f" {guess}",
        "convert these rows where they come from; one column has one unit",
    )


def _step(feature: Feature, guess: Guess) -> str:
    if not feature.unit:
        return "ask the study's statistician for the unit, and convert the column"
    return f'if so, say it in the site file: [units] {feature.name} = "{guess.unit}"'


def _guesses(feature: Feature) -> Iterator[Guess]:
    unit = spelled(feature.unit)
    analyte = analyte_of(feature.name)
    if not unit:
        # no unit to start from: the factors that hospitals' units differ by
        for known in _COMMON if analyte is None else (analyte,):
            yield Guess("mmol/l instead of mg/dl", known.molar_mass / 10, of=known.name)
            yield Guess("mg/dl instead of mmol/l", 10 / known.molar_mass, of=known.name)
        if analyte is None:
            yield from _UNITLESS
        return
    yield from _PLAIN.get(unit, ())
    if analyte is None:
        return
    mass = analyte.molar_mass
    if unit in _MASS:
        for molar, n in _MOLAR.items():
            yield Guess(_shown(molar), mass * _MASS[unit] / n, of=analyte.name)
    elif unit in _MOLAR:
        for other, n in _MASS.items():
            yield Guess(other, _MOLAR[unit] / (mass * n), of=analyte.name)


def _usual(feature: Feature) -> float | None:
    """Return about the median that adults have, in the contract's unit."""
    unit = spelled(feature.unit)
    analyte = analyte_of(feature.name)
    what = analyte.name if analyte is not None else _WORDS.get(feature.name.casefold(), "")
    known = _USUAL.get((what, unit))
    if known is not None or analyte is None or unit not in _MOLAR:
        return known
    for mass, n in _MASS.items():
        if (what, mass) in _USUAL:
            return _USUAL[what, mass] / n / analyte.molar_mass * _MOLAR[unit]
    return None


def _middle(low: float, high: float) -> float:
    return math.sqrt(low * high) if low > 0 else (low + high) / 2


def spelled(unit: str) -> str:
    """Write a unit in one way: ``mm Hg`` and ``mmHg``, ``µmol/L`` and ``umol/l``."""
    plain = unit.casefold().replace(" ", "").replace("µ", "u").replace("μ", "u")
    return _SPELLINGS.get(plain, plain)


def _shown(unit: str) -> str:
    return unit.replace("umol", "µmol")
