"""The fitted model as a scikit-learn pipeline that reads rows in clinical units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from sklearn.compose import ColumnTransformer
from sklearn.impute import KNNImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from medhive.study import INTERCEPT, Feature, Study

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

EXAMPLE_ROWS = 5


def pipeline(study: Study, params: ArrayLike, fill: ArrayLike | None = None) -> Pipeline:
    """Build the model without any row: scikit-learn's parts, filled with the coefficients.

    Parameters
    ----------
    study : Study
    params : array_like, shape (1 + n_terms,)
        The intercept, then the coefficients in the order of ``study.terms``, in clinical units.
    fill : array_like, shape (n_terms,), optional
        What stands for a missing value of each term: its mean in training, in clinical units.
        Needed where the study fills missing values.

    Returns
    -------
    Pipeline
        Takes a data frame with the study's feature columns, in any order and with others
        beside them; numeric codes may be numbers or text. ``predict`` gives 0 or 1,
        ``predict_proba`` the probabilities of 0 and 1. A missing value is filled as in training.
        A level that the study does not have, or a missing value where the study drops rows, is a
        ValueError.

    Raises
    ------
    ValueError
        If parameters or fill are not as many as the terms, or not finite.
    """
    values = np.asarray(params, dtype=np.float64)
    names = [INTERCEPT, *(term.name for term in study.terms)]
    if values.shape != (len(names),):
        raise ValueError(f"{values.shape} parameters for the {len(names)} terms {names}")
    if not np.isfinite(values).all():
        raise ValueError("a model with non-finite coefficients predicts nothing")
    weight = dict(zip(names, values, strict=True))
    means = _means(study, fill)

    columns = ColumnTransformer(
        [
            (f"x{i}", _encoder(study, feature), [feature.name])
            for i, feature in enumerate(study.features)
        ],
        sparse_threshold=0.0,
        verbose_feature_names_out=False,
    )
    # every level is in the contract, so the rows teach the encoders nothing but the means
    columns.fit(_lesson(study, means))

    model = LogisticRegression()
    model.classes_ = np.array([0, 1])
    model.intercept_ = np.array([weight[INTERCEPT]])
    model.coef_ = np.array([_coefficients(study, weight, means)])
    model.n_features_in_ = model.coef_.shape[1]
    return Pipeline([("columns", columns), ("model", model)])


def input_example(study: Study) -> pd.DataFrame:
    """Return invented rows that the model accepts: from the contract alone, no patient's.

    Where the study fills missing values, the last row has none.
    """
    import pandas as pd

    empty = [] if study.run.missing == "drop" else [None]
    return pd.DataFrame({feature.name: [*_example(feature), *empty] for feature in study.features})


def codes_are_numbers(feature: Feature) -> bool:
    """Say whether every level of a feature has a number as its code."""
    try:
        return all(math.isfinite(float(level)) for level in feature.codes)
    except ValueError:
        return False


def _means(study: Study, fill: ArrayLike | None) -> dict[str, float]:
    """Return what stands for a missing value, by term; nothing where rows are dropped."""
    if study.run.missing == "drop":
        return {}
    values = np.asarray([] if fill is None else fill, dtype=np.float64)
    if values.shape != (len(study.terms),) or not np.isfinite(values).all():
        raise ValueError(f"the study fills missing values: it needs {len(study.terms)} means")
    return {term.name: float(mean) for term, mean in zip(study.terms, values, strict=True)}


def _lesson(study: Study, means: Mapping[str, float]) -> pd.DataFrame:
    """Return the rows that the encoders are fitted on: the means, and nothing, where they fill."""
    rows = input_example(study)
    for feature in study.features:
        if feature.name in means:
            rows[feature.name] = [means[feature.name]] + [np.nan] * (len(rows) - 1)
    return rows


def _encoder(
    study: Study, feature: Feature
) -> FunctionTransformer | KNNImputer | OneHotEncoder | Pipeline:
    drop = study.run.missing == "drop"
    if feature.kind != "categorical":
        # with a single column no row is near another, and it fills in the mean of the known values
        # that it was fitted on; SimpleImputer would keep a dtype, which skops does not trust
        where = study.run.missing == "indicator"
        return _checked() if drop else KNNImputer(n_neighbors=1, add_indicator=where)
    reference = (set(feature.codes) - set(feature.indicators)).pop()
    numeric = codes_are_numbers(feature)
    kind = np.float64 if numeric else object
    # in text a missing value is None or nan, which scikit-learn tells apart
    missing = [] if drop else [np.nan] if numeric else [None, np.nan]
    levels = OneHotEncoder(
        categories=[np.array([*_encoded_levels(feature), *missing], dtype=kind)],
        drop=np.array([reference], dtype=kind),
        handle_unknown="error",
        sparse_output=False,
    )
    if not numeric:
        return levels
    # without mean and sd an identity too, that lets nan pass
    numbers = _checked() if drop else StandardScaler(with_mean=False, with_std=False)
    return Pipeline([("numbers", numbers), ("levels", levels)])


def _checked() -> FunctionTransformer:
    """Return an identity that checks: numbers in text become numbers, nan is refused."""
    return FunctionTransformer(validate=True, feature_names_out="one-to-one")


def _encoded_levels(feature: Feature) -> list[str]:
    # scikit-learn wants numeric categories in ascending order
    return sorted(feature.codes, key=float) if codes_are_numbers(feature) else list(feature.codes)


def _coefficients(
    study: Study, weight: Mapping[str, float], means: Mapping[str, float]
) -> list[float]:
    """Return the coefficients in the order in which the encoders give their columns.

    Of a categorical feature, missing is a level like others; its coefficient is what the means of
    the indicators contribute, and the term that says that the value is missing.
    """
    found: list[float] = []
    for feature in study.features:
        where = [weight[f"{feature.name}[missing]"]] if study.run.missing == "indicator" else []
        if feature.kind != "categorical":
            found += [weight[feature.name], *where]
            continue
        levels = [level for level in _encoded_levels(feature) if level in feature.indicators]
        names = [f"{feature.name}[{level}]" for level in levels]
        found += [weight[name] for name in names]
        if means:
            filled = sum(weight[name] * means[name] for name in names) + sum(where)
            found += [filled] * (1 if codes_are_numbers(feature) else 2)
    return found


def _example(feature: Feature) -> list[float] | list[str]:
    rows = range(EXAMPLE_ROWS)
    if feature.kind == "binary":
        return [float(i % 2) for i in rows]
    if feature.kind == "categorical":
        levels = [feature.codes[i % len(feature.codes)] for i in rows]
        return [float(level) for level in levels] if codes_are_numbers(feature) else levels
    low, high = feature.range or (0.0, 1.0)
    return [low + (high - low) * i / (EXAMPLE_ROWS - 1) for i in rows]
