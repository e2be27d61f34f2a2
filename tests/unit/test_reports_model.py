"""The model as a scikit-learn pipeline."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import skops.io

from medhive.reports.model import input_example, pipeline
from medhive.study import Study
from medhive.studyfile import parse_study

STUDY = """
[study]
name = "heart"
outcome = { column = "num", event = "> 0" }
[[features]]
name = "colour"
kind = "categorical"
levels = ["red", "blue", "green"]
reference = "blue"
[[features]]
name = "age"
kind = "continuous"
[[features]]
name = "cp"
kind = "categorical"
levels = { 10 = "d", 1 = "a", 2 = "b", 3 = "c" }
reference = 2
[[features]]
name = "sex"
kind = "binary"
"""
# (Intercept), colour[red], colour[green], age, cp[10], cp[1], cp[3], sex
PARAMS = np.array([-2.0, 0.4, -0.7, 0.03, 1.0, -0.5, 0.25, 0.6])


@pytest.fixture
def study() -> Study:
    return parse_study(STUDY, file="study.toml")


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cp": [10, 1, 2, 3],
            "unused": list("abcd"),
            "sex": [1, 0, 1, 0],
            "age": [63, 50, 41, 70],
            "colour": ["red", "green", "blue", "blue"],
        }
    )


@pytest.fixture
def by_hand() -> np.ndarray:
    logit = np.array(
        [
            -2 + 0.4 + 0.03 * 63 + 1.0 + 0.6,
            -2 - 0.7 + 0.03 * 50 - 0.5,
            -2 + 0.03 * 41 + 0.6,
            -2 + 0.03 * 70 + 0.25,
        ]
    )
    return 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize(
    "types",
    [{}, {"cp": float}, {"cp": str}, {"cp": object, "colour": object}, {"age": str, "sex": bool}],
)
def test_probabilities_are_those_of_the_formula(
    study: Study, frame: pd.DataFrame, by_hand: np.ndarray, types: dict[str, type]
) -> None:
    """Whatever the order and the types of the columns, the prediction is the logistic formula's."""
    model = pipeline(study, PARAMS)
    given = frame.astype(types)
    np.testing.assert_allclose(model.predict_proba(given)[:, 1], by_hand, rtol=1e-14)
    np.testing.assert_array_equal(model.predict(given), (by_hand > 0.5).astype(int))


def test_the_model_loads_where_medhive_is_not_trusted(
    study: Study, frame: pd.DataFrame, by_hand: np.ndarray
) -> None:
    """The pipeline has scikit-learn's own parts only: skops loads it and trusts nothing else."""
    loaded = skops.io.loads(skops.io.dumps(pipeline(study, PARAMS)), trusted=[])
    np.testing.assert_allclose(loaded.predict_proba(frame)[:, 1], by_hand, rtol=1e-14)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("cp", [10, 1, 2, 9], "unknown categories"),
        ("colour", ["red", "green", "blue", "pink"], "unknown categories .*pink"),
        ("age", [63, 50, 41, np.nan], "NaN"),
        ("cp", [10, 1, 2, np.nan], "NaN"),
        ("age", ["63", "50", "41", "old"], "old"),
    ],
)
def test_rows_outside_the_contract_are_refused(
    study: Study, frame: pd.DataFrame, column: str, values: list[object], words: str
) -> None:
    """An unknown level, a missing value or a word for a number is an error, not a prediction."""
    bad = frame.assign(**{column: values})
    with pytest.raises(ValueError, match=words):
        pipeline(study, PARAMS).predict(bad)


def test_a_missing_column_is_named(study: Study, frame: pd.DataFrame) -> None:
    """Without one of the study's columns the error names it."""
    with pytest.raises(ValueError, match=r"columns are missing.*age"):
        pipeline(study, PARAMS).predict(frame.drop(columns="age"))


def test_the_input_example_is_accepted_and_has_the_columns(study: Study) -> None:
    """The example has the study's columns and the model predicts for it."""
    example = input_example(study)
    assert list(example) == ["colour", "age", "cp", "sex"]
    assert pipeline(study, PARAMS).predict_proba(example).shape == (len(example), 2)


@pytest.mark.parametrize("params", [PARAMS[:-1], [*PARAMS[:-1], np.nan]])
def test_parameters_that_do_not_fit_are_refused(study: Study, params: np.ndarray) -> None:
    """Too few coefficients, or one that is not finite, make no model."""
    with pytest.raises(ValueError, match=r"parameters for|non-finite"):
        pipeline(study, params)
