"""What would leave a site in a run of a study, counted by the algorithms' own layouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from medhive.learning import describe
from medhive.learning.algorithm import Algorithm, State
from medhive.learning.cells import continuous
from medhive.learning.registry import ALGORITHMS, training_algorithm
from medhive.learning.scores import PASSES, initial_edges
from medhive.study import Study
from medhive.sums import size

BYTES_A_NUMBER = np.dtype(np.float64).itemsize

HEAD_BYTES = 800
"""Most bytes of a reply beside its numbers: what it answers, the site, its training rows."""

FIELDS: Mapping[str, Mapping[str, str]] = {
    "missing": {
        "missing": "missing values of each data column, among all rows of the file",
    },
    "missing-by-site": {
        "floor": "the smallest count that the site shows",
        "missing": "the same, to be shown by site; smaller counts are hidden",
    },
    "moments": {
        "n": "training rows",
        "events": "training rows with the event",
        "observed": "values in each model term's column",
        "x": "the sum of each model term's column",
    },
    "spread": {
        "n": "training rows",
        "observed": "values in each model term's column",
        "dx": "the sum of each column's distances from the common mean",
        "dxx": "the sum of their squares",
    },
    "fedavg": {
        "weighted": "the intercept and coefficients that the site arrived at, times its rows",
        "n": "training rows",
    },
    "fedprox": {
        "weighted": "the intercept and coefficients that the site arrived at, times its rows",
        "n": "training rows",
    },
    "evaluate": {
        "n": "rows that the model is judged on",
        "tp": "events that the model predicted",
        "fp": "non-events that it took for events",
        "tn": "non-events that it predicted",
        "fn": "events that it missed",
        "log_loss": "the sum of the log-losses",
        "brier": "the sum of the squared errors",
    },
    "scores": {
        "positive": "rows with the event in each interval of the predicted score",
        "negative": "rows without the event in each interval",
    },
    "describe-counts": {
        "cells": "rows, and of each feature the values that are there, missing, invalid, and of"
        " each level, without and with the event",
        "x": "the sum of each continuous column, without and with the event",
    },
    "describe-spread": {
        "dx": "the sum of each continuous column's distances from the common mean",
        "dxx": "the sum of their squares",
    },
    "describe-histogram": {
        "histogram": "values of each continuous column in each interval, without and with the event"
    },
    "describe-site": {
        "shown": "whether the site shows a table of its own",
        "floor": "the smallest count that it shows",
        "cells": "its own counts, where they are not hidden",
        "outcome": "its rows without and with the event, where they are not hidden",
        "mean": "its own means, where they are not hidden",
        "sd": "its own standard deviations, where they are not hidden",
        "absent": "whether it lacks the column, for each feature",
    },
}
"""What every sum of every algorithm is, in words."""

_PHASES: Mapping[str, str] = {
    "missing": "missing values",
    "missing-by-site": "missing values by site",
    "moments": "means",
    "spread": "standard deviations",
    "fedavg": "training",
    "fedprox": "training",
    "evaluate": "evaluation",
    "scores": "AUC",
    "describe-counts": "counts and means",
    "describe-spread": "standard deviations",
    "describe-histogram": "quartiles",
    "describe-site": "the site's own table",
}


@dataclass(frozen=True)
class Part:
    """One field of a vector of sums.

    Parameters
    ----------
    words : str
    numbers : int
    """

    words: str
    numbers: int


@dataclass(frozen=True)
class Departure:
    """What one question makes leave a site.

    Parameters
    ----------
    kind : str
        Name of the algorithm, as in messages.
    phase : str
        What it is for.
    parts : tuple of Part
    times : int
        How often it is asked in a run.
    at_most : bool
        Whether `times` and the numbers are upper bounds.
    """

    kind: str
    phase: str
    parts: tuple[Part, ...]
    times: int
    at_most: bool = False

    @property
    def numbers(self) -> int:
        """Numbers each time."""
        return sum(part.numbers for part in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes of these numbers each time."""
        return self.numbers * BYTES_A_NUMBER


def descriptions(study: Study) -> tuple[Departure, ...]:
    """Return what leaves each site when the study's rows are described, in order."""
    edges = {"edges": np.zeros((len(continuous(study)), describe.BINS - 1))}
    return (
        _departure(ALGORITHMS["describe-counts"], {}, study, 1),
        _departure(ALGORITHMS["describe-spread"], {}, study, 1),
        _departure(ALGORITHMS["describe-histogram"], edges, study, describe.PASSES, at_most=True),
        _departure(ALGORITHMS["describe-site"], {}, study, 1),
    )


def departures(study: Study) -> tuple[Departure, ...]:
    """Return what leaves each site in an undisturbed run, in order.

    A question is put again where a site drops out and too few are left; that changes how often
    sums leave, not which.
    """
    return tuple(_departures(study))


def _departures(study: Study) -> Iterator[Departure]:
    rounds = study.run.num_server_rounds
    edges = {"edges": initial_edges()}
    for name in ("missing", "missing-by-site", "moments", "spread"):
        yield _departure(ALGORITHMS[name], {}, study, 1)
    yield _departure(training_algorithm(study.run), {}, study, rounds)
    yield _departure(ALGORITHMS["evaluate"], {}, study, rounds)
    yield _departure(ALGORITHMS["scores"], edges, study, PASSES, at_most=True)


def _departure(
    algorithm: Algorithm, state: State, study: Study, times: int, *, at_most: bool = False
) -> Departure:
    words = FIELDS[algorithm.name]
    parts = tuple(
        Part(words[name], size(((name, shape),))) for name, shape in algorithm.layout(state, study)
    )
    return Departure(algorithm.name, _PHASES[algorithm.name], parts, times, at_most)
