"""The algorithms by name."""

from __future__ import annotations

from collections.abc import Mapping

from medhive.learning import describe
from medhive.learning.algorithm import Algorithm
from medhive.learning.evaluation import EVALUATE
from medhive.learning.fedavg import FEDAVG
from medhive.learning.fedprox import FEDPROX
from medhive.learning.missingness import MISSING, MISSING_BY_SITE
from medhive.learning.scores import SCORES
from medhive.learning.sitetable import SITE_TABLE
from medhive.learning.standardise import MOMENTS, SPREAD
from medhive.study import Run

_DESCRIBING = (describe.COUNTS, describe.SPREAD, describe.HISTOGRAM, SITE_TABLE)

_FITTING = (MISSING, MISSING_BY_SITE, MOMENTS, SPREAD, FEDAVG, FEDPROX, EVALUATE, SCORES)

ALGORITHMS: Mapping[str, Algorithm] = {each.name: each for each in (*_FITTING, *_DESCRIBING)}
"""What a site can be asked to contribute to, by the name in the message."""

TRAININGS = frozenset({FEDAVG.name, FEDPROX.name})
"""Algorithms that a site runs on its training rows to change the model."""

EVALUATIONS = frozenset({EVALUATE.name, SCORES.name})
"""Algorithms that a site runs on its evaluation rows."""

DESCRIPTIONS = frozenset(each.name for each in _DESCRIBING)
"""Algorithms that a site runs on all rows whose outcome is known, with their missing values."""


def training_algorithm(run: Run) -> Algorithm:
    """Return the algorithm that trains under ``run.strategy``.

    The adaptive strategies differ from FedAvg only in what the server does with the average.
    """
    return FEDPROX if run.strategy == "fedprox" else FEDAVG
