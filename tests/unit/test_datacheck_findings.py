"""Every odd or broken file is told from a good one, with the place and the next step."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from medhive.datacheck.finding import Level
from medhive.datacheck.report import Report, check_data
from medhive.errors import DataError
from medhive.study import Study

FEATURES: list[dict[str, object]] = [
    {"name": "age", "kind": "continuous", "unit": "years", "range": [18, 110]},
    {"name": "sex", "kind": "binary"},
    {"name": "chol", "kind": "continuous", "unit": "mg/dl", "range": [50, 1000]},
    {"name": "cp", "kind": "categorical", "levels": ["a", "b", "c"]},
]
N = 60


def study(
    features: list[dict[str, object]] = FEATURES, event: object = 1, **sections: object
) -> Study:
    header = {"name": "s", "outcome": {"column": "y", "event": event}}
    header |= sections.pop("header", {})  # type: ignore[arg-type, operator]
    return Study.model_validate({"study": header, "features": features, **sections})


def table(n: int = N) -> dict[str, list[object]]:
    """Return columns in which nothing is odd."""
    rng = np.random.default_rng(3)
    return {
        "age": rng.integers(20, 90, n).tolist(),
        "sex": [i % 2 for i in range(n)],
        "chol": rng.normal(205, 35, n).round(1).clip(90, 400).tolist(),
        "cp": ["abc"[i % 3] for i in range(n)],
        "y": [int(i % 5 < 2) for i in range(n)],
    }


def written(folder: Path, columns: dict[str, list[object]]) -> Path:
    path = folder / "ward.csv"
    lines = [",".join(columns)]
    lines += [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def said(report: Report, level: Level) -> list[str]:
    return [
        f"{f.about} {f.where}: {f.sentence} -> {f.next_step}"
        for f in report.findings
        if f.level == level
    ]


def test_a_good_file_has_no_warning(tmp_path: Path) -> None:
    """A file in which nothing is odd gives neither a break nor a warning, nor a note."""
    report = check_data(written(tmp_path, table()), study())
    assert report.fits
    assert {finding.level for finding in report.findings} == {"ok"}
    assert report.rows.read == report.rows.kept == report.rows.training == N
    assert (report.outcome.events, report.outcome.others) == (24, 36)
    assert report.verdict == "READY: the rows fit the contract."


Change = Callable[[dict[str, list[object]]], None]


def put(column: str, value: object, *rows: int) -> Change:
    def change(columns: dict[str, list[object]]) -> None:
        for row in rows or range(N):
            columns[column][row] = value

    return change


def every(column: str, rule: Callable[[int, object], object]) -> Change:
    def change(columns: dict[str, list[object]]) -> None:
        columns[column] = [rule(i, value) for i, value in enumerate(columns.get(column, [0] * N))]

    return change


def without(column: str) -> Change:
    return lambda columns: columns.pop(column) and None


def renamed(old: str, new: str) -> Change:
    def change(columns: dict[str, list[object]]) -> None:
        columns[new] = columns.pop(old)

    return change


def both(first: Change, second: Change) -> Change:
    def change(columns: dict[str, list[object]]) -> None:
        first(columns)
        second(columns)

    return change


def again(n: int) -> Change:
    def change(columns: dict[str, list[object]]) -> None:
        for values in columns.values():
            values += values[:n]

    return change


class Odd(NamedTuple):
    change: Change
    level: Level
    words: str
    study: Study = study()


def feature(name: str, **keys: object) -> Study:
    return study([*FEATURES, {"name": name, "kind": "continuous", **keys}])


def one(**keys: object) -> list[dict[str, object]]:
    """Return the features with chol's entry changed."""
    return [{**f, **keys} if f["name"] == "chol" else f for f in FEATURES]


CASES = {
    "out of range": Odd(put("age", 130, 4), "break", r'age line 6: "130" is outside .* 18 to 110'),
    "several out of range": Odd(
        put("age", 17, 4, 9), "break", r'age line 6: "17" .*and 1 more such row'
    ),
    "not a number": Odd(put("chol", "n.d.", 0), "break", r'chol line 2: "n\.d\." is not a number'),
    "several words for no number": Odd(
        both(put("chol", "n.d.", 0, 1), put("chol", "low", 2)),
        "break",
        r'chol line 2: .*"n\.d\." \(2\), "low" \(1\)',
    ),
    "infinite": Odd(put("chol", "inf", 3), "break", "chol line 5: .*not a finite number"),
    "decimal comma": Odd(put("chol", '"5,2"', 3), "break", "chol line 5: .*decimal comma"),
    "unknown level": Odd(put("cp", "d", 5), "break", r'cp line 7: "d" is not one of .* a, b, c'),
    "words for binary": Odd(put("sex", "m", 2), "break", r'sex line 4: "m" .*code the column'),
    "third outcome": Odd(put("y", 2, 8), "break", r'y line 10: .*values "0", "2"'),
    "missing column": Odd(without("chol"), "break", "chol line 1: the column is missing"),
    "misspelt column": Odd(renamed("chol", "choll"), "break", 'chol .*rename "choll" to "chol"'),
    "empty column": Odd(put("chol", ""), "break", "chol : no row has a value"),
    "no outcome": Odd(put("y", ""), "break", "y : the outcome is missing in every row"),
    "too few rows": Odd(
        put("chol", "", *range(50)), "break", r"10 training rows, fewer than min-rows \(20\)"
    ),
    "extra column refused": Odd(
        every("ward", lambda i, _: i),
        "break",
        "columns line 1: .*refuses.*ward",
        study(header={"extra-columns": "refused"}),
    ),
    "extra column": Odd(every("ward", lambda i, _: i), "note", "columns .*not used.*ward"),
    "mmol/l of cholesterol": Odd(
        every("chol", lambda _, v: round(float(str(v)) / 38.67, 2)),
        "warning",
        r"chol .*median 5\.\d+ is about \d+ times off for mg/dl.*mmol/l \(cholesterol\).*\[units\]",
    ),
    "mmol/l within a wide range": Odd(
        every("chol", lambda _, v: round(float(str(v)) / 38.67, 2)),
        "warning",
        r"chol .*times off for mg/dl.*mmol/l",
        study(one(range=[0, 1000])),
    ),
    "two units in a column": Odd(
        lambda c: every("chol", lambda i, v: round(float(str(v)) / 38.67, 2) if i < 9 else v)(c),
        "warning",
        "chol .*two units in one column.*9 values.*mmol/l",
    ),
    "glucose 18 times off": Odd(
        every("glucose", lambda i, _: 4.5 + i / 20),
        "warning",
        r"glucose .*times off.*mmol/l \(glucose\)",
        feature("glucose", unit="mg/dl", range=[40, 600]),
    ),
    "creatinine in µmol/l": Odd(
        every("creatinine", lambda i, _: 60 + i),
        "warning",
        "creatinine .*µmol/l",
        feature("creatinine", unit="mg/dl", range=[0.1, 20]),
    ),
    "creatinine in mg/dl": Odd(
        every("creatinine", lambda i, _: 0.6 + i / 60),
        "warning",
        "creatinine .*fit as mg/dl",
        feature("creatinine", unit="µmol/L", range=[20, 1500]),
    ),
    "height in inches": Odd(
        every("height", lambda i, _: 58 + i % 17),
        "warning",
        "height .*inches",
        feature("height", unit="cm", range=[100, 230]),
    ),
    "height in metres": Odd(
        every("height", lambda i, _: 1.5 + i % 40 / 100),
        "warning",
        "height .*fit as m",
        feature("height", unit="cm", range=[100, 230]),
    ),
    "weight in pounds": Odd(
        every("weight", lambda i, _: 130 + i),
        "warning",
        "weight .*fit as lb",
        feature("weight", unit="kg", range=[30, 120]),
    ),
    "fever in Fahrenheit": Odd(
        every("temp", lambda i, _: 97 + i % 9 / 2),
        "warning",
        "temp .*°F",
        feature("temp", unit="°C", range=[30, 45]),
    ),
    "age in months": Odd(
        every("age", lambda _, v: int(str(v)) * 12), "warning", "age .*fit as months"
    ),
    "pressure in kPa": Odd(
        every("bp", lambda i, _: 13 + i % 70 / 10),
        "warning",
        "bp .*kPa",
        feature("bp", unit="mm Hg", range=[60, 260]),
    ),
    "unit unknown": Odd(
        every("tg", lambda i, _: 1 + i / 50),
        "warning",
        "tg .*triglycerides.*ask",
        feature("tg", range=[20, 2000]),
    ),
    "constant zero": Odd(
        put("chol", 0), "warning", r"chol .*same value, 0.*measured.*\[missing\] chol = \[0\]",
        study(one(range=[0, 1000])),
    ),
    "constant": Odd(put("sex", 1), "warning", "sex .*same value, 1"),
    "zero as missing": Odd(
        put("chol", 0, 2, 3, 4), "warning", "chol .*3 rows have 0.*not measured",
        study(one(range=[0, 1000])),
    ),
    "999 as missing": Odd(put("age", 999, 7), "warning", "age .*1 row has 999.*not measured"),
    "-9 as missing": Odd(put("age", -9, 7, 8), "warning", r"age .*2 rows have -9.*\[-9\]"),
    "negative without a range": Odd(
        put("chol", -187, 3), "warning", "chol .*negative", study(one(range=None))
    ),
    "a third missing": Odd(put("chol", "", *range(20)), "warning", "chol .*missing in 33.3 %"),
    "many rows left out": Odd(put("chol", "", *range(20)), "warning", "rows .*33.3 %.*left out"),
    "exported twice": Odd(again(20), "warning", "rows .*20 rows are the same.*more than chance"),
    "patient twice": Odd(
        every("patient_id", lambda i, _: f"P{i // 2}"), "warning", "patient_id .*30 rows have"
    ),
    "one class": Odd(put("y", 1), "warning", r"y .*100 %.*same in every row"),
    "few events": Odd(every("y", lambda i, _: int(i < 4)), "warning", "y .*4 events.*very few"),
    "level that does not occur": Odd(put("cp", "a", *range(2, N, 3)), "note", "cp .*level c of"),
    "record number": Odd(
        every("mrn", lambda i, _: 5000 + 7 * i % 997),
        "break",
        "mrn .*looks like an identifier.*--not-an-identifier mrn",
        feature("mrn"),
    ),
    "date of birth": Odd(
        every("dob", lambda i, _: f"19{40 + i}-03-01"), "break", "dob .*date of birth",
        feature("dob"),
    ),
    "birth year by name": Odd(
        every("birth_year", lambda i, _: 1930 + i), "break", "birth_year .*date of birth",
        feature("birth_year"),
    ),
    "date": Odd(
        every("admitted", lambda i, _: f"2020-03-{1 + i % 28:02}"), "break",
        "admitted .*looks like an identifier.*dates", feature("admitted"),
    ),
    "row number": Odd(
        every("v1", lambda i, _: i + 1), "break", "v1 .*counts the rows", feature("v1")
    ),
    "long number": Odd(
        every("v1", lambda i, _: 70_000 + 7919 * i % 90_001), "break", "v1 .*long number",
        feature("v1"),
    ),
    "names": Odd(
        every("surname", lambda i, _: f"N{i}"), "break", "surname .*a name, an address",
        feature("surname"),
    ),
    "free text": Odd(
        every("remark", lambda i, _: f"came {i} times"), "break", "remark .*another text",
        feature("remark"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_odd_is_named(name: str, tmp_path: Path) -> None:
    """The finding has the level, the column, the line and the next step; breaks alone unfit."""
    case = CASES[name]
    columns = table()
    for each in case.study.features:
        columns.setdefault(each.name, [0] * N)
    case.change(columns)
    report = check_data(written(tmp_path, columns), case.study)
    found = said(report, case.level)
    assert any(re.search(case.words, sentence) for sentence in found), "\n".join(
        [case.level, *found, *(f.sentence for f in report.findings)]
    )
    assert report.fits == (not said(report, "break"))


MEASUREMENTS = {
    "platelets": ([150_000 + 1117 * i for i in range(N)], {"unit": "1/µl"}),
    "birth_weight": ([2500 + 13 * i for i in range(N)], {"unit": "g"}),
    "crp": ([0.1 * 1.1**i for i in range(N)], {"range": [0, 500]}),
    "oldpeak": ([i % 7 / 2 for i in range(N)], {"range": [0, 10]}),
    "n_stays": ([i % 4 for i in range(N)], {}),
    "weight": ([45 + i for i in range(N)], {"unit": "kg", "range": [3, 300]}),
    "glucose": ([70 + 2 * i for i in range(N)], {"unit": "mg/dl", "range": [20, 1000]}),
    "ca": ([2.1 + i / 150 for i in range(N)], {"unit": "mmol/l", "range": [0.5, 5]}),
    "hb": ([9 + i / 10 for i in range(N)], {"unit": "g/dl", "range": [2, 25]}),
}


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_measurement_is_neither_an_identifier_nor_in_a_wrong_unit(
    name: str, tmp_path: Path
) -> None:
    """Ordinary measurements give no break and no warning."""
    values, keys = MEASUREMENTS[name]
    columns = table() | {name: list(values)}
    report = check_data(written(tmp_path, columns), feature(name, **keys))
    assert said(report, "break") == said(report, "warning") == []


def test_everything_is_told_at_once(tmp_path: Path) -> None:
    """Faults of five columns, with their first lines, are in one report."""
    columns = table()
    for change in (put("age", 5, 1), put("sex", 7, 2), put("chol", "x", 3), put("cp", "z", 4)):
        change(columns)
    put("y", 9, 5)(columns)
    report = check_data(written(tmp_path, columns), study())
    lines = {f.about: f.where for f in report.findings if f.level == "break"}
    assert lines == {
        "age": "line 3", "sex": "line 4", "chol": "line 5", "cp": "line 6", "y": "line 7"
    }  # fmt: skip
    assert report.rows.broken == 5
    assert report.verdict.startswith("NOT READY: 5 breaks")


def test_allow_drop_counts_broken_rows_as_dropped(tmp_path: Path) -> None:
    """With allow-drop a broken feature is a warning and its row is not kept."""
    columns = table()
    put("age", 5, 1, 2)(columns)
    put("cp", "z", 2)(columns)
    path = written(tmp_path, columns)
    report = check_data(path, study(), allow_drop=True)
    assert report.fits
    assert report.rows.broken == 2
    assert report.rows.kept == N - 2
    assert any(s.startswith("age line 3: dropped: ") for s in said(report, "warning"))
    assert "--allow-drop" in report.next_step
    assert not check_data(path, study()).fits


@pytest.mark.parametrize("change", [put("y", 2, 3), without("cp")])
def test_allow_drop_is_about_values_of_features_alone(change: Change, tmp_path: Path) -> None:
    """A wrong outcome or a missing column breaks the contract with allow-drop as well."""
    columns = table()
    change(columns)
    assert not check_data(written(tmp_path, columns), study(), allow_drop=True).fits


def test_an_identifier_can_be_declared_none(tmp_path: Path) -> None:
    """A feature that this site declares to be no identifier is taken, and noted."""
    columns = table()
    every("v1", lambda i, _: i + 1)(columns)
    path = written(tmp_path, columns)
    report = check_data(path, feature("v1"), not_identifiers=frozenset({"v1"}))
    assert report.fits
    assert any("counts the rows" in note for note in said(report, "note"))


def test_rows_are_counted_once_each_at_their_first_reason(tmp_path: Path) -> None:
    """Filtered, without an outcome, broken, incomplete, held out, training: they add up."""
    columns = table()
    put("age", 19, 0, 1, 2)(columns)
    columns["age"][3:] = [max(20, int(str(v))) for v in columns["age"][3:]]
    put("y", "", 3, 4)(columns)
    put("chol", "x", 4, 5)(columns)
    put("chol", "", 6, 7, 8)(columns)
    put("cp", "", 5, 8)(columns)
    written(tmp_path, columns)
    site = tmp_path / "site.toml"
    site.write_text('[data]\nfile = "ward.csv"\nfilter = "age >= 20"\n', encoding="utf-8")
    rows = check_data(site, study(run={"test-fraction": 0.25})).rows
    assert (rows.read, rows.filtered, rows.broken, rows.no_outcome, rows.incomplete) == (
        60, 3, 2, 1, 3
    )  # fmt: skip
    assert (rows.training, rows.held_out, rows.kept) == (38, 13, 51)


def test_missing_patterns_are_the_sets_of_columns(tmp_path: Path) -> None:
    """Rows are grouped by which columns they lack, the most frequent set first."""
    columns = table()
    put("chol", "", 1, 2, 3, 4, 5)(columns)
    put("cp", "NA", 3, 4, 9)(columns)
    patterns = check_data(written(tmp_path, columns), study()).patterns
    assert [(p.columns, p.n_rows) for p in patterns] == [
        (("chol",), 3), (("chol", "cp"), 2), (("cp",), 1)
    ]  # fmt: skip


def test_a_filter_that_leaves_nothing_is_a_break(tmp_path: Path) -> None:
    """No row after the filter is a finding, not a crash."""
    written(tmp_path, table())
    site = tmp_path / "site.toml"
    site.write_text('[data]\nfile = "ward.csv"\nfilter = "age > 200"\n', encoding="utf-8")
    report = check_data(site, study())
    assert said(report, "break")[0].startswith("rows : the filter leaves none of 60 rows")


def test_a_limit_of_the_site_is_a_break(tmp_path: Path) -> None:
    """A strategy that the site file does not allow is told before anything connects."""
    written(tmp_path, table())
    site = tmp_path / "site.toml"
    text = '[data]\nfile = "ward.csv"\n[limits]\nstrategies = ["fedprox"]\nmin-rows = 70\n'
    site.write_text(text, encoding="utf-8")
    found = " ".join(said(check_data(site, study()), "break"))
    assert "do not allow the study's strategy" in found
    assert "fewer than min-rows (70)" in found


def test_a_column_that_the_site_renames_has_the_studys_name(tmp_path: Path) -> None:
    """Findings name the study's column where a site file renames it, and use its unit."""
    columns = table()
    every("chol", lambda _, v: round(float(str(v)) / 38.67, 3))(columns)
    renamed("chol", "CHOLESTEROL")(columns)
    written(tmp_path, columns)
    site = tmp_path / "site.toml"
    text = '[data]\nfile = "ward.csv"\n[columns]\nchol = "CHOLESTEROL"\n[units]\nchol = "mmol/l"\n'
    site.write_text(text, encoding="utf-8")
    report = check_data(site, study())
    assert report.fits
    assert said(report, "warning") == []
    (chol,) = [each for each in report.features if each.name == "chol"]
    assert chol.median == pytest.approx(205, abs=15)
    assert chol.column == "CHOLESTEROL"


@pytest.mark.parametrize("text", ["age,sex\n1,2,3\n", "", "age\n1\n", 'age,sex\n"1,2\n3,4\n'])
def test_a_file_that_is_no_table_ends_with_its_place(text: str, tmp_path: Path) -> None:
    """What cannot be read as a table is an error with file and line, as for medhive client."""
    path = tmp_path / "ward.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape("ward.csv")):
        check_data(path, study())


def test_a_report_is_plain_json(tmp_path: Path) -> None:
    """JSON has every finding, and numbers that JSON knows."""
    from medhive.datacheck.page import as_json

    columns = table()
    put("chol", "")(columns)
    report = check_data(written(tmp_path, columns), study())
    content = json.loads(as_json(report), parse_constant=lambda word: pytest.fail(word))
    assert content["fits"] is False
    assert len(content["findings"]) == len(report.findings)
    assert content["rows"]["kept"] == 0
