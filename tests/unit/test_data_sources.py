"""What counts as a CSV file, and as a missing value."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from medhive.data.check import MISSING, check
from medhive.data.csvfile import read_csv
from medhive.errors import DataError
from medhive.study import Study


def study(event: object = 1, **feature: object) -> Study:
    first = {"name": "x", "kind": "continuous", **feature}
    return Study.model_validate(
        {
            "study": {"name": "s", "outcome": {"column": "y", "event": event}},
            "features": [first],
        }
    )


def column(tmp_path: Path, content: str | bytes, of: Study, name: str = "x") -> list[float]:
    file = tmp_path / "site.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    values: list[float] = check(read_csv(file), of).values[name].tolist()
    return values


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends_are_detected(tmp_path: Path, delimiter: str, end: str) -> None:
    """Comma, semicolon, tab and bar work with every line end."""
    lines = ["x,y", "1,1", "", "2,0", "", ""]
    content = end.join(line.replace(",", delimiter) for line in lines)
    assert column(tmp_path, content, study()) == [1, 2]


def test_a_quoted_name_may_hold_the_other_separators(tmp_path: Path) -> None:
    """Only separators outside quotes count."""
    content = '"x, in mm, at rest";y\n3;1\n'
    assert column(tmp_path, content, study(name="x, in mm, at rest"), "x, in mm, at rest") == [3]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    """Spreadsheets write UTF-8 with a mark."""
    assert column(tmp_path, b"\xef\xbb\xbfx,y\n3,1\n", study()) == [3]


def test_gzip_is_read(tmp_path: Path) -> None:
    """A .gz file is the same as the plain one."""
    file = tmp_path / "site.csv.gz"
    file.write_bytes(gzip.compress(b"x,y\n3,1\n"))
    assert check(read_csv(file), study()).values["x"].tolist() == [3]


def test_numbers_may_be_quoted_signed_and_spaced(tmp_path: Path) -> None:
    """Every usual way to write a number is read, and no unusual one."""
    content = ' x , y \n 5 ,1\n"6",1\n+3,1\n-2,1\n1e3,1\n.5,1\n7.,1\n1E-2,1\n'
    assert column(tmp_path, content, study()) == [5, 6, 3, -2, 1000, 0.5, 7, 0.01]


def test_a_signed_number_is_read_beside_a_word_for_missing(tmp_path: Path) -> None:
    """The words for missing values do not change how numbers are read."""
    values = column(tmp_path, "x,y\n+3,1\nNA,1\n", study())
    np.testing.assert_array_equal(values, [3, np.nan])


@pytest.mark.parametrize("word", sorted(MISSING))
def test_every_word_for_missing_is_missing(tmp_path: Path, word: str) -> None:
    """The same words are missing in numbers, levels, flags and outcomes."""
    content = f"x,y\n1,1\n {word} ,1\n0,0\n1,{word}\n"
    for kind in ({}, {"kind": "binary"}, {"kind": "categorical", "levels": ["0", "1"]}):
        file = tmp_path / "site.csv"
        file.write_text(content)
        checked = check(read_csv(file), study(**kind))
        assert checked.missing == {"x": 1, "y": 1}
        assert checked.complete.tolist() == [True, False, True, False]


def test_a_listed_word_is_a_level(tmp_path: Path) -> None:
    """Where the contract lists "None" as a level, it does not mean missing."""
    of = study(kind="categorical", levels=["None", "mild"])
    np.testing.assert_array_equal(
        column(tmp_path, "x,y\nmild,1\nNone,1\nNA,0\n", of), [1, 0, np.nan]
    )
    of = study(event="None")
    assert column(tmp_path, "x,y\n1,None\n1,mild\n", of, "y") == [1, 0]


def test_levels_compare_by_their_code(tmp_path: Path) -> None:
    """1, 1.0 and "1" are one level, in features and outcomes."""
    of = study(event=1.0, kind="categorical", levels=[1, 2])
    content = 'x,y\n1,1\n1.0,1.0\n"2",0\n2.00,"0.0"\n'
    assert column(tmp_path, content, of) == [0, 0, 1, 1]
    assert column(tmp_path, content, of, "y") == [1, 1, 0, 0]


def test_a_true_event_means_the_word(tmp_path: Path) -> None:
    """The event true is the word true, however it is capitalised."""
    assert column(tmp_path, "x,y\n1,TRUE\n2,False\n3,true\n", study(True), "y") == [1, 0, 1]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("> 1", [0, 0, 1]),
        (">= 1", [0, 1, 1]),
        ("< 1", [1, 0, 0]),
        ("<=1", [1, 1, 0]),
        ("== 1", [0, 1, 0]),
        ("!= 1", [1, 0, 1]),
    ],
)
def test_an_outcome_may_be_a_comparison(tmp_path: Path, event: str, expected: list[float]) -> None:
    """A comparison splits a numeric outcome; a missing one stays missing."""
    values = column(tmp_path, "x,y\n1,0\n1,1\n1,2\n1,\n", study(event), "y")
    np.testing.assert_array_equal(values, [*expected, np.nan])


def test_unused_columns_are_reported(tmp_path: Path) -> None:
    """Columns that the contract does not name are ignored and named."""
    file = tmp_path / "site.csv"
    file.write_text("id,y,x,note\n1,1,3,hello\n")
    assert check(read_csv(file), study()).unused == ("id", "note")


def test_lines_are_counted_across_blocks(tmp_path: Path) -> None:
    """A line end that two blocks of the file share is one line end."""
    file = tmp_path / "site.csv"
    n = 900_000  # 5 bytes each; a block of 4 MiB ends between \r and \n
    file.write_bytes(b"x,y\r\n" + b"1,1\r\n" * n)
    assert read_csv(file).n_lines == n + 1


def test_a_row_of_empty_fields_is_a_row(tmp_path: Path) -> None:
    """Tabs alone are a row without values, not a blank line: lines after it stay right."""
    file = tmp_path / "site.csv"
    file.write_text("x\ty\n\t\n1\t1\n\nabc\t1\n")
    with pytest.raises(DataError) as caught:
        check(read_csv(file), study())
    assert caught.value.place.line == 5
    file.write_text("x\ty\n\t\n1\t1\n")
    assert check(read_csv(file), study()).complete.tolist() == [False, True]
