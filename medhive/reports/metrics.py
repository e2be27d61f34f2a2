"""Names and values of the metrics of a round."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from hashlib import sha256

_UNSAFE = re.compile(r"[^A-Za-z0-9_. -]")
_LONGEST = 100


def metric_name(prefix: str, site: str) -> str:
    """Return ``prefix/site`` with a site's name as MLflow can take it.

    Letters, digits, ``_``, ``-``, ``.`` and spaces stay; two sites never share a name.
    """
    safe = _UNSAFE.sub("_", site)[:_LONGEST]
    if safe != site or not safe.strip("."):
        safe = f"{safe.strip('.')}-{sha256(site.encode()).hexdigest()[:8]}"
    return f"{prefix}/{safe}"


def round_metrics(
    *,
    loss: float | None,
    accuracy: float | None,
    n_samples: int,
    participants: Collection[str],
    absent: Collection[str] = (),
    site_samples: Mapping[str, int] | None = None,
    rounds_completed: int,
    seconds: float,
) -> dict[str, float]:
    """Return the metrics of one round for `Tracking.round`.

    Parameters
    ----------
    loss, accuracy : float or None
        Of the model after the round; None where the round did not evaluate.
    n_samples : int
        Rows of all sites that took part.
    participants, absent : collections of str
        Sites that took part, and sites that were asked or known and did not.
    site_samples : mapping, optional
        Rows of each site, where the study lets them be known.
    rounds_completed : int
    seconds : float
        Duration of the round.
    """
    metrics: dict[str, float] = {
        "participants": len(participants),
        "rounds_completed": rounds_completed,
        "n_samples": n_samples,
        "seconds": seconds,
    }
    if loss is not None:
        metrics["loss"] = loss
    if accuracy is not None:
        metrics["accuracy"] = accuracy
    metrics |= {metric_name("participation", site): 0.0 for site in absent}
    metrics |= {metric_name("participation", site): 1.0 for site in participants}
    metrics |= {metric_name("n_samples", site): n for site, n in (site_samples or {}).items()}
    return metrics
