"""Converting a column's unit, molar ones by the analyte's molar mass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from medhive.rows import Array

if TYPE_CHECKING:
    from pint import UnitRegistry


@dataclass(frozen=True)
class Analyte:
    """A substance that laboratories report in molar or in mass units.

    Parameters
    ----------
    name : str
    molar_mass : float
        In g/mol.
    aliases : tuple of str
        Column names that mean it, in lower case, words joined by ``_``.
    """

    name: str
    molar_mass: float
    aliases: tuple[str, ...] = ()


# Molar masses in g/mol from the IUPAC standard atomic weights (2021); they give the conversion
# factors of the AMA Manual of Style (11th edition, 2020, chapter 17) to its digits. Where a
# laboratory reports a part of a molecule, the mass is that part's: nitrogen for BUN, phosphorus for
# phosphate. Triglycerides are by convention triolein; cholesterol's fractions are cholesterol;
# haemoglobin is the monomer with one iron.
ANALYTES = (
    Analyte("glucose", 180.156, ("gluc", "glu", "fbg", "fpg", "blood_sugar")),
    Analyte("cholesterol", 386.66, ("chol", "tc", "total_cholesterol")),
    Analyte("hdl", 386.66, ("hdl_c", "hdlc")),
    Analyte("ldl", 386.66, ("ldl_c", "ldlc")),
    Analyte("triglycerides", 885.45, ("triglyceride", "trig", "trigs", "tg")),
    Analyte("creatinine", 113.12, ("creat", "crea", "scr", "kreatinin")),
    Analyte("urea", 60.056, ("harnstoff",)),
    Analyte("bun", 28.014, ("urea_nitrogen", "blood_urea_nitrogen")),
    Analyte("uric-acid", 168.11, ("uric_acid", "urate")),
    Analyte("bilirubin", 584.67, ("bili", "total_bilirubin", "tbil")),
    Analyte("calcium", 40.078, ("ca",)),
    Analyte("magnesium", 24.305, ("mg",)),
    Analyte("phosphate", 30.974, ("phosphorus", "phos")),
    Analyte("sodium", 22.990, ("na",)),
    Analyte("potassium", 39.098, ("k",)),
    Analyte("chloride", 35.45, ("cl",)),
    Analyte("iron", 55.845, ("fe", "ferritin_iron")),
    Analyte("lactate", 90.078, ("lactic_acid",)),
    Analyte("haemoglobin", 16114.5, ("hemoglobin", "hb", "hgb")),
    Analyte("vitamin-d", 400.64, ("vitamin_d", "25_oh_d", "25ohd")),
    Analyte("cortisol", 362.46),
    Analyte("testosterone", 288.42),
    Analyte("thyroxine", 776.87, ("t4",)),
    Analyte("homocysteine", 135.18),
)
_BY_NAME: Mapping[str, Analyte] = {
    alias: analyte
    for analyte in ANALYTES
    for alias in (analyte.name, analyte.name.replace("-", "_"), *analyte.aliases)
}
# words of a column's name that say its unit or its material, not its analyte
_NO_ANALYTE = frozenset(
    {"mgdl", "mmoll", "umoll", "mmol", "umol", "mg", "dl", "l", "gl", "gdl", "g", "value", "result"}
    | {"serum", "plasma", "blood", "fasting", "s", "p", "b"}
)
_ANOTHER_THING = frozenset({"ratio", "nitrogen", "clearance", "free", "ionised", "ionized"})

HBA1C = "hba1c"
_HBA1C_NAMES = frozenset({"hba1c", "a1c", "hb_a1c", "glycated_haemoglobin", "glycated_hemoglobin"})
# NGSP [%] = 0.09148 · IFCC [mmol/mol] + 2.152: the master equation, Hoelzel et al., Clinical
# Chemistry 50 (2004) 166-174, in the form that NGSP gives
_NGSP_SLOPE, _NGSP_OFFSET = 0.09148, 2.152

# Nothing else reaches the units library, which would compute 9**9**9 to the end.
_TERM = (
    r"(?:10 ?(?:\^|\*\*) ?-?\d{1,2}|\d{1,6}(?:\.\d{1,4})?"
    r"|[A-Za-zµ°%Ωℓ_]+(?:(?:\^|\*\*)-?[1-4]|[²³])?)"
)
_UNIT = re.compile(rf"{_TERM}(?: ?[/* ] ?{_TERM}){{0,6}}")
_LONGEST = 40
_SPELLINGS: Mapping[str, str] = {
    "mm[hg]": "mmHg",
    "mm hg": "mmHg",
    "y": "year",
    "yr": "year",
    "yrs": "year",
    "celsius": "degC",
    "fahrenheit": "degF",
    "°c": "degC",
    "°f": "degF",
    "c": "degC",
    "f": "degF",
    "k": "kelvin",
    "1/min": "1/minute",
    "/min": "1/minute",
    "bpm": "1/minute",
    "lb": "pound",
    "lbs": "pound",
    "in": "inch",
    "%": "percent",
}
"""Clinical spellings that the units library reads otherwise or not at all, in lower case."""


class UnitError(ValueError):
    """A conversion that cannot be done; `step` says what would make it possible."""

    def __init__(self, message: str, step: str) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True)
class Conversion:
    """A linear change of unit: ``factor · x + offset``.

    Parameters
    ----------
    source, target : str
        The units, as they are written in the site file and in the study.
    factor : float
    offset : float
    how : str
        What the conversion rests on, for people; empty where there is nothing to say.
    """

    source: str
    target: str
    factor: float
    offset: float = 0.0
    how: str = ""

    def apply(self, values: Array) -> Array:
        """Return the values in the study's unit."""
        return values * self.factor + self.offset

    def __str__(self) -> str:
        basis = f" ({self.how})" if self.how else ""
        return f"{self.source} to {self.target}{basis}"


def convert(
    source: str,
    target: str,
    *,
    column: str,
    analyte: str | None = None,
    molar_mass: float | None = None,
) -> Conversion:
    """Find the conversion between two units.

    Parameters
    ----------
    source, target : str
        Units, such as ``mmol/l`` and ``mg/dl``.
    column : str
        The study's column, whose name may be an analyte's.
    analyte : str, optional
        Name or alias of one of `ANALYTES`, or ``hba1c``.
    molar_mass : float, optional
        In g/mol; wins over the analyte's.

    Raises
    ------
    UnitError
        If a unit is unknown, the two measure different things, or a molar mass is needed.
    """
    if _plain(source) == _plain(target):
        return Conversion(source, target, 1.0)
    asked = set() if molar_mass is not None else _words(column if analyte is None else analyte)
    if asked & _HBA1C_NAMES:
        return _hba1c(source, target)
    named = None if analyte is None else _named(analyte)
    first, second = _quantity(source), _quantity(target)
    if {_molar_ratio(source), _molar_ratio(target)} == {True, False} and first.check("[]"):
        raise UnitError(
            f"{source} and {target} are shares of different things",
            'for glycated haemoglobin, write analyte = "hba1c"',
        )
    if first.dimensionality == second.dimensionality:
        return _linear(source, target, {})
    if molar_mass is None:
        found = named or analyte_of(column)
        if not _differ_by_moles(first, second):
            raise UnitError(f"{source} cannot be converted to {target}", "correct the unit")
        if found is None:
            raise UnitError(
                f"{source} to {target} needs a molar mass, and the name says no analyte",
                f'write {column} = {{ unit = "{source}", analyte = "…" }} with one of '
                f"{', '.join(each.name for each in ANALYTES)}; or molar-mass = … in g/mol",
            )
        molar_mass, how = found.molar_mass, f"{found.name}, {found.molar_mass:g} g/mol"
    else:
        how = f"{molar_mass:g} g/mol"
    if not _differ_by_moles(first, second):
        raise UnitError(f"{source} cannot be converted to {target}", "correct the unit")
    mass = _registry().Quantity(molar_mass, "g/mol")
    return _linear(source, target, {"mw": mass}, how)


def analyte_of(column: str) -> Analyte | None:
    """Return the analyte that a column's name means, if it means just one."""
    words = [word for word in re.split(r"[^a-z0-9]+", column.casefold()) if word]
    while words and words[-1] in _NO_ANALYTE and len(words) > 1:
        words.pop()
    while words and words[0] in _NO_ANALYTE and len(words) > 1:
        words.pop(0)
    whole = _BY_NAME.get("_".join(words))
    if whole is not None:
        return whole
    if any(
        word in {"ratio", "nitrogen", "clearance", "free", "ionised", "ionized"} for word in words
    ):
        return None
    named = [word for word in words if word in _BY_NAME]
    # a short word beside others may be anything: CA 125 is no calcium
    if any(len(word) < 3 for word in named):
        return None
    found = [_BY_NAME[word] for word in named]
    return found[0] if len({each.molar_mass for each in found}) == 1 else None


def _named(analyte: str) -> Analyte:
    found = _BY_NAME.get(_plain_name(analyte))
    if found is None:
        raise UnitError(
            f'the analyte "{analyte}" is not in the table',
            f"choose one of {', '.join(each.name for each in ANALYTES)}, {HBA1C}; or write "
            "molar-mass = … in g/mol",
        )
    return found


def _hba1c(source: str, target: str) -> Conversion:
    ngsp, ifcc = _plain("%"), _plain("mmol/mol")
    how = "the IFCC-NGSP master equation"
    if (_plain(source), _plain(target)) == (ifcc, ngsp):
        return Conversion(source, target, _NGSP_SLOPE, _NGSP_OFFSET, how)
    if (_plain(source), _plain(target)) == (ngsp, ifcc):
        return Conversion(source, target, 1 / _NGSP_SLOPE, -_NGSP_OFFSET / _NGSP_SLOPE, how)
    raise UnitError(
        f"HbA1c is converted between % and mmol/mol, not from {source} to {target}",
        "correct the unit",
    )


def _linear(source: str, target: str, context: dict[str, Any], how: str = "") -> Conversion:
    """Read factor and offset off two points: every unit of the library is linear."""
    registry = _registry()
    names = ("chemistry",) if context else ()

    def at(value: float) -> float:
        start, scale = _unit(source)
        stop, divisor = _unit(target)
        there = registry.Quantity(value * scale, start).to(stop, *names, **context)
        return float(there.magnitude) / divisor

    offset = at(0.0)
    # far points, since the difference of near ones would lose digits to the offset
    factor = (at(1000.0) - at(-1000.0)) / 2000.0 if offset else at(1.0)
    return Conversion(source, target, factor, offset, how)


def _unit(text: str) -> tuple[Any, float]:
    """Return the library's unit and a scale, which is not 1 for units such as 10^9/l."""
    quantity = _quantity(text)
    return quantity.units, float(quantity.magnitude)


def _quantity(text: str) -> Any:
    from pint.errors import PintError

    spelled = _plain(text)
    unknown = UnitError(f'the unit "{text}" is not known', "see the list of units in site-file.md")
    if len(spelled) > _LONGEST or _UNIT.fullmatch(spelled) is None:
        raise unknown
    try:
        parsed = _registry().parse_expression(spelled)
        return _registry().Quantity(parsed)
    except (PintError, ArithmeticError, AttributeError, TypeError, ValueError, SyntaxError):
        raise unknown from None


def _differ_by_moles(first: Any, second: Any) -> bool:
    ratio = first.dimensionality / second.dimensionality
    return dict(ratio) in (
        {"[mass]": 1, "[substance]": -1},
        {"[mass]": -1, "[substance]": 1},
    )


def _molar_ratio(unit: str) -> bool:
    return bool(re.fullmatch(r"[munµμp]?mol/mol", _plain(unit)))


def _plain(unit: str) -> str:
    """Write a unit in one way: no case of litre, one sign of micro, no spaces around."""
    text = unit.strip().replace("μ", "µ").replace("·", "*")
    text = re.sub(r"^[x\u00d7]\s*10", "10", text)
    text = _SPELLINGS.get(text.casefold(), text)
    return re.sub(r"(?<=[/a-zµ])L\b|^L\b", "l", text)


def _plain_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.strip().casefold())


def _words(column: str) -> set[str]:
    return {_plain_name(column), *_plain_name(column).split("_")}


@cache
def _registry() -> UnitRegistry[Any]:
    # a second to import, and only sites that convert units need it
    from pint import UnitRegistry

    registry: UnitRegistry[Any] = UnitRegistry(autoconvert_offset_to_baseunit=False)
    return registry
