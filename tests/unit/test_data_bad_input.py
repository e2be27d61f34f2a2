"""Every unusable data file is refused with the place of the fault and what to do about it."""

import gzip
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from medhive.data.check import check
from medhive.data.csvfile import read_csv
from medhive.errors import DataError
from medhive.study import Study

HEAD = "age,sex,cp,y\n"
GOOD = "50,1,a,1\n61,0,b,0\n"


def study(event: object = 1, extra: str = "ignored") -> Study:
    return Study.model_validate(
        {
            "study": {
                "name": "s",
                "outcome": {"column": "y", "event": event},
                "extra-columns": extra,
            },
            "features": [
                {"name": "age", "kind": "continuous", "unit": "years", "range": [18, 110]},
                {"name": "sex", "kind": "binary"},
                {"name": "cp", "kind": "categorical", "levels": ["a", "b"]},
            ],
        }
    )


class Bad(NamedTuple):
    content: str | bytes
    line: int | None
    column: str | None
    words: str
    step: str
    event: object = 1
    extra: str = "ignored"


CASES = {
    "empty file": Bad("", None, None, "empty", "export"),
    "blank lines only": Bad("\n\n  \n", None, None, "empty", "export"),
    "header only": Bad(HEAD, 1, None, "no row", "export the rows"),
    "header and blank lines": Bad("\n" + HEAD + "\n \n", 2, None, "no row", "export the rows"),
    "row too short": Bad(HEAD + GOOD + "50,1,a\n", 4, None, "3 fields, fewer.* 4", "4 fields"),
    "row too long": Bad(HEAD + "50,1,a,1,9\n" + GOOD, 2, None, "5 fields, more.* 4", "comma"),
    "row too short after a blank line": Bad(
        HEAD + "\n" + GOOD + "50\n", 5, None, "1 fields", "4 fields"
    ),
    "decimal commas in a comma file": Bad(
        HEAD + "50,5,1,a,1\n", 2, None, "5 fields", "quote a value"
    ),
    "unknown separator": Bad("age^sex^cp^y\n50^1^a^1\n", 1, None, "one column.*comma", "semicolon"),
    "rows use another separator": Bad("age;sex;cp;y\n50,1,a,1\n", 2, None, "1 fields", "semicolon"),
    "duplicate name": Bad("age,sex,age,y\n1,1,1,1\n", 1, "age", "1 and 3", "rename"),
    "duplicate name after strip": Bad("age,sex, age ,y\n1,1,1,1\n", 1, "age", "1 and 3", "rename"),
    "empty name": Bad("age,,cp,y\n1,1,1,1\n", 1, None, "column 2 of 4", "name the column"),
    "trailing separator in header": Bad(
        "age,sex,cp,y,\n1,1,a,1,\n", 1, None, "column 5", "trailing"
    ),
    "quote in header": Bad('age,"sex,cp,y\n50,1,a,1\n', 1, None, "quote", "close"),
    "unterminated quote": Bad(HEAD + '50,1,"a,1\n' + GOOD, 2, None, "quote", "close the quote"),
    "unterminated quote in the last field": Bad(
        HEAD + GOOD + '50,1,a,"1\n' + GOOD, 4, None, "quote", "close the quote"
    ),
    "unterminated quote that a later quote ends": Bad(
        HEAD + '50,1,"a,1\n61,0,"b",0\n' + GOOD, 2, None, "quote", "close the quote"
    ),
    "two unterminated quotes that end each other": Bad(
        HEAD + '50,1,"a,1\n' + GOOD + '50,1,"a,1\n', 2, None, "quote", "close the quote"
    ),
    "unterminated quote at the end": Bad(
        HEAD + GOOD + '50,1,a,"1', 4, None, "quote", "close the quote"
    ),
    "line break in a value": Bad(
        HEAD + '50,1,"a\nb",1\n' + GOOD, 2, None, "not closed on it", "line break"
    ),
    "NUL byte": Bad(HEAD.encode() + b"50,1,\0,1\n", 2, None, "NUL", "CSV UTF-8"),
    "UTF-16 without its mark": Bad(HEAD.encode("utf-16-le"), 1, None, "NUL", "utf-16-le"),
    "Latin-1": Bad(
        (HEAD + GOOD + "50,1,é,1\n").encode("latin-1"), 4, None, "0xE9 at position 36", "UTF-8"
    ),
    "cut UTF-8 sequence": Bad(HEAD.encode() + b"50,1,a,\xc3", 2, None, "0xC3", "UTF-8"),
    "workbook": Bad(b"PK\x03\x04rest", None, None, "Excel", "CSV UTF-8"),
    "Parquet": Bad(b"PAR1rest", None, None, "Parquet", ".parquet"),
    "gzip without its suffix": Bad(gzip.compress(HEAD.encode()), None, None, "gzip", ".gz"),
    "missing column": Bad("age,sex,y\n50,1,1\n", 1, "cp", "missing", "age, sex, y"),
    "two missing columns": Bad("age,y\n50,1\n", 1, "sex", "so are cp", "add"),
    "missing column, close name": Bad(
        "age,sexx,cp,y\n50,1,a,1\n", 1, "sex", "missing", 'rename "sexx" to "sex"'
    ),
    "missing column, other case": Bad(
        "AGE,sex,cp,y\n50,1,a,1\n", 1, "age", "missing", 'rename "AGE" to "age"'
    ),
    "extra column refused": Bad(
        "age,sex,cp,y,id,zip\n50,1,a,1,7,8\n", 1, "id", "refuses.*zip", "delete", 1, "refused"
    ),
    "text for a number": Bad(HEAD + GOOD + "abc,1,a,1\n", 4, "age", '"abc" is not', "number"),
    "text for a number, blank lines": Bad(
        "\n" + HEAD + "\n" + GOOD + "\n\nabc,1,a,1\nabd,1,a,0\n",
        8,
        "age",
        r"and 1 more such row\)",
        "number",
    ),
    "underscore in a number": Bad(HEAD + "5_0,1,a,1\n", 2, "age", "5_0", "number"),
    "hexadecimal": Bad(HEAD + "0x20,1,a,1\n", 2, "age", "0x20", "number"),
    "question mark": Bad(HEAD + "?,1,a,1\n", 2, "age", "not a number", "leave the field empty"),
    "decimal comma": Bad(
        'age;sex;cp;y\n50,5;1;a;1\n"51,5";1;a;1\n', 2, "age", "decimal comma.*1 more", "3.5"
    ),
    "infinite": Bad(HEAD + "inf,1,a,1\n", 2, "age", "not a finite", "correct"),
    "minus infinity beside text": Bad(
        HEAD + GOOD + "-Infinity,1,a,1\nabc,1,a,1\n",
        4,
        "age",
        'finite.*Also line 5, column "age"',
        "correct",
    ),
    "overflow": Bad(HEAD + "1e999,1,a,1\n", 2, "age", "not a finite", "correct"),
    "long text is not shown": Bad(
        HEAD + f"{'Jane Doe ' * 5},1,a,1\n", 2, "age", "^(?!.*Jane).*44 characters", "number"
    ),
    "below the range": Bad(HEAD + GOOD + "17.9,1,a,1\n", 4, "age", "17.9.*18 to 110", "correct"),
    "above the range": Bad(
        HEAD + "111,1,a,1\n" * 3 + GOOD, 2, "age", r"111.*and 2 more such rows\)", "correct"
    ),
    "binary as words": Bad(HEAD + "50,true,a,1\n", 2, "sex", "true.*0, 1", "code the column"),
    "binary as 2": Bad(HEAD + GOOD + "50,2,a,1\n", 4, "sex", "2.*0, 1", "code the column"),
    "unknown level": Bad(HEAD + GOOD + "50,1,c,1\n", 4, "cp", '"c".*levels a, b', "level"),
    "level in other case": Bad(HEAD + "50,1,A,1\n", 2, "cp", '"A".*levels', "level"),
    "three outcome values": Bad(
        HEAD + GOOD + "50,1,a,2\n", 4, "y", '"0", "2" beside the event "1"', "comparison"
    ),
    "event in neither value": Bad(
        HEAD + "50,1,a,m\n51,0,b,b\n", 3, "y", '"m", "b" beside', "another event", "M"
    ),
    "comparison with text": Bad(
        HEAD + GOOD + "50,1,a,yes\n", 4, "y", '"yes" is not a number', "number", "> 0"
    ),
    "no outcome": Bad(HEAD + "50,1,a,\n61,0,b,NA\n", None, "y", "every row", "fill in"),
    "nothing complete": Bad(HEAD + "50,,a,1\n61,,b,0\n", None, "sex", "no row is complete", "fill"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_bad_file_is_refused_with_place_and_next_step(case: Bad, tmp_path: Path) -> None:
    """Cause, line, column and next step are named, and the error is the site's data's."""
    file = tmp_path / "site.csv"
    content = case.content
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        check(read_csv(file), study(case.event, case.extra))
    error = caught.value
    assert (error.place.file, error.place.line, error.place.column) == (
        file,
        case.line,
        case.column,
    )
    assert re.search(case.words, error.cause), error.cause
    assert error.next_step is not None
    assert case.step in error.next_step
    assert error.exit_code == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path that leads nowhere is an error of the data, not a traceback."""
    with pytest.raises(DataError, match=r"site\.csv: there is no such file") as caught:
        read_csv(tmp_path / "site.csv")
    assert caught.value.next_step == "check the path"


def test_a_folder_is_named(tmp_path: Path) -> None:
    """A folder in place of a file is told apart."""
    with pytest.raises(DataError, match="folder, not a file") as caught:
        read_csv(tmp_path)
    assert caught.value.next_step == "name the CSV file inside it"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    """A file that the user may not read is told apart."""
    file = tmp_path / "site.csv"
    file.write_text(HEAD + GOOD)
    file.chmod(0)
    with pytest.raises(DataError, match="not allowed") as caught:
        read_csv(file)
    assert "permission" in (caught.value.next_step or "")


@pytest.mark.parametrize("content", [b"not gzip at all", gzip.compress(b"a,b\n1,2\n" * 99)[:-20]])
def test_a_broken_gzip_file_is_refused(content: bytes, tmp_path: Path) -> None:
    """A .gz file that is no gzip, or is cut short, is an error of the data."""
    file = tmp_path / "site.csv.gz"
    file.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_csv(file)
    assert caught.value.next_step is not None


def test_faults_of_several_columns_come_in_one_error(tmp_path: Path) -> None:
    """One run over the file finds every kind of fault, the earliest line first."""
    file = tmp_path / "site.csv"
    file.write_text(HEAD + "50,1,c,1\n" + "abc,2,a,1\n" + "200,2,a,1\n")
    with pytest.raises(DataError) as caught:
        check(read_csv(file), study())
    assert (caught.value.place.line, caught.value.place.column) == (2, "cp")
    assert 'line 3, column "age": "abc"' in caught.value.cause
    assert 'line 3, column "sex": "2" is not one of the levels 0, 1 (and 1 more such row)' in (
        caught.value.cause
    )
    assert 'line 4, column "age": "200" is outside' in caught.value.cause


def test_a_fault_in_a_later_batch_has_the_right_line(tmp_path: Path) -> None:
    """Lines are right in files that are read in many batches."""
    file = tmp_path / "site.csv"
    n = 1_500_000
    file.write_text(HEAD + "50,1,a,1\n" * n + "\nabc,1,a,1\n")
    with pytest.raises(DataError) as caught:
        check(read_csv(file), study())
    assert caught.value.place.line == n + 3
