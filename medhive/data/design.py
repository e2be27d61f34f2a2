"""From checked columns to the design matrix."""

from __future__ import annotations

import numpy as np

from medhive.data.check import Checked
from medhive.rows import Rows
from medhive.study import Study


def design(checked: Checked, study: Study, *, keep_missing: bool = False) -> Rows:
    """Build the rows of the model in clinical units: complete cases, where the study drops others.

    Parameters
    ----------
    checked : Checked
    study : Study
    keep_missing : bool
        Keep every row whose outcome is known, as a study that fills missing values does anyway.

    Returns
    -------
    Rows
        ``X`` has one column a term of ``study.terms``, C-contiguous, whatever the file's column
        order; a categorical feature gives an indicator for every level but the reference. Where
        a feature has no value, its terms are NaN, `INVALID` or `ABSENT`, but the one that says so.
    """
    outcome = checked.values[study.study.outcome.column]
    drop = study.run.missing == "drop" and not keep_missing
    keep = checked.complete if drop else ~np.isnan(outcome)
    positions = {
        (feature.name, level): number
        for feature in study.features
        for number, level in enumerate(feature.codes)
    }
    X = np.empty((int(np.count_nonzero(keep)), len(study.terms)))
    for j, term in enumerate(study.terms):
        values = checked.values[term.feature][keep]
        X[:, j] = ~np.isfinite(values) if term.missing else values
        if term.level is not None:
            known = np.isfinite(values)
            X[known, j] = values[known] == positions[term.feature, term.level]
    return Rows(X, outcome[keep])
