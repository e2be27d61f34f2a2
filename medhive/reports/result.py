"""``result.json``: the outcome of a run, for people, programs and other software to read."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from medhive.errors import InputError, Place
from medhive.reports.files import write_atomically
from medhive.study import Study

SCHEMA_VERSION = 1
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _finite(value: object) -> object:
    # JSON has no nan and no infinity
    return None if isinstance(value, float) and not math.isfinite(value) else value


Value = Annotated[float | None, BeforeValidator(_finite)]
Count = Annotated[int, Field(ge=0)]
Instant = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
RunKeys = dict[str, bool | int | float | str]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        # what is written has every field
        json_schema_serialization_defaults_required=True,
    )


class Site(_Part):
    """A hospital that took part, and how many of its rows were analysed."""

    name: str
    n_samples: Count


class Estimate(_Part):
    """One model term on the log-odds scale; null is a number that does not exist."""

    estimate: Value
    std_error: Value = None
    z: Value = None
    p_value: Value = None
    conf_low: Value = Field(default=None, description="Lower end of the 95 % interval.")
    conf_high: Value = Field(default=None, description="Upper end of the 95 % interval.")


class Scale(_Part):
    """Mean and standard deviation (ddof 0) of a model term over the rows of all sites."""

    mean: Value
    sd: Value


class Missing(_Part):
    """How many values of a column are missing; null is a count that is hidden."""

    n: Count | None = Field(description="At all sites.")
    by_site: dict[str, Count | None]


class Round(_Part):
    """One round of the run; loss and accuracy are those of the model after it."""

    round: Annotated[int, Field(ge=0)]
    loss: Value = None
    accuracy: Value = None
    n_samples: Count
    sites: list[str] = Field(description="Names of the sites that took part.")
    seconds: Value = None


class Result(_Part):
    """The outcome of a run.

    ``terms`` is in clinical units, ``standardised_terms`` in standard deviations (empty where
    the study does not standardise). Numbers are float64 and round-trip exactly.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    study: str = Field(description="The study's name.")
    title: str = ""
    study_sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="Identity of the contract that the sites approved."
    )
    strategy: str
    run: RunKeys = Field(description="Every key of [run] as it was used.")
    versions: dict[str, str]
    started: Instant
    finished: Instant
    converged: bool = Field(description="Whether the coefficients stopped changing.")
    rounds: Count
    n_samples: Count
    n_events: Count | None = None
    sites: list[Site]
    terms: dict[str, Estimate]
    standardised_terms: dict[str, Estimate] = {}
    standardisation: dict[str, Scale] = {}
    missing: dict[str, Missing] = Field(
        default={},
        description="For every data column, among all rows that the sites read, also those that"
        " are not analysed. Small counts are hidden.",
    )
    metrics: dict[str, Value]
    evaluated_on: Literal["all rows", "held-out rows"]
    auc_error_bound: Value = Field(
        default=None, description="How far the AUC can be from that of the pooled rows."
    )
    history: list[Round]
    warnings: list[str] = []


def run_keys(study: Study) -> RunKeys:
    """Return every key of ``[run]`` that has a value, in Flower's kebab-case."""
    keys: RunKeys = study.run.model_dump(mode="json", by_alias=True, exclude_none=True)
    return keys


def versions() -> dict[str, str]:
    """Return the versions of the software that decides what a run computes."""
    packages = ("medhive", "flwr", "scikit-learn", "numpy")
    return {name: version(name) for name in packages} | {"python": platform.python_version()}


def now() -> datetime:
    """Return the time for `Result.started` and `Result.finished`, in UTC."""
    return datetime.now(UTC)


def write_result(result: Result, path: Path) -> None:
    """Write ``result.json`` atomically.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written; an older file is then unchanged.
    """
    data = result.model_dump(mode="json", by_alias=True)
    write_atomically(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_result(path: Path) -> Result:
    """Read and validate ``result.json``.

    Raises
    ------
    InputError
        If there is no such file, it is not JSON, it has another schema version, or it breaks
        the schema; with file, line and field.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}",
            place=Place(file=path),
            next_step="check the path; a run writes result.json when it ends",
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", place=Place(file=path)) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"not valid JSON: {error.msg}",
            place=Place(file=path, line=error.lineno),
            next_step="take the file as the run wrote it",
        ) from None
    found = data.get("schema") if isinstance(data, Mapping) else None
    if found != SCHEMA_VERSION:
        raise InputError(
            "not a MedHive result" if found is None else f"result schema {found!r} is not known",
            place=Place(file=path, setting="schema"),
            next_step=f"this MedHive reads schema {SCHEMA_VERSION}; use the one that wrote it",
        )
    try:
        return Result.model_validate(data)
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(
            fault["msg"],
            place=Place(file=path, setting=".".join(map(str, fault["loc"]))),
            next_step="take the file as the run wrote it",
        ) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``result.json``, as published in ``docs/reference``."""
    schema = Result.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": DIALECT, **schema}
