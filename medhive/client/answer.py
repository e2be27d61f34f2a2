"""What a site does with a task: check it, compute sums over its rows, answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from pydantic import ValidationError

from medhive.data.site import SiteData
from medhive.errors import Place, ProtocolError, RefusalError
from medhive.flower.wire import Reply, Task
from medhive.learning.registry import ALGORITHMS, EVALUATIONS
from medhive.study import Study
from medhive.sums import Sums

Loader = Callable[[Study], SiteData]
EMPTY = Sums((), np.empty(0))
WITHOUT_DATA = frozenset({"late", "turn-away", "finish", "abort"})
"""Tasks that only tell the site something."""


class Site:
    """One hospital's end of the federation.

    Parameters
    ----------
    name : str
        Name of the site.
    load : callable
        Reads the site's rows for a study; called once a contract.
    pinned : str, optional
        The only contract (SHA-256) that this site works for.
    simulated : bool
        Whether whoever asks has the rows anyway, so that a contract's promise to hide this
        site's sums from the server has nothing to hide.
    """

    def __init__(
        self, name: str, load: Loader, pinned: str | None = None, *, simulated: bool = False
    ) -> None:
        self.name = name
        self._load = load
        self._pinned = pinned
        self._simulated = simulated
        self._loaded: tuple[Study, SiteData] | None = None

    def answer(self, task: Task) -> Reply:
        """Compute the reply to a task.

        Raises
        ------
        ProtocolError
            If the task is not one of this version's.
        RefusalError
            If the site does not take part in what is asked.
        DataError
            If the site's rows break the contract.
        """
        if task.kind in WITHOUT_DATA:
            return self._reply(task, _digest(task.contract), 0, EMPTY)
        study, data = self._prepare(task.contract)
        if task.kind == "join":
            return self._reply(task, study.sha256, len(data.train), EMPTY)
        algorithm = ALGORITHMS.get(task.kind)
        if algorithm is None:
            raise ProtocolError(f'the server asks for "{task.kind}", which is not known here')
        if not all(np.isfinite(value).all() for value in task.state.values()):
            raise RefusalError("the server's model holds numbers that are not finite")
        rows = data.evaluation if task.kind in EVALUATIONS else data.train
        try:
            sums = algorithm.contribute(rows, task.state, study)
        except (KeyError, ValueError, IndexError):
            raise ProtocolError(f'the server\'s "{task.kind}" does not fit the study') from None
        if not np.isfinite(sums.vector).all():
            raise RefusalError("the sums of this site are not finite numbers")
        return self._reply(task, study.sha256, len(data.train), sums)

    def _reply(self, task: Task, contract_sha256: str, n_samples: int, sums: Sums) -> Reply:
        return Reply(
            kind=task.kind,
            round=task.round,
            attempt=task.attempt,
            contract_sha256=contract_sha256,
            site=self.name,
            n_samples=n_samples,
            sums=sums,
        )

    def _prepare(self, contract: str) -> tuple[Study, SiteData]:
        if self._loaded is None or self._loaded[0].canonical != contract:
            try:
                study = Study.model_validate_json(contract)
            except ValidationError:
                raise ProtocolError("the server's study is not a valid contract") from None
            if study.canonical != contract:
                raise ProtocolError("the server's study is not in canonical form")
            if self._pinned is not None and study.sha256 != self._pinned:
                raise RefusalError(
                    f"the server runs another study ({study.study.name},"
                    f" {study.sha256[:12]}) than the one this site agreed to"
                )
            if study.privacy.secure_aggregation and not self._simulated:
                raise RefusalError(
                    "the study promises masked sums, and this version of MedHive sends them"
                    " unmasked inside TLS",
                    place=Place(setting="privacy.secure-aggregation"),
                    next_step="agree on secure-aggregation = false, or wait for a version that"
                    " masks",
                )
            self._loaded = (study, self._load(study))
        return self._loaded


def _digest(contract: str) -> str:
    return hashlib.sha256(contract.encode()).hexdigest()
