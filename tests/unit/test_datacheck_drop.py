"""Leaving out rows that break the contract: only on request, counted, and never the outcome."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medhive.data.site import load_site
from medhive.errors import DataError
from medhive.study import Study

N = 30


def study(**run: object) -> Study:
    return Study.model_validate(
        {
            "study": {"name": "s", "outcome": {"column": "y", "event": 1}},
            "run": run,
            "features": [
                {"name": "age", "kind": "continuous", "range": [18, 110]},
                {"name": "cp", "kind": "categorical", "levels": ["a", "b"]},
            ],
        }
    )


def rows(folder: Path, **changed: str) -> Path:
    """Write rows, some of them changed: ``r3="999,a,1"``."""
    lines = [changed.get(f"r{i}", f"{40 + i},{'ab'[i % 2]},{i % 3 % 2}") for i in range(N)]
    path = folder / "a.csv"
    path.write_text("\n".join(["age,cp,y", *lines]) + "\n", encoding="utf-8")
    return path


def test_rows_that_break_the_contract_are_dropped_on_request_only(tmp_path: Path) -> None:
    """The default refuses the file; with allow_drop the other rows are exactly what is loaded."""
    path = rows(tmp_path, r3="999,a,1", r4="50,z,0", r5="x,q,1", r6=",a,0")
    with pytest.raises(DataError, match="line 5"):
        load_site(path, study(), "a")
    data = load_site(path, study(), "a", allow_drop=True)
    assert (data.n_rows, data.n_dropped, data.n_broken) == (N, 4, 3)
    expected = [40.0 + i for i in range(N) if i not in (3, 4, 5, 6)]
    np.testing.assert_array_equal(data.train.X[:, 0], expected)
    assert np.isfinite(data.train.X).all()
    assert data.notes == ("DROPPED 3 rows that break the contract (--allow-drop): age (2), cp (2)",)


def test_a_good_file_is_the_same_with_allow_drop(tmp_path: Path) -> None:
    """Where nothing breaks the contract the option changes nothing, and nothing is said."""
    path = rows(tmp_path, r6=",a,0")
    plain, dropped = (load_site(path, study(), "a", allow_drop=drop) for drop in (False, True))
    np.testing.assert_array_equal(plain.train.X, dropped.train.X)
    assert (plain.n_dropped, plain.n_broken, plain.notes) == (
        dropped.n_dropped, dropped.n_broken, dropped.notes
    )  # fmt: skip


def test_no_broken_value_is_left_where_missing_ones_are_filled(tmp_path: Path) -> None:
    """Where the study fills missing values, a broken one is dropped and not filled."""
    data = load_site(rows(tmp_path, r3="999,a,1"), study(missing="mean"), "a", allow_drop=True)
    assert len(data.train) == N - 1
    assert data.train.X[:, 0].max() < 110


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"r3": "50,a,2"}, "outcome has the values"),
        ({f"r{i}": "999,a,1" for i in range(N)}, "breaks the contract in every row"),
    ],
)
def test_what_allow_drop_does_not_cover(
    changed: dict[str, str], words: str, tmp_path: Path
) -> None:
    """A wrong outcome, and a file without any good row, are refused with allow_drop as well."""
    with pytest.raises(DataError, match=words):
        load_site(rows(tmp_path, **changed), study(), "a", allow_drop=True)


def test_a_missing_column_is_not_dropped(tmp_path: Path) -> None:
    """A file without a feature's column is refused with allow_drop as well."""
    path = tmp_path / "a.csv"
    path.write_text("age,y\n" + "50,1\n" * N, encoding="utf-8")
    with pytest.raises(DataError, match="the column is missing"):
        load_site(path, study(), "a", allow_drop=True)
