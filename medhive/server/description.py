"""Describing a study: the passes over all sites, and what is shown of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from medhive.errors import FederationError
from medhive.flower.exchange import Answer
from medhive.learning import describe as passes
from medhive.learning.algorithm import Algorithm
from medhive.learning.disclosed import Description, disclose
from medhive.learning.sitetable import SITE_TABLE
from medhive.rows import Array
from medhive.study import Study
from medhive.sums import Sums

STARTS = 5
"""How often the passes may begin again because a site left or came back between them."""


class Exchange(Protocol):
    """Whoever puts a question to all sites."""

    def gather(self) -> Mapping[str, int]:
        """Wait for the sites that take part."""

    def ask(self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int) -> Answer:
        """Return the total of one question."""

    def collect(
        self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int
    ) -> Mapping[str, Sums]:
        """Return what each site made ready to be shown by site."""


class Progress(Protocol):
    """Hears how far the description is."""

    def phase(self, name: str) -> None:
        """Take note that a pass begins."""


def describe(study: Study, exchange: Exchange, progress: Progress) -> Description:
    """Describe the rows of all sites.

    Raises
    ------
    FederationError
        If too few sites take part, or the same ones never stayed for all passes.
    """
    progress.phase("sites")
    exchange.gather()
    for _ in range(STARTS):
        found = _describe_once(study, exchange, progress)
        if found is not None:
            return found
    raise FederationError(
        f"in {STARTS} attempts, never did the same sites answer all questions",
        next_step="run it again when the sites' connections are steady",
    )


def _describe_once(study: Study, exchange: Exchange, progress: Progress) -> Description | None:
    """Return the description, or None if the sites changed between two passes."""
    progress.phase("counts")
    answer = exchange.ask(passes.COUNTS, {}, 0)
    sites = answer.sites
    state = passes.COUNTS.update({}, answer.total, study)
    progress.phase("spread")
    answer = exchange.ask(passes.SPREAD, {"group_mean": state["group_mean"]}, 0)
    if answer.sites != sites:
        return None
    state = passes.SPREAD.update(state, answer.total, study)
    for number in range(passes.PASSES):
        progress.phase("quantiles")
        if number:
            state["edges"] = passes.refine(state)
        answer = exchange.ask(passes.HISTOGRAM, {"edges": state["edges"]}, 0)
        if answer.sites != sites:
            return None
        state = passes.HISTOGRAM.update(state, answer.total, study)
        if _is_fine(study, state):
            break
    progress.phase("site tables")
    replies = exchange.collect(SITE_TABLE, {}, 0)
    if set(replies) != set(sites):
        return None
    return disclose(study, state, replies)


def _is_fine(study: Study, state: Mapping[str, Array]) -> bool:
    """Say whether every quantile's error bound is small beside the standard deviation."""
    groups = passes.moments(state)
    for place, group in enumerate((0, 1, None)):
        goal = passes.GOAL * np.nan_to_num(groups[place].sd)
        for q in passes.QUANTILES:
            if (passes.quantile(state, q, group).error > goal).any():
                return False
    return True
