"""Reading a study file, with errors that name file, line and setting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medhive.errors import StudyError
from medhive.study import Feature, Header, Outcome, Privacy, Run, Study
from medhive.tomlfile import Keys, Kind, Overrides, explain, parse_toml, read_text


def _words(path: Keys, fault: str) -> tuple[str, str] | None:
    if list(path[:2]) == ["study", "outcome"] and path[-1] == "event":
        return "should be a value or a comparison", 'write 1, "M" or "> 0", for instance'
    if list(path) == ["study", "name"] and fault == "string_pattern_mismatch":
        return (
            "has other characters than lower-case letters, digits and . _ -",
            "choose a short name such as heart-disease",
        )
    return None


STUDY_FILE = Kind(
    noun="study file",
    error=StudyError,
    model=Study,
    sections={
        "study": Header,
        "study.outcome": Outcome,
        "run": Run,
        "privacy": Privacy,
        "features": Feature,
    },
    words=_words,
    listed="features",
)


def read_study(path: Path, run_config: Mapping[str, Any] | None = None) -> Study:
    """Read and validate a study file.

    Parameters
    ----------
    path : Path
        A TOML file.
    run_config : mapping, optional
        ``[run]`` keys that override the file's.

    Raises
    ------
    StudyError
        With file, line and setting of everything that is wrong.
    """
    text = read_text(path, STUDY_FILE)
    return parse_study(text, file=path, run_config=run_config)


def parse_study(
    text: str, *, file: Path | str, run_config: Mapping[str, Any] | None = None
) -> Study:
    """Validate the text of a study file; `file` is named in errors."""
    data = parse_toml(text, file, STUDY_FILE)
    overrides = dict(run_config or {})
    if overrides:
        data["run"] = {**_table(data.get("run")), **overrides}
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        raise explain(error, text, file, STUDY_FILE, _overrides(overrides)) from None


def with_run_config(study: Study, run_config: Mapping[str, Any]) -> Study:
    """Return the study with some ``[run]`` keys overridden."""
    data = study.model_dump(mode="json", by_alias=True, exclude_none=True)
    run = data["run"]
    if "strategy" in run_config or "penalty" in run_config:
        # the tuning keys belong to the strategy that was replaced
        keep = Study.model_validate({**data, "run": {}}).run.model_dump(by_alias=True)
        run = {key: value for key, value in run.items() if keep.get(key) is not None}
    try:
        return Study.model_validate({**data, "run": {**run, **run_config}})
    except ValidationError as error:
        overrides = _overrides(run_config)
        raise explain(error, "", study.study.name, STUDY_FILE, overrides) from None


def _table(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _overrides(run_config: Mapping[str, Any]) -> Overrides:
    return Overrides("run", "--run-config", frozenset(run_config))
