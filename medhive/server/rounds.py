"""The rounds of a study: moments, training, evaluation, each as totals of sums."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from medhive.errors import DataError, Place
from medhive.flower.exchange import Answer
from medhive.flower.optimisers import has_optimiser, step
from medhive.learning import evaluation, missingness, scores
from medhive.learning.algorithm import Algorithm
from medhive.learning.missingness import MISSING, MISSING_BY_SITE, MissingCount
from medhive.learning.registry import ALGORITHMS, training_algorithm
from medhive.rows import Array
from medhive.study import Study
from medhive.sums import Sums

CONVERGED = 1e-6
"""Largest change of a coefficient in the last round, relative to the largest coefficient."""

AUC_GOAL = 1e-4
"""Bound on the error of the AUC at which no further pass is made."""


class Exchange(Protocol):
    """Whoever puts a question to all sites."""

    def gather(self) -> Mapping[str, int]:
        """Return the sites that take part, with their training rows."""

    def ask(self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int) -> Answer:
        """Return the total of one question."""

    def collect(
        self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int
    ) -> Mapping[str, Sums]:
        """Return what each site made ready to be shown by site."""


class Progress(Protocol):
    """Hears how far the run is."""

    def phase(self, name: str) -> None:
        """Take note that a part of the run begins."""

    def round_done(self, record: RoundRecord) -> None:
        """Take note that a round is over."""


@dataclass(frozen=True)
class RoundRecord:
    """One line of the history.

    Parameters
    ----------
    round : int
        From 1.
    loss, accuracy : float
        Mean log-loss and accuracy of the round's model.
    n_samples : int
        Training rows in the round.
    sites : mapping of str to int
        Training rows of each site in the round.
    seconds : float
        Time that the round took, with its evaluation.
    """

    round: int
    loss: float
    accuracy: float
    n_samples: int
    sites: Mapping[str, int]
    seconds: float


@dataclass(frozen=True)
class Fit:
    """What a run found.

    Parameters
    ----------
    params : ndarray, shape (n_terms + 1,)
        Intercept and coefficients on the scale that was trained on.
    moments : mapping of str to ndarray
        As `medhive.learning.standardise` leaves them.
    missing : mapping of str to MissingCount
        Of every data column, among the rows that the sites read.
    metrics : mapping of str to float
    history : tuple of RoundRecord
    sites : mapping of str to int
        Training rows of the sites in the last round.
    converged : bool
        Whether the coefficients stopped changing. That is a fixed point of the strategy, which
        for federated averaging is near the optimum of the pooled rows and not in it.
    warnings : tuple of str
    """

    params: Array
    moments: Mapping[str, Array]
    missing: Mapping[str, MissingCount]
    metrics: Mapping[str, float]
    history: tuple[RoundRecord, ...]
    sites: Mapping[str, int]
    converged: bool
    warnings: tuple[str, ...] = field(default=())


def run_rounds(study: Study, exchange: Exchange, progress: Progress) -> Fit:
    """Run a study from the first question to the last.

    Raises
    ------
    DataError
        If the outcome is the same in every row of every site.
    FederationError
        If too few sites take part.
    """
    progress.phase("sites")
    sites = dict(exchange.gather())
    progress.phase("missing values")
    answer = exchange.ask(MISSING, {}, 0)
    replies = exchange.collect(MISSING_BY_SITE, {}, 0)
    missing = missingness.disclose(study, answer.total, answer.sites, replies)
    progress.phase("standardisation")
    moments = _moments(study, exchange)
    progress.phase("rounds")
    state: dict[str, Array] = {**moments, "params": np.zeros(len(study.terms) + 1)}
    training = training_algorithm(study.run)
    optimiser: dict[str, Array] = {}
    history: list[RoundRecord] = []
    change = np.inf
    for server_round in range(1, study.run.num_server_rounds + 1):
        start = time.perf_counter()
        before = state["params"]
        answer = exchange.ask(training, _sent(state), server_round)
        state = training.update(state, answer.total, study)
        # sites share the penalty by their rows, among those that take part
        state["n"] = answer.total["n"]
        if has_optimiser(study.run):
            state["params"], optimiser = step(
                study.run, before, optimiser, state["params"], server_round
            )
        evaluated = exchange.ask(ALGORITHMS["evaluate"], _sent(state), server_round)
        metrics = evaluation.metrics(evaluated.total)
        change = _relative_change(before, state["params"])
        record = RoundRecord(
            round=server_round,
            loss=metrics["loss"],
            accuracy=metrics["accuracy"],
            n_samples=sum(answer.sites.values()),
            sites=answer.sites,
            seconds=time.perf_counter() - start,
        )
        history.append(record)
        progress.round_done(record)
    progress.phase("evaluation")
    metrics |= _auc(exchange, state, study)
    return Fit(
        params=state["params"],
        moments=moments,
        missing=missing,
        metrics=metrics,
        history=tuple(history),
        sites=history[-1].sites,
        converged=bool(change <= CONVERGED),
        warnings=(
            *_warnings(study, moments),
            *_lost(sites, history),
            *_still_moving(change),
        ),
    )


def _lost(sites: Mapping[str, int], history: list[RoundRecord]) -> list[str]:
    """Say which sites were there at the start and are not in the last round's model."""
    return [
        f'site "{site}" left after round {max(rounds, default=0)}: its rows are in the'
        " standardisation and in those rounds, not in the metrics"
        for site in sorted(set(sites) - set(history[-1].sites))
        for rounds in [[record.round for record in history if site in record.sites]]
    ]


def _still_moving(change: float) -> list[str]:
    """Say that the model had not settled."""
    if change <= CONVERGED:
        return []
    return [
        f"the coefficients still moved by {change:.1e} of the largest in the last round;"
        " with more rounds the model would change"
    ]


def _moments(study: Study, exchange: Exchange) -> dict[str, Array]:
    state: dict[str, Array] = {}
    for name in ("moments", "spread"):
        algorithm = ALGORITHMS[name]
        state = algorithm.update(state, exchange.ask(algorithm, state, 0).total, study)
        n, events = float(state["n"]), float(state["events"])
        if events in (0.0, n):
            found = "in no row" if events == 0 else "in every row"
            raise DataError(
                f"the outcome event occurs {found} of any site",
                place=Place(column=study.study.outcome.column),
                next_step="check `event` in the study file",
            )
    return state


def _sent(state: Mapping[str, Array]) -> dict[str, Array]:
    """Select what a site needs to know; the rest of the state stays at the server."""
    needed = ("params", "centre", "scale", "fill", "n", "edges")
    return {key: state[key] for key in needed if key in state}


def _auc(exchange: Exchange, state: Mapping[str, Array], study: Study) -> dict[str, float]:
    """Sharpen the score histograms pass by pass, until their error bound is small."""
    algorithm = ALGORITHMS["scores"]
    asked = {**state, "edges": scores.initial_edges(*scores.expected_scores(state))}
    for _ in range(scores.PASSES):
        answer = exchange.ask(algorithm, _sent(asked), study.run.num_server_rounds)
        asked = algorithm.update(asked, answer.total, study)
        if not float(asked["auc_error"]) > AUC_GOAL:
            break
    return {"auc": float(asked["auc"]), "auc_error_bound": float(asked["auc_error"])}


def _relative_change(before: Array, after: Array) -> float:
    return float(np.max(np.abs(after - before)) / max(1.0, np.max(np.abs(after))))


def _warnings(study: Study, moments: Mapping[str, Array]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for term, sd, observed in zip(study.terms, moments["sd"], moments["observed"], strict=True):
        # where nothing is missing, or everything, the term that would say so is constant
        if sd != 0 or term.missing:
            continue
        if observed == 0:
            text = f'"{term.feature}" is missing in every row; its coefficient says nothing'
        else:
            text = f'"{term.name}" has the same value in every row; its coefficient says nothing'
        found[text] = None
    return tuple(found)
