"""A federation in one process: the same questions, the same answers, no sockets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from medhive.client.answer import Site, Tables
from medhive.data.site import load_site
from medhive.errors import Place, SettingError
from medhive.flower.exchange import Answer, Watch
from medhive.flower.wire import (
    JOIN,
    JOIN_TO_DESCRIBE,
    Reply,
    Task,
    decode_reply,
    decode_task,
    encode_reply,
    encode_task,
)
from medhive.learning.algorithm import Algorithm
from medhive.learning.disclosed import Description
from medhive.rows import Array
from medhive.server.description import describe
from medhive.server.rounds import Fit, Progress, run_rounds
from medhive.study import Study
from medhive.sums import Sums, total


class Seen(Progress, Watch, Protocol):
    """Whoever shows a run: its rounds and its sites."""


@dataclass
class LocalExchange:
    """Ask sites that live in this process.

    Every task and every reply is packed and unpacked as on the wire, so that what works here
    works between machines.

    Parameters
    ----------
    sites : list of Site
    study : Study
    watch : Watch
    join : str
        What sites are asked to take part in.
    """

    sites: list[Site]
    study: Study
    watch: Watch
    join: str = JOIN
    _rows: dict[str, int] = field(default_factory=dict)

    def gather(self) -> Mapping[str, int]:
        """Let every site read its rows; return their training rows.

        Raises
        ------
        SettingError
            If there are fewer sites than the study asks for.
        DataError
            If a site's rows break the contract.
        """
        minimum = self.study.run.min_available_clients
        if len(self.sites) < minimum:
            raise SettingError(
                f"{len(self.sites)} of {minimum} sites are given",
                place=Place(setting="--site"),
                next_step="add --site NAME=FILE, or lower min-available-clients",
            )
        task = Task(self.join, 0, 0, self.study.canonical)
        for site in sorted(self.sites, key=lambda site: site.name):
            reply = site.answer(decode_task(encode_task(task)))
            self._rows[reply.site] = reply.n_samples
            self.watch.joined(reply.site, reply.n_samples)
        return dict(self._rows)

    def ask(self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int) -> Answer:
        """Return the total over all sites."""
        replies = self._replies(algorithm, state, server_round)
        return Answer(total(reply.sums for reply in replies), dict(self._rows))

    def collect(
        self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int
    ) -> Mapping[str, Sums]:
        """Return what each site made ready to be shown by site."""
        return {reply.site: reply.sums for reply in self._replies(algorithm, state, server_round)}

    def _replies(
        self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int
    ) -> list[Reply]:
        data = encode_task(Task(algorithm.name, server_round, 0, self.study.canonical, state))
        return [decode_reply(encode_reply(site.answer(decode_task(data)))) for site in self.sites]


def run_inline(study: Study, files: Mapping[str, Path], progress: Seen) -> Fit:
    """Run a study over the files of every site, in this process."""
    sites = [_site(name, path) for name, path in files.items()]
    return run_rounds(study, LocalExchange(sites, study, progress), progress)


def describe_inline(study: Study, files: Mapping[str, Path], progress: Seen) -> Description:
    """Describe the rows of every site's file, in this process; every site shows its table."""
    sites = [
        Site(
            name,
            partial(load_site, path, site=name),
            simulated=True,
            tables=Tables(allowed=True),
        )
        for name, path in files.items()
    ]
    return describe(study, LocalExchange(sites, study, progress, JOIN_TO_DESCRIBE), progress)


def _site(name: str, path: Path) -> Site:
    return Site(name, partial(load_site, path, site=name), simulated=True)
