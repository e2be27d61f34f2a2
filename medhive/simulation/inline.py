"""A federation in one process: the same questions, the same answers, no sockets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from medhive.client.answer import Site
from medhive.data.site import load_site
from medhive.errors import FederationError
from medhive.flower.exchange import Answer, Watch
from medhive.flower.wire import Task, decode_reply, decode_task, encode_reply, encode_task
from medhive.learning.algorithm import Algorithm
from medhive.rows import Array
from medhive.server.rounds import Fit, Progress, run_rounds
from medhive.study import Study
from medhive.sums import total


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
    """

    sites: list[Site]
    study: Study
    watch: Watch
    _rows: dict[str, int] = field(default_factory=dict)

    def gather(self) -> Mapping[str, int]:
        """Let every site read its rows; return their training rows.

        Raises
        ------
        FederationError
            If there are fewer sites than the study asks for.
        DataError
            If a site's rows break the contract.
        """
        minimum = self.study.run.min_available_clients
        if len(self.sites) < minimum:
            raise FederationError(
                f"{len(self.sites)} of {minimum} sites are given",
                next_step="add --site NAME=FILE, or lower min-available-clients",
            )
        task = Task("join", 0, 0, self.study.canonical)
        for site in sorted(self.sites, key=lambda site: site.name):
            reply = site.answer(decode_task(encode_task(task)))
            self._rows[reply.site] = reply.n_samples
            self.watch.joined(reply.site, reply.n_samples)
        return dict(self._rows)

    def ask(self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int) -> Answer:
        """Return the total over all sites."""
        data = encode_task(Task(algorithm.name, server_round, 0, self.study.canonical, state))
        parts = [
            decode_reply(encode_reply(site.answer(decode_task(data)))).sums for site in self.sites
        ]
        return Answer(total(parts), dict(self._rows))


def run_inline(study: Study, files: Mapping[str, Path], progress: Seen) -> Fit:
    """Run a study over the files of every site, in this process."""
    sites = [_site(name, path) for name, path in files.items()]
    return run_rounds(study, LocalExchange(sites, study, progress), progress)


def _site(name: str, path: Path) -> Site:
    return Site(name, lambda study: load_site(path, study, name), simulated=True)
