"""The fitted model as a scikit-learn pipeline that reads rows in clinical units."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from medhive.study import INTERCEPT, Feature, Study

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

EXAMPLE_ROWS = 5


def pipeline(study: Study, params: ArrayLike) -> Pipeline:
    """Build the model without any row: scikit-learn's parts, filled with the coefficients.

    Parameters
    ----------
    study : Study
    params : array_like, shape (1 + n_terms,)
        The intercept, then the coefficients in the order of ``study.terms``, in clinical units.

    Returns
    -------
    Pipeline
        Takes a data frame with the study's feature columns, in any order and with others
        beside them; numeric codes may be numbers or text. ``predict`` gives 0 or 1,
        ``predict_proba`` the probabilities of 0 and 1. A level that the study does not have,
        or a missing value, is a ValueError.

    Raises
    ------
    ValueError
        If the parameters are not as many as the terms, or not finite.
    """
    values = np.asarray(params, dtype=np.float64)
    names = [INTERCEPT, *(term.name for term in study.terms)]
    if values.shape != (len(names),):
        raise ValueError(f"{values.shape} parameters for the {len(names)} terms {names}")
    if not np.isfinite(values).all():
        raise ValueError("a model with non-finite coefficients predicts nothing")
    weight = dict(zip(names, values, strict=True))

    columns = ColumnTransformer(
        [(f"x{i}", _encoder(feature), [feature.name]) for i, feature in enumerate(study.features)],
        sparse_threshold=0.0,
        verbose_feature_names_out=False,
    )
    # every level is in the contract, so the example rows teach the encoders nothing
    columns.fit(input_example(study))

    model = LogisticRegression()
    model.classes_ = np.array([0, 1])
    model.intercept_ = np.array([weight[INTERCEPT]])
    model.coef_ = np.array([[weight[name] for name in _column_order(study)]])
    model.n_features_in_ = model.coef_.shape[1]
    return Pipeline([("columns", columns), ("model", model)])


def input_example(study: Study) -> pd.DataFrame:
    """Return invented rows that the model accepts: from the contract alone, no patient's."""
    import pandas as pd

    return pd.DataFrame({feature.name: _example(feature) for feature in study.features})


def codes_are_numbers(feature: Feature) -> bool:
    """Say whether every level of a feature has a number as its code."""
    try:
        return all(math.isfinite(float(level)) for level in feature.codes)
    except ValueError:
        return False


def _encoder(feature: Feature) -> FunctionTransformer | OneHotEncoder | Pipeline:
    # an identity that checks: numbers written as text become numbers, nan is refused
    numbers = FunctionTransformer(validate=True, feature_names_out="one-to-one")
    if feature.kind != "categorical":
        return numbers
    reference = (set(feature.codes) - set(feature.indicators)).pop()
    numeric = codes_are_numbers(feature)
    kind = np.float64 if numeric else object
    levels = OneHotEncoder(
        categories=[np.array(_encoded_levels(feature), dtype=kind)],
        drop=np.array([reference], dtype=kind),
        handle_unknown="error",
        sparse_output=False,
    )
    return Pipeline([("numbers", numbers), ("levels", levels)]) if numeric else levels


def _encoded_levels(feature: Feature) -> list[str]:
    # scikit-learn wants numeric categories in ascending order
    return sorted(feature.codes, key=float) if codes_are_numbers(feature) else list(feature.codes)


def _column_order(study: Study) -> list[str]:
    """Return the terms in the order in which the encoders give their columns."""
    names: list[str] = []
    for feature in study.features:
        if feature.kind == "categorical":
            levels = [level for level in _encoded_levels(feature) if level in feature.indicators]
            names += [f"{feature.name}[{level}]" for level in levels]
        else:
            names.append(feature.name)
    return names


def _example(feature: Feature) -> list[float] | list[str]:
    rows = range(EXAMPLE_ROWS)
    if feature.kind == "binary":
        return [float(i % 2) for i in rows]
    if feature.kind == "categorical":
        levels = [feature.codes[i % len(feature.codes)] for i in rows]
        return [float(level) for level in levels] if codes_are_numbers(feature) else levels
    low, high = feature.range or (0.0, 1.0)
    return [low + (high - low) * i / (EXAMPLE_ROWS - 1) for i in rows]
