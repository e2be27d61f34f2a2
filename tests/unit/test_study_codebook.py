"""Codebooks, and REDCap's data dictionaries, become drafts without any data."""

from __future__ import annotations

import gzip
import tomllib
from pathlib import Path
from typing import Any

import pytest

from medhive.contract.codebook import read_codebook
from medhive.contract.draft import choose_outcome, compose
from medhive.contract.render import render
from medhive.errors import DataError, SettingError
from medhive.studyfile import parse_study

PLAIN = """\
name,kind,unit,min,max,levels,label
patient_id,text,,,,,Identifier
age,continuous,years,18,110,,Age at admission
sex,binary,,,,0=female; 1=male,Sex
cp,categorical,,,,1=typical; 2=atypical; 3=other,Chest pain
ward,nominal,,,,"A, B, C",Ward
crp,number,mg/l,,,,
seen,date,,,,,Date of the visit
dead,bool,,,,,Died in hospital
"""
REDCAP = (
    '"Variable / Field Name","Form Name","Section Header","Field Type","Field Label",'
    '"Choices, Calculations, OR Slider Labels","Field Note",'
    '"Text Validation Type OR Show Slider Number","Text Validation Min","Text Validation Max",'
    '"Identifier?","Branching Logic (Show field only if...)"\n'
    "record_id,base,,text,Record,,,,,,,\n"
    "study_site,base,,text,Where,,,,,,,\n"
    'age,base,,text,"Age\nat admission",,,integer,18,110,,\n'
    "initials,base,,text,Initials,,,,,,y,\n"
    'sex,base,,radio,Sex,"1, Male | 2, Female",,,,,,\n'
    'smokes,base,,dropdown,Smokes,"0, No | 1, Yes, daily",,,,,,\n'
    "diabetes,base,,yesno,Diabetes,,,,,,,\n"
    'drugs,base,,checkbox,Drugs,"1, Aspirin | 2, Statin",,,,,,\n'
    "pain,base,,slider,Pain,,,,,,,\n"
    'bmi,base,,calc,BMI,"[weight]/([height]*[height])",,,,,,\n'
    "seen,base,,text,Seen,,,date_dmy,,,,\n"
    "remarks,base,,notes,Remarks,,,,,,,\n"
    "hello,base,,descriptive,<b>Hello</b>,,,,,,,\n"
    'outcome,base,,radio,Outcome,"1, Alive | 2, Dead",,,,,,\n'
)


def drafted(text: str, folder: Path, outcome: str | None = None) -> tuple[dict[str, Any], str]:
    file = folder / "codebook.csv"
    file.write_text(text, encoding="utf-8")
    found = read_codebook(file)
    column, event = choose_outcome(found, outcome, None)
    draft = compose(found, column, event, name="s", title="T", source=file, from_data=False)
    toml = render(draft)
    parse_study(toml, file="s")
    return tomllib.loads(toml), toml


def test_a_codebook_is_drafted(tmp_path: Path) -> None:
    """Kinds, units, ranges, levels and labels are those of the codebook."""
    study, text = drafted(PLAIN, tmp_path)
    assert study["study"]["outcome"] == {"column": "dead", "event": 1}
    assert study["features"] == [
        {"name": "age", "kind": "continuous", "unit": "years", "range": [18, 110]},
        {"name": "sex", "kind": "binary", "levels": {"0": "female", "1": "male"}},
        {
            "name": "cp",
            "kind": "categorical",
            "levels": {"1": "typical", "2": "atypical", "3": "other"},
            "reference": 1,
        },
        {"name": "ward", "kind": "categorical", "levels": ["A", "B", "C"], "reference": "A"},
        {"name": "crp", "kind": "continuous", "unit": "mg/l"},
    ]
    assert "#   patient_id: looks like an identifier" in text
    assert "#   seen: a date or time" in text
    assert "# Age at admission" in text


def test_a_redcap_dictionary_is_drafted(tmp_path: Path) -> None:
    """REDCap's field types, choices and limits are understood, line breaks in labels included."""
    study, text = drafted(REDCAP, tmp_path)
    assert study["study"]["outcome"] == {"column": "outcome", "event": 2}
    boxes = {"0": "not ticked", "1": "ticked"}
    assert study["features"] == [
        {"name": "age", "kind": "continuous", "range": [18, 110]},
        {
            "name": "sex",
            "kind": "categorical",
            "levels": {"1": "Male", "2": "Female"},
            "reference": 1,
        },
        {"name": "smokes", "kind": "binary", "levels": {"0": "No", "1": "Yes, daily"}},
        {"name": "diabetes", "kind": "binary", "levels": {"0": "no", "1": "yes"}},
        {"name": "drugs___1", "kind": "binary", "levels": boxes},
        {"name": "drugs___2", "kind": "binary", "levels": boxes},
        {"name": "pain", "kind": "continuous", "range": [0, 100]},
        {"name": "bmi", "kind": "continuous"},
    ]
    assert "# Drugs: Statin" in text
    for name in ("record_id", "initials", "seen", "remarks", "hello", "study_site"):
        assert f"#   {name}: " in text


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("age;sex\n1;2\n", 1, None, "not a codebook"),
        ("name,kind\n,continuous\n", 2, "name", "without a name"),
        ("name,kind\na,binary\na,binary\n", 3, "name", "already on line 2"),
        ("name,kind,min,max\na,number,9,1\n", 2, "min", "not below"),
        ("name,type,min,max\na,number,low,1\n", 2, "min", "not a number"),
        ("name,kind,levels\na,categorical,1=x\n", 2, "levels", "at least two"),
        ("name,kind,levels\na,categorical,1=x; =y\n", 2, "levels", "no code"),
        ("name,kind,levels\na,categorical,1=x; 1.0=y\n", 2, "levels", "twice"),
        ("name,kind,choices\na,binary,1=x\n", 2, "choices", "two levels"),
        ("name,kind,levels\na,factor,1=x, 2=y\n", 2, None, "more than the header's 3"),
        ('name,kind\n"a\n\nb",binary\n"c,binary\n', 5, None, "a quote opens"),
        ("name,kind,levels,reference\na,factor,1=x;2=y,3\n", 2, "reference", "not one of"),
    ],
)
def test_a_codebook_that_contradicts_itself_is_refused(
    text: str, line: int, column: str | None, words: str, tmp_path: Path
) -> None:
    """Every fault names file, line and column, and what to do."""
    file = tmp_path / "codebook.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_codebook(file)
    assert words in caught.value.cause
    assert (caught.value.place.file, caught.value.place.line) == (file, line)
    assert caught.value.place.column == column
    assert caught.value.next_step


def test_a_packed_codebook_is_read(tmp_path: Path) -> None:
    """A .gz file is read as the file in it."""
    file = tmp_path / "codebook.csv.gz"
    file.write_bytes(gzip.compress(PLAIN.encode()))
    assert len(read_codebook(file)) == 8


def test_an_unclear_event_is_not_guessed(tmp_path: Path) -> None:
    """Two codes that say nothing need a person to name the event."""
    text = "name,kind,levels\nage,number,\narm,categorical,1=left; 2=right\n"
    with pytest.raises(SettingError, match="not clear"):
        drafted(text, tmp_path, outcome="arm")
