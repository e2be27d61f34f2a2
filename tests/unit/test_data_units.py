"""Units are converted by published factors, or not at all."""

from __future__ import annotations

import pytest

from medhive.data.units import ANALYTES, Conversion, UnitError, convert

# mg/dl (or as given) in one mmol/l: factors of the AMA Manual of Style, inverted where it gives
# them the other way
PUBLISHED = [
    ("glucose", "mg/dl", "mmol/l", 0.0555),
    ("total_cholesterol", "mg/dl", "mmol/l", 0.0259),
    ("hdl_c", "mg/dl", "mmol/l", 0.0259),
    ("LDL-cholesterol", "mg/dl", "mmol/l", 0.0259),
    ("trig_mgdl", "mg/dl", "mmol/l", 0.0113),
    ("creatinine", "mg/dl", "µmol/l", 88.4),
    ("BUN", "mg/dl", "mmol/l", 0.357),
    ("uric_acid", "mg/dl", "µmol/l", 59.48),
    ("bilirubin", "mg/dl", "umol/l", 17.104),
    ("calcium", "mg/dL", "mmol/L", 0.250),
    ("magnesium", "mg/dl", "mmol/l", 0.411),
    ("phosphorus", "mg/dl", "mmol/l", 0.323),
    ("iron", "µg/dl", "µmol/l", 0.179),
    ("hemoglobin", "g/dl", "mmol/l", 0.6206),
    ("vitamin_d", "ng/ml", "nmol/l", 2.496),
    ("cortisol", "µg/dl", "nmol/l", 27.588),
    ("testosterone", "ng/dl", "nmol/l", 0.0347),
    ("t4", "µg/dl", "nmol/l", 12.87),
    ("homocysteine", "mg/l", "µmol/l", 7.397),
]


@pytest.mark.parametrize(("column", "source", "target", "factor"), PUBLISHED)
def test_molar_factors_are_the_published_ones(
    column: str, source: str, target: str, factor: float
) -> None:
    """The name of the column finds the analyte, and its mass gives the factor of the textbook."""
    found = convert(source, target, column=column)
    assert found.factor == pytest.approx(factor, rel=3e-3)
    assert found.offset == 0
    assert "g/mol" in found.how


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("degF", "degC", 98.6, 37.0),
        ("°C", "°F", 37.0, 98.6),
        ("kg", "lb", 1.0, 2.20462262),
        ("in", "cm", 70.0, 177.8),
        ("kPa", "mmHg", 16.0, 120.0098),
        ("mm[Hg]", "kPa", 120.0, 15.9987),
        ("months", "years", 18.0, 1.5),
        ("g/l", "g/dl", 145.0, 14.5),
        ("10^9/l", "10^3/µl", 7.0, 7.0),
        ("x10^9/L", "1/nl", 7.0, 7.0),
        ("bpm", "1/min", 60.0, 60.0),
        ("%", "1", 50.0, 0.5),
    ],
)
def test_other_units_are_converted(source: str, target: str, value: float, expected: float) -> None:
    """Scales, offsets and powers of ten are right."""
    found = convert(source, target, column="x")
    assert value * found.factor + found.offset == pytest.approx(expected, rel=1e-5)


def test_glycated_haemoglobin_follows_the_master_equation() -> None:
    """48 mmol/mol is 6.5 %, which a units library alone would get wrong."""
    found = convert("mmol/mol", "%", column="hba1c")
    assert 48 * found.factor + found.offset == pytest.approx(6.5, abs=0.05)
    back = convert("%", "mmol/mol", column="lab_a1c")
    assert 6.5 * back.factor + back.offset == pytest.approx(48, abs=0.5)
    with pytest.raises(UnitError, match="shares of different things"):
        convert("mmol/mol", "%", column="marker")


@pytest.mark.parametrize(
    "column",
    ["marker", "ldl_hdl_ratio_glucose", "ca_125", "glucose_creatinine", "urea_nitrogen_clearance"],
)
def test_a_name_that_says_no_analyte_asks(column: str) -> None:
    """No molar mass is guessed: the error says what to write."""
    with pytest.raises(UnitError, match="needs a molar mass") as caught:
        convert("mmol/l", "mg/dl", column=column)
    assert "analyte =" in caught.value.step
    assert "molar-mass" in caught.value.step


def test_an_analyte_or_a_mass_can_be_said() -> None:
    """What is said wins over the name."""
    said = convert("mmol/l", "mg/dl", column="calcium", analyte="Urea")
    assert said.factor == pytest.approx(6.0056)
    said = convert("mmol/l", "mg/dl", column="calcium", molar_mass=100.0)
    assert said.factor == pytest.approx(10.0)
    with pytest.raises(UnitError, match="not in the table"):
        convert("mmol/l", "mg/dl", column="x", analyte="unobtainium")


@pytest.mark.parametrize(
    "unit", ["", "foo", "mg/", "9**9**9", "10^9999", "mg^-99", "__import__('os')", "m" * 99, "(("]
)
def test_what_is_no_unit_is_refused_at_once(unit: str) -> None:
    """Nothing but a plain product of units reaches the units library."""
    with pytest.raises(UnitError, match="not known"):
        convert(unit, "mg/dl", column="x")


def test_units_of_other_things_are_refused() -> None:
    """A mass is no time, also where a molar mass is known."""
    for source, target in (("mg/dl", "years"), ("mmol/l", "mmHg"), ("mol", "mg/dl")):
        with pytest.raises(UnitError, match="cannot be converted"):
            convert(source, target, column="glucose")


def test_the_same_unit_is_not_converted() -> None:
    """A unit in two spellings, known or not, leaves the values as they are."""
    assert convert("mEq/L", "mEq/l", column="x") == Conversion("mEq/L", "mEq/l", 1.0)


def test_no_name_means_two_analytes() -> None:
    """An alias belongs to one analyte."""
    names = [name for each in ANALYTES for name in (each.name, *each.aliases)]
    assert len(names) == len(set(names))
