"""FedProx: FedAvg whose sites are held near the global parameters."""

from __future__ import annotations

import numpy as np

from medhive.learning.algorithm import Algorithm, State
from medhive.learning.fedavg import layout, update, weighted
from medhive.learning.objective import Objective, penalties
from medhive.learning.standardise import standardise
from medhive.rows import Array, Rows
from medhive.study import Run, Study
from medhive.sums import Sums


def train_near(Z: Array, y: Array, params: Array, n: float, run: Run) -> Array:
    r"""Minimise a site's objective plus the proximal term, for ``local-epochs`` iterations.

    Li et al. 2020 (MLSys, eq. 2): :math:`h_k(w) = F_k(w) + \frac\mu2 \lVert w - w^t \rVert^2`,
    where :math:`F_k` is the site's *mean* loss. ``proximal-mu`` thus does not depend on the number
    of rows. The site's share of the penalty (see :func:`medhive.learning.local.train`) divided by
    its rows is the same everywhere: :math:`\frac1{n_k}\cdot\frac{n_k}{n C} R(w) =
    \frac{1}{n C} R(w)`. All parameters are held, the intercept too.

    Parameters and result are those of :func:`medhive.learning.local.train`.
    """
    l1, l2 = penalties(run, n)
    objective = Objective(Z, y, l1=l1, l2=l2, mu=run.proximal_mu or 0.0, anchor=params)
    return objective.minimise(params, max_iter=run.local_epochs)


def _contribute(rows: Rows, state: State, study: Study) -> Sums:
    params = np.zeros(len(study.terms) + 1)
    if len(rows):
        Z = standardise(rows.X, state)
        params = train_near(Z, rows.y, state["params"], float(state["n"]), study.run)
    return weighted(params, len(rows))


FEDPROX = Algorithm("fedprox", layout, _contribute, update)
"""Needs ``params``, ``centre``, ``scale`` and ``n`` (training rows of all sites)."""
