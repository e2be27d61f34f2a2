"""From checked columns to the design matrix."""

from __future__ import annotations

import numpy as np

from medhive.data.check import Checked
from medhive.rows import Rows
from medhive.study import Study


def design(checked: Checked, study: Study, *, keep_missing: bool = False) -> Rows:
    """Build the rows of the complete cases, in clinical units.

    Parameters
    ----------
    checked : Checked
    study : Study
    keep_missing : bool
        Keep every row whose outcome is known; where a feature has no value, all of its terms are
        NaN, `INVALID` or `ABSENT`.

    Returns
    -------
    Rows
        ``X`` has one column a term of ``study.terms``, C-contiguous, whatever the file's column
        order; a categorical feature gives an indicator for every level but the reference.
    """
    outcome = checked.values[study.study.outcome.column]
    keep = ~np.isnan(outcome) if keep_missing else checked.complete
    positions = {
        (feature.name, level): number
        for feature in study.features
        for number, level in enumerate(feature.codes)
    }
    X = np.empty((int(np.count_nonzero(keep)), len(study.terms)))
    for j, term in enumerate(study.terms):
        values = checked.values[term.feature][keep]
        X[:, j] = values
        if term.level is not None:
            known = np.isfinite(values)
            X[known, j] = values[known] == positions[term.feature, term.level]
    return Rows(X, outcome[keep])
