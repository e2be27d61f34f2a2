"""Training at one site with scikit-learn's LogisticRegression."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.linalg import LinAlgWarning
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from medhive.learning.objective import Objective, penalties
from medhive.rows import Array
from medhive.study import Run

_MAX_ITER = 10_000


def train(Z: Array, y: Array, params: Array, n: float, run: Run) -> Array:
    r"""Run ``local-epochs`` iterations on one site's rows, from the global parameters.

    The contract's C is meant on the pooled rows: :math:`\sum_{i=1}^{n} \ell_i(w) + \frac1C R(w)`.
    A site with :math:`n_k` of the :math:`n` rows therefore uses :math:`C_k = C\,n / n_k`, that is
    its share :math:`n_k/n` of the penalty, so that the sites' objectives add up to the pooled one:
    :math:`\sum_k \frac{1}{C_k} R(w) = \frac1C \sum_k \frac{n_k}{n} R(w) = \frac1C R(w)`.

    Parameters
    ----------
    Z : ndarray, shape (n_samples, n_features)
        The site's training rows on the scale of training; at least one.
    y : ndarray, shape (n_samples,)
        0 or 1; one class only is allowed.
    params : ndarray, shape (n_features + 1,)
        Global parameters, intercept first.
    n : float
        Number of training rows of all sites.
    run : Run
        Penalty, C, local-epochs and seed.

    Returns
    -------
    ndarray, shape (n_features + 1,)
        The intercept is not penalised.
    """
    l1, l2 = penalties(run, n)
    if l1 > 0.0:
        # scikit-learn's only solver here, saga, forgets its gradients when it is started again,
        # and a few epochs of it end away from the optimum even when they begin there
        return Objective(Z, y, l1=l1, l2=l2).minimise(params, max_iter=run.local_epochs)
    return _fit(
        Z,
        y,
        params,
        C=np.inf if run.penalty == "none" else run.C * n / len(y),
        solver="lbfgs",
        max_iter=run.local_epochs,
        # the number of epochs, not a tolerance, ends local training
        tol=1e-10,
    )


def fit_to_convergence(Z: Array, y: Array, run: Run) -> Array:
    """Return the optimum of the contract's penalty for one data set, with C as it stands.

    Where no finite optimum exists (separated classes, or one class only) the iterations are
    bounded and the numbers returned are finite.

    Parameters
    ----------
    Z : ndarray, shape (n_samples, n_features)
        At least one row.
    y : ndarray, shape (n_samples,)
        0 or 1.
    run : Run
        Penalty and C.

    Returns
    -------
    ndarray, shape (n_features + 1,)
        Intercept first.
    """
    params = np.zeros(Z.shape[1] + 1)
    l1, l2 = penalties(run, len(y))
    if l1 == 0.0:
        C = np.inf if run.penalty == "none" else run.C
        params = _fit(Z, y, params, C=C, solver="newton-cholesky", max_iter=100, tol=1e-12)
    if run.penalty == "none":
        return params
    # newton-cholesky stops early where a weak penalty leaves the Hessian nearly singular, and
    # saga needs very many epochs for an l1 optimum
    return Objective(Z, y, l1=l1, l2=l2).minimise(params, max_iter=_MAX_ITER)


def _fit(Z: Array, y: Array, params: Array, **settings: Any) -> Array:
    """Fit scikit-learn's model from `params`."""
    weights = None
    missing = [label for label in (0.0, 1.0) if not np.any(y == label)]
    if missing:
        # scikit-learn wants both classes: a row of weight zero names the other one
        weights = np.append(np.ones(len(y)), np.zeros(len(missing)))
        Z = np.vstack([Z, np.zeros((len(missing), Z.shape[1]))])
        y = np.append(y, missing)
    model = LogisticRegression(warm_start=True, **settings)
    model.coef_, model.intercept_ = params[None, 1:].copy(), params[:1].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # newton-cholesky says so when it leaves a singular Hessian to lbfgs
        warnings.simplefilter("ignore", LinAlgWarning)
        model.fit(Z, y, sample_weight=weights)
    return np.concatenate([model.intercept_, model.coef_[0]]).astype(np.float64)
