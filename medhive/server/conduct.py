"""One run of a study, from the first question to the files on disk."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol

import numpy as np

from medhive.errors import Place, SettingError, StudyError
from medhive.learning.standardise import to_clinical, to_standardised
from medhive.reports.metrics import round_metrics
from medhive.reports.result import (
    Estimate,
    Missing,
    Result,
    Round,
    Scale,
    Site,
    now,
    run_keys,
    versions,
    write_result,
)
from medhive.rows import Array
from medhive.server.rounds import Exchange, Fit, Progress, RoundRecord, run_rounds
from medhive.study import INTERCEPT, Study


def require_honourable(study: Study, file: Path | None = None) -> None:
    """Refuse a contract that promises more protection than this version gives.

    Parameters
    ----------
    study : Study
    file : Path, optional
        The study file, to be named in the error.

    Raises
    ------
    StudyError
        If the contract asks for masked sums.
    """
    if study.privacy.secure_aggregation:
        raise StudyError(
            "this version sends each site's sums unmasked inside TLS, so the server sees them;"
            " it cannot run a study that promises masking",
            place=Place(file=file, setting="privacy.secure-aggregation"),
            next_step="set secure-aggregation = false, if every site agrees to that",
        )


def make_folder(folder: Path) -> None:
    """Make a folder for results where there is none.

    Raises
    ------
    SettingError
        If it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingError(
            f"the folder for results cannot be used: {error.strerror}",
            place=Place(file=folder, setting="--output"),
            next_step="choose a folder that you may write with --output",
        ) from None


def new_folder(root: Path, study: Study, at: datetime) -> Path:
    """Make the folder of a run under `root`, named by study and time.

    Raises
    ------
    SettingError
        If it cannot be made.
    """
    make_folder(root)
    stem = f"{study.study.name}-{at:%Y%m%d-%H%M%S}"
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    while True:
        folder = root / next(names)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder


def summarise(study: Study, fit: Fit, started: datetime, finished: datetime) -> Result:
    """Put a fit into the form of ``result.json``."""
    names = [INTERCEPT, *(term.name for term in study.terms)]
    clinical = to_clinical(fit.params, fit.moments["centre"], fit.moments["scale"])
    standardised = to_standardised(clinical, fit.moments["mean"], fit.moments["sd"])
    metrics = dict(fit.metrics)
    bound = metrics.pop("auc_error_bound")
    everyone_stayed = fit.history[-1].n_samples == int(fit.moments["n"])
    return Result(
        study=study.study.name,
        title=study.study.title,
        study_sha256=study.sha256,
        strategy=study.run.strategy,
        run=run_keys(study),
        versions=versions(),
        started=started,
        finished=finished,
        converged=fit.converged,
        rounds=len(fit.history),
        n_samples=fit.history[-1].n_samples,
        # the events of those who left are not known apart
        n_events=int(fit.moments["events"]) if everyone_stayed else None,
        sites=[Site(name=name, n_samples=n) for name, n in sorted(fit.sites.items())],
        terms=_estimates(names, clinical),
        standardised_terms=_estimates(names, standardised),
        standardisation={
            name: Scale(mean=float(mean), sd=float(sd))
            for name, mean, sd in zip(
                names[1:], fit.moments["mean"], fit.moments["sd"], strict=True
            )
        },
        metrics=metrics,
        evaluated_on="held-out rows" if study.run.test_fraction else "all rows",
        auc_error_bound=bound,
        history=[
            Round(
                round=record.round,
                loss=record.loss,
                accuracy=record.accuracy,
                n_samples=record.n_samples,
                sites=sorted(record.sites),
                seconds=record.seconds,
            )
            for record in fit.history
        ],
        missing={
            name: Missing(n=count.n, by_site=dict(count.by_site))
            for name, count in fit.missing.items()
        },
        warnings=list(fit.warnings),
    )


def clinical_params(result: Result) -> Array:
    """Return intercept and coefficients in clinical units, in the order of the study's terms."""
    return np.array([term.estimate for term in result.terms.values()], dtype=np.float64)


def clinical_fill(result: Result) -> Array:
    """Return what stands for a missing value of each of the study's terms: its mean."""
    return np.array([scale.mean for scale in result.standardisation.values()], dtype=np.float64)


def _estimates(names: list[str], values: Array) -> dict[str, Estimate]:
    return {
        name: Estimate(estimate=float(value)) for name, value in zip(names, values, strict=True)
    }


class Recorder(Protocol):
    """Whoever keeps the record of a run, such as MLflow's tracking."""

    def start_run(
        self,
        name: str,
        *,
        run_id: str,
        params: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        study_text: str = "",
    ) -> None:
        """Open a run."""

    def round(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record a round."""

    def finish(
        self,
        status: Any = "FINISHED",
        *,
        metrics: Mapping[str, float] | None = None,
        artifacts: Path | None = None,
        model: Any = None,
    ) -> None:
        """Close the run."""


@dataclass
class Recorded:
    """Progress that is shown and recorded.

    Parameters
    ----------
    shown : Progress
        What people see.
    recorder : Recorder
    """

    shown: Progress
    recorder: Recorder
    _sites: set[str] = field(default_factory=set)

    def phase(self, name: str) -> None:
        """Show it."""
        self.shown.phase(name)

    def round_done(self, record: RoundRecord) -> None:
        """Show a round, and record it with each site's part in it."""
        self.shown.round_done(record)
        self._sites |= set(record.sites)
        metrics = round_metrics(
            loss=record.loss,
            accuracy=record.accuracy,
            n_samples=record.n_samples,
            participants=sorted(record.sites),
            absent=sorted(self._sites - set(record.sites)),
            site_samples=record.sites,
            rounds_completed=record.round,
            seconds=record.seconds,
        )
        self.recorder.round(record.round, metrics)


def conduct(
    study: Study,
    study_text: str,
    exchange: Exchange,
    progress: Progress,
    folder: Path,
    recorder: Recorder | None = None,
) -> Result:
    """Run a study and leave its results in a folder.

    Parameters
    ----------
    study : Study
        As it runs, with every override.
    study_text : str
        The study file as the statistician wrote it.
    exchange : Exchange
    progress : Progress
    folder : Path
        Gets ``study.toml``, ``contract.json`` and ``result.json``.
    recorder : Recorder, optional

    Returns
    -------
    Result
    """
    started = now()
    (folder / "study.toml").write_text(study_text, encoding="utf-8")
    (folder / "contract.json").write_text(study.canonical + "\n", encoding="utf-8")
    if recorder is not None:
        tags = {"medhive.study_sha256": study.sha256}
        tags |= {f"version.{name}": number for name, number in versions().items()}
        recorder.start_run(
            folder.name,
            run_id=folder.name,
            params=run_keys(study),
            tags=tags,
            study_text=study_text,
        )
        progress = Recorded(progress, recorder)
    try:
        fit = run_rounds(study, exchange, progress)
    except BaseException as error:
        if recorder is not None:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            recorder.finish("KILLED" if stopped else "FAILED")
        raise
    result = summarise(study, fit, started, now())
    path = folder / "result.json"
    write_result(result, path)
    if recorder is not None:
        recorder.finish(
            metrics={f"final/{key}": value for key, value in fit.metrics.items()},
            artifacts=path,
            model=(study, clinical_params(result), clinical_fill(result)),
        )
    return result
