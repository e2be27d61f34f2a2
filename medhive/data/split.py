"""The held-out split of a site's rows."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from medhive.rows import Rows


def split(rows: Rows, fraction: float, seed: int, site: str) -> tuple[Rows, Rows | None]:
    """Hold out a share of the rows, the same ones for the same seed and site.

    Parameters
    ----------
    rows : Rows
        At least one row.
    fraction : float
        Share to hold out, in [0, 1); the number of rows is rounded half up, and one row at least
        stays for training.
    seed : int
        The study's seed.
    site : str
        Name of the site, so that sites do not hold out the same row numbers.

    Returns
    -------
    (Rows, Rows or None)
        Training rows and held-out rows, both in their original order; None where no row is held
        out.
    """
    n = len(rows)
    n_test = n_held_out(n, fraction)
    if not n_test:
        return rows, None
    name = int.from_bytes(hashlib.sha256(site.encode()).digest(), "big")
    held_out = np.zeros(n, dtype=np.bool_)
    held_out[np.random.default_rng([seed, name]).permutation(n)[:n_test]] = True
    return _take(rows, ~held_out), _take(rows, held_out)


def n_held_out(n: int, fraction: float) -> int:
    """Return how many of `n` rows are held out."""
    return max(0, min(math.floor(n * fraction + 0.5), n - 1))


def _take(rows: Rows, mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Rows:
    return Rows(rows.X[mask], rows.y[mask])
