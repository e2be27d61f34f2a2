"""The shipped centres against an independent reading of their files."""

import csv
from pathlib import Path

import numpy as np
import pytest

from medhive.data.bundled import bundled_sites
from medhive.data.site import load_site
from medhive.studyfile import parse_study

COMPLETE = {"cleveland": 303, "hungarian": 261, "switzerland": 46, "va": 130}


def plain(path: Path) -> tuple[list[list[float]], list[float]]:
    """Read complete cases and build indicators with nothing but the csv module."""
    X, y = [], []
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            if any(row[name] == "" for name in row if name not in ("slope", "ca", "thal")):
                continue
            X.append(
                [
                    float(row["age"]),
                    float(row["sex"]),
                    *(float(row["cp"] == level) for level in "234"),
                    *(float(row[name]) for name in ("trestbps", "chol", "fbs")),
                    *(float(row["restecg"] == level) for level in "12"),
                    *(float(row[name]) for name in ("thalach", "exang", "oldpeak")),
                ]
            )
            y.append(float(int(row["num"]) > 0))
    return X, y


@pytest.mark.parametrize("centre", COMPLETE)
def test_a_centre_is_read_as_it_is(centre: str, tmp_path: Path) -> None:
    """Design matrix and outcome of every centre equal those of a plain reading."""
    text, files = bundled_sites("heart-disease", None, 1, tmp_path)
    study = parse_study(text, file="heart-disease.toml")
    data = load_site(files[centre], study, centre)
    X, y = plain(files[centre])
    assert len(data.train) == len(X) == COMPLETE[centre]
    assert data.n_rows - data.n_dropped == COMPLETE[centre]
    np.testing.assert_array_equal(data.train.X, X)
    np.testing.assert_array_equal(data.train.y, y)
    assert data.unused == ("slope", "ca", "thal")
    assert " ".join(term.name for term in study.terms) == (
        "age sex cp[2] cp[3] cp[4] trestbps chol fbs restecg[1] restecg[2] thalach exang oldpeak"
    )


def test_all_centres_together_have_740_complete_cases() -> None:
    """The number of complete cases is that of the published split, 486 + 254."""
    assert sum(COMPLETE.values()) == 740 == 486 + 254
