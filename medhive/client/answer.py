"""What a site does with a task: check it, compute sums over its rows, answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from medhive.data.site import Loader, SiteData
from medhive.errors import Place, ProtocolError, RefusalError
from medhive.flower.wire import JOIN, JOIN_TO_DESCRIBE, Reply, Task
from medhive.learning.algorithm import Algorithm
from medhive.learning.missingness import MISSING, MISSING_BY_SITE, counted, counted_for_itself
from medhive.learning.registry import ALGORITHMS, DESCRIPTIONS, EVALUATIONS
from medhive.learning.sitetable import SITE_TABLE, site_table, withheld
from medhive.privacy.disclosure import FLOOR
from medhive.study import Study
from medhive.sums import Sums

EMPTY = Sums((), np.empty(0))
WITHOUT_DATA = frozenset({"late", "turn-away", "finish", "abort"})
"""Tasks that only tell the site something."""


@dataclass(frozen=True)
class Tables:
    """What a site shows of itself when a study is described.

    Parameters
    ----------
    allowed : bool
        Whether it shows a table of its own at all; its site file may allow it as well.
    min_cell : int
        Smallest count, but zero, that it shows; the contract's and the site file's hold where they
        are higher.
    """

    allowed: bool = False
    min_cell: int = FLOOR


class Site:
    """One hospital's end of the federation.

    Parameters
    ----------
    name : str
        Name of the site.
    load : Loader
        Called once a contract, and again when the rows are described.
    pinned : str, optional
        The only contract (SHA-256) that this site works for.
    simulated : bool
        Whether whoever asks has the rows anyway, so that a contract's promise to hide this
        site's sums from the server has nothing to hide.
    tables : Tables
        What the site shows of itself when a study is described.
    """

    def __init__(
        self,
        name: str,
        load: Loader,
        pinned: str | None = None,
        *,
        simulated: bool = False,
        tables: Tables | None = None,
    ) -> None:
        self.name = name
        self._load = load
        self._pinned = pinned
        self._simulated = simulated
        self._tables = tables or Tables()
        self._loaded: tuple[Study, SiteData] | None = None
        self._describing = False

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
        describing = task.kind == JOIN_TO_DESCRIBE or task.kind in DESCRIPTIONS
        study, data = self._prepare(task.contract, describing)
        most = data.limits.max_rounds
        if most is not None and task.round > most:
            raise RefusalError("the server asks for more rounds than this site's own limit")
        if task.kind in (JOIN, JOIN_TO_DESCRIBE):
            return self._reply(task, study.sha256, len(data.train), EMPTY)
        algorithm = ALGORITHMS.get(task.kind)
        if algorithm is None:
            raise ProtocolError(f'the server asks for "{task.kind}", which is not known here')
        if not all(np.isfinite(value).all() for value in task.state.values()):
            raise RefusalError("the server's model holds numbers that are not finite")
        try:
            sums = self._sums(algorithm, task, study, data)
        except (KeyError, ValueError, IndexError):
            raise ProtocolError(f'the server\'s "{task.kind}" does not fit the study') from None
        if not np.isfinite(sums.vector).all():
            raise RefusalError("the sums of this site are not finite numbers")
        return self._reply(task, study.sha256, len(data.train), sums)

    def _sums(self, algorithm: Algorithm, task: Task, study: Study, data: SiteData) -> Sums:
        if algorithm is SITE_TABLE:
            allowed = self._tables.allowed or data.limits.site_tables
            show = site_table if allowed else withheld
            return show(data.train, study, self._floor(study, data))
        if algorithm is MISSING:
            return counted(data.missing, study)
        if algorithm is MISSING_BY_SITE:
            return counted_for_itself(data.missing, study, self._floor(study, data))
        rows = data.evaluation if task.kind in EVALUATIONS else data.train
        return algorithm.contribute(rows, task.state, study)

    def _floor(self, study: Study, data: SiteData) -> int:
        return max(study.privacy.min_cell, self._tables.min_cell, data.limits.min_cell or 0)

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

    def _prepare(self, contract: str, describing: bool) -> tuple[Study, SiteData]:
        known = self._loaded is not None and self._loaded[0].canonical == contract
        if self._loaded is None or not known or self._describing != describing:
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
            data = self._load(study, keep_missing=True) if describing else self._load(study)
            if describing and len(data.train) < self._floor(study, data):
                raise RefusalError(
                    "fewer rows than the smallest count that may be shown",
                    next_step="add patients whose outcome is known",
                )
            self._loaded, self._describing = (study, data), describing
        return self._loaded


def _digest(contract: str) -> str:
    return hashlib.sha256(contract.encode()).hexdigest()
