"""Split, evaluation rows and the smallest number of rows of a site."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhive.data.site import load_site
from medhive.data.split import split
from medhive.errors import RefusalError
from medhive.rows import Rows
from medhive.study import Study


def numbered(n: int) -> Rows:
    return Rows(np.arange(n, dtype=np.float64)[:, None], np.zeros(n))


def study(min_rows: int = 1, fraction: float = 0.0) -> Study:
    return Study.model_validate(
        {
            "study": {"name": "s", "outcome": {"column": "y", "event": 1}},
            "run": {"test-fraction": fraction},
            "privacy": {"min-rows": min_rows},
            "features": [{"name": "x", "kind": "continuous"}],
        }
    )


def site_file(tmp_path: Path, n: int) -> Path:
    file = tmp_path / "site.csv"
    file.write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(n)) + ",1\n1,\n")
    return file


@given(n=st.integers(1, 200), fraction=st.floats(0, 0.999), seed=st.integers(0, 2**32 - 1))
def test_a_split_is_disjoint_and_covers_all(n: int, fraction: float, seed: int) -> None:
    """Every row is in one part, in order, and one at least is for training."""
    train, test = split(numbered(n), fraction, seed, "a")
    held_out = [] if test is None else test.X[:, 0].tolist()
    assert sorted(train.X[:, 0].tolist() + held_out) == list(range(n))
    assert train.X[:, 0].tolist() == sorted(train.X[:, 0])
    assert len(train) >= 1
    assert len(held_out) == min(int(n * fraction + 0.5), n - 1)


def test_a_split_depends_on_seed_and_site() -> None:
    """The same seed and site give the same rows; another seed or site gives others."""

    def held_out(seed: int, site: str) -> list[float]:
        _, test = split(numbered(100), 0.3, seed, site)
        assert test is not None
        return test.X[:, 0].tolist()  # type: ignore[no-any-return]

    assert held_out(1, "a") == held_out(1, "a")
    assert held_out(1, "a") != held_out(2, "a")
    assert held_out(1, "a") != held_out(1, "b")


def test_without_a_fraction_training_rows_are_evaluated(tmp_path: Path) -> None:
    """Nothing held out: the evaluation is on the training rows."""
    data = load_site(site_file(tmp_path, 10), study(), "a")
    assert data.test is None
    assert data.evaluation is data.train
    assert (data.n_rows, data.n_dropped, len(data.train)) == (12, 2, 10)
    assert data.missing == {"x": 1, "y": 1}


def test_held_out_rows_are_evaluated(tmp_path: Path) -> None:
    """With a fraction, the evaluation is on the rows held out."""
    data = load_site(site_file(tmp_path, 10), study(fraction=0.25), "a")
    assert len(data.train) == 7
    assert data.test is not None
    assert data.evaluation is data.test
    assert len(data.test) == 3


def test_a_site_with_few_rows_refuses(tmp_path: Path) -> None:
    """Complete training rows count, and the refusal does not tell how many there are."""
    file = site_file(tmp_path, 13)
    assert len(load_site(file, study(min_rows=13), "a").train) == 13
    for too_small in (study(min_rows=14), study(min_rows=14, fraction=0.5)):
        with pytest.raises(RefusalError, match="min-rows") as caught:
            load_site(file, too_small, "a")
        text = f"{caught.value} {caught.value.next_step}"
        assert not any(number in text for number in ("13", "12", "15", "7", "6"))
    with pytest.raises(RefusalError, match="training rows"):
        load_site(file, study(min_rows=13, fraction=0.1), "a")
