"""The rows of a site as the algorithms see them. Rows never leave the site."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

INVALID, ABSENT = np.inf, -np.inf
"""Stand in rows that are described, beside NaN for a missing value: for a value that breaks the
contract, and for every value of a column that the site does not have."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Design matrix and outcome of one site, in clinical units.

    Parameters
    ----------
    X : ndarray, shape (n_samples, n_features)
        One column a model term, without the intercept, in the order of ``Study.terms``. Finite,
        but NaN where a value is missing and the study does not drop the row; for rows that are
        described see `INVALID`.
    y : ndarray, shape (n_samples,)
        1.0 where the outcome event occurred, else 0.0.
    """

    X: Array
    y: Array

    def __post_init__(self) -> None:
        if self.X.ndim != 2 or self.y.shape != (len(self.X),):
            raise ValueError(f"X {self.X.shape} and y {self.y.shape} do not fit together")

    def __len__(self) -> int:
        return len(self.y)
