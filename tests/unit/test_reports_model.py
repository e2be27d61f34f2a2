"""The model as a scikit-learn pipeline."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.pipeline import Pipeline

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


MEANS = {
    "colour[red]": 0.2,
    "colour[green]": 0.5,
    "age": 55.5,
    "cp[10]": 0.1,
    "cp[1]": 0.2,
    "cp[3]": 0.4,
    "sex": 0.6,
}


def filled_model(mode: str) -> tuple[Pipeline, dict[str, float]]:
    """Return a model that fills, and its coefficients by term."""
    study = parse_study(STUDY, file="study.toml", run_config={"missing": mode})
    names = [term.name for term in study.terms]
    weight = dict(zip(names, np.linspace(-0.9, 0.8, len(names)), strict=True))
    fill = [MEANS.get(name, 0.05) for name in names]
    return pipeline(study, [0.3, *weight.values()], fill), weight


def log_odds(row: dict[str, object], weight: dict[str, float]) -> float:
    """Compute the log-odds of one row by hand, with None for a missing value."""
    found = 0.3
    for feature, levels in {
        "colour": ("red", "green"), "cp": ("10", "1", "3"), "age": None, "sex": None
    }.items():  # fmt: skip
        value = row[feature]
        names = [feature] if levels is None else [f"{feature}[{level}]" for level in levels]
        for name in names:
            if value is None:
                x = MEANS[name]
            else:
                x = float(value) if levels is None else float(name == f"{feature}[{value}]")  # type: ignore[arg-type]
            found += weight[name] * x
        if value is None:
            found += weight.get(f"{feature}[missing]", 0.0)
    return found


INCOMPLETE: list[dict[str, object]] = [
    {"colour": "red", "age": 63, "cp": 10, "sex": 1},
    {"colour": None, "age": 50, "cp": 1, "sex": 0},
    {"colour": "blue", "age": None, "cp": 2, "sex": 1},
    {"colour": "green", "age": 41, "cp": None, "sex": 0},
    {"colour": "blue", "age": 70, "cp": 3, "sex": None},
    {"colour": None, "age": None, "cp": None, "sex": None},
]


@pytest.mark.parametrize("mode", ["mean", "indicator"])
@pytest.mark.parametrize(
    "types",
    [{}, dict.fromkeys(("cp", "colour", "age", "sex"), object), {"cp": "Int64", "sex": "boolean"}],
)
def test_missing_values_are_filled_as_in_training(mode: str, types: dict[str, type]) -> None:
    """A missing value counts as the mean, of a level as its share, plus the term that says so."""
    model, weight = filled_model(mode)
    frame = pd.DataFrame(INCOMPLETE).astype(types)
    expected = [1 / (1 + np.exp(-log_odds(row, weight))) for row in INCOMPLETE]
    for each in (
        frame,
        frame.assign(colour=frame["colour"].where(frame["colour"].notna(), np.nan)),
    ):
        np.testing.assert_allclose(model.predict_proba(each)[:, 1], expected, rtol=1e-13)
    alone = [model.predict_proba(frame.iloc[[i]])[0, 1] for i in range(len(frame))]
    np.testing.assert_allclose(alone, expected, rtol=1e-13)
    trusted = skops.io.loads(skops.io.dumps(model), trusted=[])
    np.testing.assert_allclose(trusted.predict_proba(frame)[:, 1], expected, rtol=1e-13)


@pytest.mark.parametrize("mode", ["mean", "indicator"])
@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("cp", 9, "unknown categories"),
        ("colour", "pink", "unknown categories .*pink"),
        ("age", np.inf, "infinity"),
        ("age", "old", "old"),
    ],
)
def test_a_model_that_fills_still_refuses_what_is_wrong(
    mode: str, column: str, value: object, words: str
) -> None:
    """Only a missing value is filled, not an unknown level or a word."""
    model, _ = filled_model(mode)
    with pytest.raises(ValueError, match=words):
        model.predict(pd.DataFrame([{**INCOMPLETE[0], column: value}]))


@pytest.mark.parametrize("fill", [None, [0.1] * 6, [*[0.1] * 6, np.nan]])
def test_a_model_that_fills_needs_every_mean(fill: list[float] | None) -> None:
    """Without a finite mean for each term there is nothing to fill with."""
    study = parse_study(STUDY, file="study.toml", run_config={"missing": "mean"})
    with pytest.raises(ValueError, match="needs 7 means"):
        pipeline(study, PARAMS, fill)


def test_the_input_example_of_a_model_that_fills_has_an_empty_row() -> None:
    """The example shows that values may be missing, and the model predicts for it."""
    study = parse_study(STUDY, file="study.toml", run_config={"missing": "indicator"})
    example = input_example(study)
    assert example.iloc[-1].isna().all()
    assert not example.iloc[:-1].isna().to_numpy().any()
    model, _ = filled_model("indicator")
    assert np.isfinite(model.predict_proba(example)).all()
