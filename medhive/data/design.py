"""From checked columns to the design matrix."""

from __future__ import annotations

import numpy as np

from medhive.data.check import Checked
from medhive.rows import Rows
from medhive.study import Study


def design(checked: Checked, study: Study) -> Rows:
    """Build the rows of the complete cases, in clinical units.

    Parameters
    ----------
    checked : Checked
    study : Study

    Returns
    -------
    Rows
        ``X`` has one column a term of ``study.terms``, C-contiguous, whatever the file's column
        order; a categorical feature gives an indicator for every level but the reference.
    """
    keep = checked.complete
    positions = {
        (feature.name, level): number
        for feature in study.features
        for number, level in enumerate(feature.codes)
    }
    X = np.empty((int(np.count_nonzero(keep)), len(study.terms)))
    for j, term in enumerate(study.terms):
        values = checked.values[term.feature][keep]
        X[:, j] = values if term.level is None else values == positions[term.feature, term.level]
    return Rows(X, checked.values[study.study.outcome.column][keep])
