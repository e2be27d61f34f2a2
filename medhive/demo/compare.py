"""The demo's last table: the federated model beside each hospital's own and the pooled fit.

Only the demo can make it, because it holds the rows of every site; a federation does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medhive.data.site import SiteData
from medhive.learning import evaluation, scores
from medhive.learning.local import fit_to_convergence
from medhive.learning.registry import ALGORITHMS
from medhive.learning.standardise import moments, standardise, to_clinical
from medhive.rows import Array, Rows
from medhive.study import Study


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted model in clinical units.

    Parameters
    ----------
    params : ndarray, shape (n_terms + 1,)
        Intercept first.
    fill : ndarray, shape (n_terms,)
        What stands for a missing value.
    """

    params: Array
    fill: Array


@dataclass(frozen=True)
class Score:
    """Performance of one model on some rows."""

    accuracy: float
    loss: float
    auc: float


@dataclass(frozen=True)
class Comparison:
    """One line of the table.

    Parameters
    ----------
    site : str
        A site, or ``"all sites"``.
    n_rows : int
        Rows that the models are judged on.
    own : Score or None
        The hospital's own model on its own rows.
    own_elsewhere : Score
        The hospital's own model on the other hospitals' rows.
    federated, pooled : Score
    """

    site: str
    n_rows: int
    own: Score | None
    own_elsewhere: Score | None
    federated: Score
    pooled: Score


def compare(study: Study, sites: Mapping[str, SiteData], federated: Model) -> list[Comparison]:
    """Judge the models site by site and overall.

    Parameters
    ----------
    study : Study
    sites : mapping of str to SiteData
    federated : Model
    """
    pooled = fit(study, join([data.train for data in sites.values()]))
    table: list[Comparison] = []
    for name, data in sites.items():
        own = fit(study, data.train)
        others = join([other.evaluation for key, other in sites.items() if key != name])
        here = data.evaluation
        table.append(
            Comparison(
                site=name,
                n_rows=len(here),
                own=score(own, here, study),
                own_elsewhere=score(own, others, study),
                federated=score(federated, here, study),
                pooled=score(pooled, here, study),
            )
        )
    everyone = join([data.evaluation for data in sites.values()])
    table.append(
        Comparison(
            site="all sites",
            n_rows=len(everyone),
            own=None,
            own_elsewhere=None,
            federated=score(federated, everyone, study),
            pooled=score(pooled, everyone, study),
        )
    )
    return table


def join(parts: list[Rows]) -> Rows:
    """Put rows of several sites together."""
    return Rows(
        np.concatenate([part.X for part in parts]), np.concatenate([part.y for part in parts])
    )


def fit(study: Study, rows: Rows) -> Model:
    """Fit the study's model to some rows until it converges."""
    found = moments(rows, study)
    params = fit_to_convergence(standardise(rows.X, found), rows.y, study.run)
    return Model(to_clinical(params, found["centre"], found["scale"]), found["mean"])


def score(model: Model, rows: Rows, study: Study) -> Score:
    """Return the performance of a model."""
    width = rows.X.shape[1]
    state: dict[str, Array] = {
        "params": model.params,
        "fill": model.fill,
        "centre": np.zeros(width),
        "scale": np.ones(width),
    }
    metrics = evaluation.metrics(ALGORITHMS["evaluate"].contribute(rows, state, study))
    eta = np.unique(evaluation.linear_predictor(rows, state))
    # an edge between every two scores makes the histogram exact
    state["edges"] = (eta[1:] + eta[:-1]) / 2
    area, _ = scores.auc(ALGORITHMS["scores"].contribute(rows, state, study))
    return Score(accuracy=metrics["accuracy"], loss=metrics["loss"], auc=area)
