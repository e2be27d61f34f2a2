"""The penalised mean log-loss of logistic regression, and its minimum by L-BFGS-B."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from medhive.rows import Array
from medhive.study import Run


@dataclass(frozen=True, eq=False)
class Objective:
    r"""Mean log-loss, elastic-net penalty and a proximal term.

    .. math::
        F(w) = \frac1n \sum_i \left[\log(1 + e^{\eta_i}) - y_i \eta_i\right]
             + \lambda_1 \lVert w_{1:} \rVert_1 + \frac{\lambda_2}2 \lVert w_{1:} \rVert_2^2
             + \frac{\mu}2 \lVert w - a \rVert_2^2, \qquad \eta = w_0 + Z w_{1:}

    Parameters
    ----------
    Z : ndarray, shape (n_samples, n_features)
        At least one row.
    y : ndarray, shape (n_samples,)
        0 or 1.
    l1, l2 : float
        Penalties on the coefficients; the intercept has none.
    mu : float
        Pull to `anchor`, on all parameters.
    anchor : ndarray, shape (n_features + 1,), optional
        Needed where `mu` is not zero.
    """

    Z: Array
    y: Array
    l1: float = 0.0
    l2: float = 0.0
    mu: float = 0.0
    anchor: Array | None = None

    def smooth(self, w: Array) -> tuple[float, Array]:
        """Return value and gradient of everything but the l1 penalty."""
        eta = w[0] + self.Z @ w[1:]
        residual = (expit(eta) - self.y) / len(self.y)
        value = float(np.mean(np.logaddexp(0.0, eta) - self.y * eta))
        gradient = np.concatenate([[residual.sum()], residual @ self.Z])
        value += self.l2 / 2 * float(w[1:] @ w[1:])
        gradient[1:] += self.l2 * w[1:]
        if self.anchor is not None:
            away = w - self.anchor
            value += self.mu / 2 * float(away @ away)
            gradient += self.mu * away
        return value, gradient

    def _split(self, v: Array) -> tuple[float, Array]:
        """Return value and gradient with the coefficients written as ``plus - minus``, both >= 0.

        The l1 norm is then the plain sum of both parts (Schmidt, Fung and Rosales 2007).
        """
        p = self.Z.shape[1]
        intercept, plus, minus = v[:1], v[1 : p + 1], v[p + 1 :]
        value, gradient = self.smooth(np.concatenate([intercept, plus - minus]))
        value += self.l1 * float(plus.sum() + minus.sum())
        gradient = np.concatenate([gradient, -gradient[1:]])
        gradient[1:] += self.l1
        return value, gradient

    def minimise(self, start: Array, *, max_iter: int, tol: float = 1e-10) -> Array:
        """Return the parameters after at most `max_iter` iterations of L-BFGS-B from `start`.

        `tol` bounds the largest element of the (projected) gradient.
        """
        # the memory is as long as most models, so that the last digits come quickly too
        options: dict[str, float] = {"maxiter": max_iter, "maxfun": 50 * max_iter, "maxls": 50}
        options |= {"maxcor": 30, "gtol": tol, "ftol": 0.0}
        if self.l1 == 0.0:
            found = minimize(self.smooth, start, jac=True, method="L-BFGS-B", options=options)
            return np.asarray(found.x, dtype=np.float64)
        p = self.Z.shape[1]
        begin = np.concatenate([start[:1], np.maximum(start[1:], 0), np.maximum(-start[1:], 0)])
        bounds = [(None, None)] + [(0.0, None)] * (2 * p)
        found = minimize(
            self._split, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options
        )
        return np.concatenate([found.x[:1], found.x[1 : p + 1] - found.x[p + 1 :]])


def l1_ratio(run: Run) -> float:
    """Return the l1 share of the contract's penalty, as scikit-learn means it."""
    if run.penalty == "elasticnet":
        return 0.5 if run.l1_ratio is None else run.l1_ratio
    return 1.0 if run.penalty == "l1" else 0.0


def penalties(run: Run, n: float) -> tuple[float, float]:
    """Return the weights (l1, l2) of the contract's penalty in a mean loss over `n` pooled rows."""
    if run.penalty == "none":
        return 0.0, 0.0
    strength = 1.0 / (run.C * n)
    return strength * l1_ratio(run), strength * (1.0 - l1_ratio(run))
