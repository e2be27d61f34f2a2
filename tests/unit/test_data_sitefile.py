"""Every unusable site file is refused with line, setting and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import BaseModel

from medhive.data.site import load_site
from medhive.data.sitefile import DataSource, Limits, SiteSettings, UnitEntry, read_site_file
from medhive.errors import MedHiveError, RefusalError, SettingError
from medhive.study import Study

ROOT = Path(__file__).parents[2]
DATA = '[data]\nfile = "a.csv"\n'
SQL = '[data]\nurl = "sqlite:///a.db"\nquery = "select 1"\n'


class Bad(NamedTuple):
    text: str
    line: int | None
    setting: str | None
    words: str
    step: str


CASES = {
    "empty": Bad("", None, "data", '"data" is missing', "add"),
    "no source": Bad("[data]\n", 1, "data.file", "no file and no url", "url ="),
    "two sources": Bad(DATA + 'url = "x"\n', 3, "data.url", "both", "remove one"),
    "invalid TOML": Bad(DATA + "filter = AGE\n", 3, None, "not valid TOML", "quote"),
    "key twice": Bad(DATA + 'file = "b"\n', 3, None, "not valid TOML", "once"),
    "unknown section": Bad(DATA + "[limit]\n", 3, "limit", "unknown key", '"limits"'),
    "unknown key of data": Bad(
        DATA + 'seperator = ","\n', 3, "data.seperator", "unknown key", "known keys: file"
    ),
    "misspelt key of data": Bad(
        DATA + 'delimeter = ","\n', 3, "data.delimeter", "unknown key", '"delimiter"'
    ),
    "unknown key of a unit": Bad(
        DATA + '[units]\ng = { unit = "mmol/l", analyt = "x" }\n',
        4,
        "units.g.analyt",
        "unknown key",
        '"analyte"',
    ),
    "unit without unit": Bad(
        DATA + '[units]\ng = { analyte = "x" }\n', 4, "units.g.unit", "missing", "add"
    ),
    "unit as number": Bad(DATA + "[units]\ng = 3\n", 4, "units.g", "should be a unit", "mmol/l"),
    "analyte and mass": Bad(
        DATA + '[units]\ng = { unit = "g", analyte = "urea", molar-mass = 1.0 }\n',
        4,
        "units.g.molar-mass",
        "both",
        "remove one",
    ),
    "mass of nought": Bad(
        DATA + '[units]\ng = { unit = "g", molar-mass = 0 }\n',
        4,
        "units.g.molar-mass",
        "greater than 0",
        "correct",
    ),
    "levels as number": Bad(DATA + "[levels]\nsex = 3\n", 4, "levels.sex", "a table", "levels."),
    "two codes for a value": Bad(
        DATA + "[levels.sex]\nM = [1, 2]\n", 3, "levels.sex", "one study code", "M = 1"
    ),
    "missing as number": Bad(DATA + "missing = -9\n", 3, "data.missing", "list", "[-9"),
    "missing of a column as number": Bad(
        DATA + "[missing]\nchol = 0\n", 4, "missing.chol", "list", "[-9"
    ),
    "missing as flag": Bad(DATA + "missing = [true]\n", 3, "data.missing", "list", "[-9"),
    "column as number": Bad(DATA + "[columns]\nage = 3\n", 4, "columns.age", "name of a", "CHOL"),
    "filter without value": Bad(
        DATA + 'filter = "AGE >="\n', 3, "data.filter", "expected a number.*character 7", "AGE"
    ),
    "filter that is code": Bad(
        DATA + "filter = \"__import__('os').system('x')\"\n",
        3,
        "data.filter",
        "not a filter",
        "in (",
    ),
    "filter of text order": Bad(
        DATA + "filter = \"SEX > 'F'\"\n", 3, "data.filter", "not with a text", "AGE"
    ),
    "unknown encoding": Bad(
        DATA + 'encoding = "latin-99"\n', 3, "data.encoding", "no encoding", "windows-1252"
    ),
    "encoding of bytes": Bad(DATA + 'encoding = "hex"\n', 3, "data.encoding", "no encoding", "utf"),
    "long delimiter": Bad(DATA + 'delimiter = ";;"\n', 3, "data.delimiter", "cannot", "one char"),
    "letter as delimiter": Bad(DATA + 'delimiter = "x"\n', 3, "data.delimiter", "cannot", "letter"),
    "decimal of another sign": Bad(
        DATA + 'decimal = ";"\n', 3, "data.decimal", "not one", "choose"
    ),
    "delimiter of Parquet": Bad(
        '[data]\nfile = "a.parquet"\ndelimiter = ";"\n', 3, "data.delimiter", "no effect", "remove"
    ),
    "decimal of a query": Bad(SQL + 'decimal = ","\n', 4, "data.decimal", "no effect", "remove"),
    "query without url": Bad(DATA + 'query = "q"\n', 3, "data.query", "without url", "add url"),
    "password without url": Bad(
        DATA + 'password-env = "X"\n', 3, "data.password-env", "without url", "remove"
    ),
    "url without query": Bad(
        '[data]\nurl = "sqlite:///a.db"\n', 2, "data.url", "no query", "query-file"
    ),
    "two queries": Bad(SQL + 'query-file = "q"\n', 4, "data.query-file", "both", "remove one"),
    "two passwords": Bad(
        SQL + 'password-env = "A"\npassword-file = "b"\n', 5, "data.password-file", "both", "one"
    ),
    "password in the url": Bad(
        '[data]\nurl = "postgresql://u:hunter2@h/d"\nquery = "q"\n',
        2,
        "data.url",
        "holds a password",
        "password-env",
    ),
    "password in the url's options": Bad(
        '[data]\nurl = "postgresql://u@h/d?password=hunter2"\nquery = "q"\n',
        2,
        "data.url",
        "holds a password",
        "password-env",
    ),
    "password in an ODBC string": Bad(
        '[data]\nurl = "mssql+pyodbc:///?odbc_connect=UID%3Da%3BPWD%3Dhunter2"\nquery = "q"\n',
        2,
        "data.url",
        "holds a password",
        "password-env",
    ),
    "no url": Bad(
        '[data]\nurl = "hunter2"\nquery = "q"\n', 2, "data.url", "not an address", "postgresql"
    ),
    "unknown strategy": Bad(
        DATA + '[limits]\nstrategies = ["fedag"]\n',
        4,
        "limits.strategies[1]",
        "not one of",
        '"fedavg"',
    ),
    "no strategy": Bad(
        DATA + "[limits]\nstrategies = []\n", 4, "limits.strategies", "short", "add"
    ),
    "no rows": Bad(DATA + "[limits]\nmin-rows = 0\n", 4, "limits.min-rows", "greater", "correct"),
    "rounds as text": Bad(
        DATA + '[limits]\nmax-rounds = "9"\n', 4, "limits.max-rounds", "whole number", "quotes"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_bad_site_file_is_refused_with_place_and_next_step(case: Bad, tmp_path: Path) -> None:
    """Cause, line, setting and next step are named, and nothing that may be a password is."""
    file = tmp_path / "site.toml"
    file.write_text(case.text)
    with pytest.raises(SettingError) as caught:
        read_site_file(file)
    error = caught.value
    place = error.place
    assert (place.file, place.line, place.setting) == (file, case.line, case.setting)
    assert re.search(case.words, error.cause), error.cause
    assert case.step in (error.next_step or ""), error.next_step
    assert error.exit_code == 2
    assert "hunter2" not in f"{error}{error.next_step}"


STUDY = Study.model_validate(
    {
        "study": {"name": "s", "outcome": {"column": "dead", "event": 1}},
        "run": {"num-server-rounds": 5},
        "privacy": {"min-rows": 1},
        "features": [
            {"name": "age", "kind": "continuous"},
            {"name": "chol_mgdl", "kind": "continuous", "unit": "mg/dl", "range": [50, 700]},
            {"name": "sex", "kind": "binary"},
            {"name": "cp", "kind": "categorical", "levels": ["a", "b"]},
        ],
    }
)
ROWS = """\
AGE;CHOL;Sex;pain;DIED;WARD
50;5,5;M;1;yes;A
-9;6,0;F;2;no;A
61;0;F;1;no;B
72;"7,25";M;2;yes;B
17;5,0;M;2;no;A
40;4,0;unknown;2;no;C
"""
SITE = """\
[data]
file = "rows.csv"
decimal = ","
missing = [-9, "unknown"]
filter = "AGE >= 18 or AGE is missing"

[columns]
age = "AGE"
chol_mgdl = "CHOL"
sex = "Sex"
cp = "pain"
dead = "DIED"

[units]
chol_mgdl = "mmol/l"

[levels.sex]
M = 1
F = 0

[levels.cp]
1 = "a"
2 = "b"

[levels.dead]
yes = 1
no = 0

[missing]
chol_mgdl = [0]
"""


def written(folder: Path, site: str = SITE, rows: str = ROWS) -> Path:
    (folder / "rows.csv").write_text(rows)
    (folder / "site.toml").write_text(site)
    return folder / "site.toml"


def test_a_file_of_a_hospital_becomes_what_the_study_asks_for(tmp_path: Path) -> None:
    """Names, decimal commas, units, levels, missing codes and the filter are applied together."""
    data = load_site(written(tmp_path), STUDY, "a")
    assert data.train.X[:, 1] == pytest.approx([5.5 * 38.666, 7.25 * 38.666])
    assert data.train.X[:, [0, 2, 3]].tolist() == [[50, 1, 0], [72, 1, 1]]
    assert data.train.y.tolist() == [1, 1]
    assert (data.n_rows, data.n_dropped) == (5, 3)
    assert data.missing == {"age": 1, "chol_mgdl": 1, "sex": 1, "cp": 0, "dead": 0}
    assert data.unused == ("WARD",)
    assert "CHOL converted from mmol/l to mg/dl (cholesterol, 386.66 g/mol)" in data.notes
    assert "the filter takes 5 of 6 rows" in data.notes


UNFIT = {
    "column that is not there": (
        ('chol_mgdl = "CHOL"', 'chol_mgdl = "KOL"'),
        ('no column "KOL"', "columns.chol_mgdl", "CHOL"),
    ),
    "filter of a column that is not there": (
        ("AGE >= 18", "AGES >= 18"),
        ('no column "AGES"', "data.filter", "AGE"),
    ),
    "level that the study does not have": (
        ("M = 1", "M = 2"),
        ("2 is not a code", "levels.sex.M", "0, 1"),
    ),
    "unit that is unknown": (("mmol/l", "mmol/x"), ("not known", "units.chol_mgdl", "list")),
    "unit of another thing": (("mmol/l", "years"), ("cannot be converted", "units", "correct")),
    "unit of a level": (("[units]", '[units]\nsex = "kg"'), ("no unit", "units.sex", "remove")),
    "unit that the study does not say": (
        ("[units]", '[units]\nage = "days"'),
        ("does not say the unit", "units.age", "statistician"),
    ),
    "level and missing": (
        ("[missing]", '[missing]\nsex = ["M"]'),
        ("means missing", "levels.sex.M", "remove"),
    ),
    "text for a number": (
        ("[levels.sex]", '[levels.age]\nold = "b"\n[levels.sex]'),
        ("no number", "levels.age.old", "number"),
    ),
    "value without a level": (
        ("F = 0", "X = 0"),
        ('"F" is not in \\[levels.sex\\]', 'line 3, column "Sex"', "[levels.sex]"),
    ),
    "outcome without a level": (
        ("no = 0", "No = 0"),
        ('"no" is not in \\[levels.dead\\]', 'line 3, column "DIED"', "[levels.dead]"),
    ),
    "nobody left": (
        ("AGE >= 18 or AGE is missing", "AGE > 200"),
        ("none of 6", "filter", "filter"),
    ),
    "filter of text as number": (
        ("AGE >= 18 or", "Sex >= 18 or"),
        ('"M" is not a number', 'line 2, column "Sex"', "number"),
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_site_file_that_does_not_fit_is_refused(tmp_path: Path, case: str) -> None:
    """What does not fit study or rows is named with its setting, or with line and file column."""
    (old, new), expected = UNFIT[case]
    site = SITE.replace(old, new)
    assert site != SITE
    words, place, step = expected
    with pytest.raises(MedHiveError, match=words) as caught:
        load_site(written(tmp_path, site), STUDY, "a")
    assert place in str(caught.value)
    assert step in (caught.value.next_step or "")
    assert caught.value.exit_code == 2


def test_a_fault_is_told_in_both_units(tmp_path: Path) -> None:
    """A value outside the range is named as it is in the file and as it is in the study."""
    rows = ROWS.replace("7,25", "72,5")
    with pytest.raises(MedHiveError, match=r'"72,5" mmol/l is 2803\.2\d mg/dl') as caught:
        load_site(written(tmp_path, rows=rows), STUDY, "a")
    assert (caught.value.place.line, caught.value.place.column) == (5, "CHOL")


@pytest.mark.parametrize("number", ["1.234,5", "5.5"])
def test_a_point_is_no_decimal_comma(tmp_path: Path, number: str) -> None:
    """With decimal = "," a point is never skipped over as a thousands separator."""
    with pytest.raises(MedHiveError, match="it has a point"):
        load_site(written(tmp_path, rows=ROWS.replace("5,5", number)), STUDY, "a")


def test_entries_for_other_studies_are_told(tmp_path: Path) -> None:
    """A site file may serve several studies; what this one does not use is said, not hidden."""
    site = SITE.replace("[columns]", '[columns]\nbmi = "WARD"')
    data = load_site(written(tmp_path, site), STUDY, "a")
    assert any("does not use: bmi" in note for note in data.notes)


def test_a_missing_column_can_be_mapped(tmp_path: Path) -> None:
    """The next step for a column of another name is the line to write in the site file."""
    site = SITE.replace('cp = "pain"\n', "").replace('age = "AGE"', "")
    with pytest.raises(MedHiveError) as caught:
        load_site(written(tmp_path, site), STUDY, "a")
    assert 'write age = "AGE" under [columns]' in (caught.value.next_step or "")


LIMITS = {
    "strategy": ('strategies = ["fedprox"]', "limits do not allow the study's strategy"),
    "rounds": ("max-rounds = 4", "do not allow so many rounds"),
    "rows": ("min-rows = 3", "fewer training rows than this site's own limit"),
}


@pytest.mark.parametrize("case", LIMITS)
def test_a_hospital_may_be_stricter(tmp_path: Path, case: str) -> None:
    """Each limit refuses, with a reason that holds no number of rows and no limit of the site."""
    limit, words = LIMITS[case]
    with pytest.raises(RefusalError, match=words) as caught:
        load_site(written(tmp_path, f"{SITE}\n[limits]\n{limit}\n"), STUDY, "a")
    assert not re.search(r"\d", caught.value.cause)


def test_a_hospital_cannot_be_laxer(tmp_path: Path) -> None:
    """The study's min-rows holds where the site's is lower."""
    privacy = STUDY.privacy.model_copy(update={"min_rows": 10})
    strict = STUDY.model_copy(update={"privacy": privacy})
    with pytest.raises(RefusalError, match="the study's min-rows"):
        load_site(written(tmp_path, SITE + "\n[limits]\nmin-rows = 1\n"), strict, "a")
    loose = "\n[limits]\nmin-rows = 1\nmax-rounds = 5\nstrategies = ['fedavg']\n"
    assert len(load_site(written(tmp_path, SITE + loose), STUDY, "a").train) == 2


def test_a_server_cannot_go_on_beyond_the_limit(tmp_path: Path) -> None:
    """A round above the site's limit is refused, whatever the contract says."""
    from functools import partial

    from medhive.client.answer import Site
    from medhive.flower.wire import Task

    path = written(tmp_path, SITE + "\n[limits]\nmax-rounds = 5\n")
    site = Site("a", partial(load_site, path, site="a"))
    assert site.answer(Task("join", 0, 0, STUDY.canonical)).n_samples == 2
    with pytest.raises(RefusalError, match="more rounds"):
        site.answer(Task("fedavg", 6, 0, STUDY.canonical))


@pytest.mark.parametrize(
    ("heading", "model"),
    [("`[data]`", DataSource), ("`[units]`", UnitEntry), ("`[limits]`", Limits)],
)
def test_every_key_of_the_site_file_is_documented(heading: str, model: type[BaseModel]) -> None:
    """site-file.md has one row a key, and no other row."""
    page = (ROOT / "docs" / "reference" / "site-file.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    section = dict(zip(parts[1::2], parts[2::2], strict=True))[heading]
    rows = re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)
    assert sorted(rows) == sorted(f.alias or k for k, f in model.model_fields.items())


def test_the_examples_of_the_documentation_are_valid(tmp_path: Path) -> None:
    """Every whole site file in the documentation can be read."""
    found = 0
    for page in ("how-to", "reference"):
        text = (ROOT / "docs" / page / "site-file.md").read_text(encoding="utf-8")
        for example in re.findall(r"^ *```toml\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
            if "[data]" in example:
                (tmp_path / "site.toml").write_text(example, encoding="utf-8")
                assert isinstance(read_site_file(tmp_path / "site.toml").settings, SiteSettings)
                found += 1
    assert found == 3
