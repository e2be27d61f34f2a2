"""Describing rows in memory, as sites and server do it together."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from medhive.flower.exchange import Answer
from medhive.learning.algorithm import Algorithm
from medhive.learning.disclosed import Description
from medhive.learning.sitetable import site_table, withheld
from medhive.rows import Array, Rows
from medhive.server.description import describe
from medhive.study import Study
from medhive.sums import Sums, total


class InMemory:
    """Sites that are rows."""

    def __init__(self, study: Study, sites: Mapping[str, Rows], closed: Collection[str]) -> None:
        self.study, self.sites, self.closed = study, dict(sites), closed
        self.passes: list[str] = []

    def gather(self) -> Mapping[str, int]:
        return {name: len(rows) for name, rows in self.sites.items()}

    def ask(self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int) -> Answer:
        self.passes.append(algorithm.name)
        parts = [algorithm.contribute(rows, state, self.study) for rows in self.sites.values()]
        assert all(part.layout == algorithm.layout(state, self.study) for part in parts)
        assert all(np.isfinite(part.vector).all() for part in parts)
        return Answer(total(parts), self.gather())

    def collect(
        self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int
    ) -> Mapping[str, Sums]:
        floor = self.study.privacy.min_cell
        replies = {
            name: (withheld if name in self.closed else site_table)(rows, self.study, floor)
            for name, rows in self.sites.items()
        }
        assert all(each.layout == algorithm.layout(state, self.study) for each in replies.values())
        return replies

    def phase(self, name: str) -> None:
        pass


def describe_rows(
    study: Study, sites: Mapping[str, Rows], closed: Collection[str] = ()
) -> Description:
    """Describe the rows of some sites, of which the closed ones show no table of their own."""
    exchange = InMemory(study, sites, closed)
    return describe(study, exchange, exchange)
