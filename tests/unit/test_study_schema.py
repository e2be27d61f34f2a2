"""The published JSON Schema accepts study files, and refuses what is none."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, ValidationError

from medhive.data.bundled import study_text
from medhive.study import Feature, Header, Outcome, Privacy, Run, Study
from support import HEART_STUDY

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs/reference/study.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
HEART = tomllib.loads(HEART_STUDY.read_text(encoding="utf-8"))


def test_it_is_current() -> None:
    """The published schema is what scripts/make-study-schema writes now."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "make-study-schema", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_a_schema_without_a_host() -> None:
    """It is valid as a schema of draft 7, which editors know, and its identity names no host."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"].startswith("urn:")
    assert "$ref" not in json.dumps(SCHEMA)


@pytest.mark.parametrize("sites", [None, 4, 56])
def test_bundled_studies_are_valid(sites: int | None) -> None:
    """The study files that MedHive brings follow the schema."""
    VALIDATOR.validate(HEART)
    VALIDATOR.validate(tomllib.loads(study_text("wdbc", sites)))


def _keys() -> Iterator[tuple[str, dict[str, Any], type[BaseModel]]]:
    top = SCHEMA["properties"]
    yield "top", top, Study
    yield "study", top["study"]["properties"], Header
    yield "outcome", top["study"]["properties"]["outcome"]["properties"], Outcome
    yield "run", top["run"]["properties"], Run
    yield "privacy", top["privacy"]["properties"], Privacy
    yield "features", top["features"]["items"]["properties"], Feature


@pytest.mark.parametrize(("name", "properties", "model"), list(_keys()), ids=lambda v: str(v)[:8])
def test_every_key_is_described(
    name: str, properties: dict[str, Any], model: type[BaseModel]
) -> None:
    """Every key of the contract is there with a description, and no other key."""
    assert set(properties) == {field.alias or key for key, field in model.model_fields.items()}
    for key, schema in properties.items():
        assert schema.get("description", "").endswith("."), f"{name}.{key}"


def _set(*path: object) -> Callable[[Any], None]:
    *keys, last, value = path

    def change(study: Any) -> None:
        for key in keys:
            study = study[key]
        study[last] = value

    return change


BAD: dict[str, Callable[[Any], None]] = {
    "unknown section": _set("runs", {}),
    "unknown key": _set("run", "num-server-round", 3),
    "underscores": _set("run", "num_server_rounds", 3),
    "no name": lambda study: study["study"].pop("name"),
    "name with capitals": _set("study", "name", "Heart"),
    "no outcome": lambda study: study["study"].pop("outcome"),
    "outcome as text": _set("study", "outcome", "num"),
    "event that is a list": _set("study", "outcome", "event", [1]),
    "no features": _set("features", []),
    "unknown strategy": _set("run", "strategy", "fedag"),
    "unknown penalty": _set("run", "penalty", "ridge"),
    "no rounds": _set("run", "num-server-rounds", 0),
    "rounds as text": _set("run", "num-server-rounds", "5"),
    "C of nought": _set("run", "C", 0),
    "everything held out": _set("run", "test-fraction", 1.0),
    "a key of another strategy": _set("run", "eta", 0.1),
    "l1-ratio without the elastic net": _set("run", "l1-ratio", 0.5),
    "flag as text": _set("run", "standardise", "yes"),
    "min-rows of nought": _set("privacy", "min-rows", 0),
    "unknown kind": _set("features", 0, "kind", "numeric"),
    "feature without kind": lambda study: study["features"][0].pop("kind"),
    "range of one number": _set("features", 0, "range", [1]),
    "range of three numbers": _set("features", 0, "range", [1, 2, 3]),
    "range of texts": _set("features", 0, "range", ["a", "b"]),
    "range of a category": _set("features", 2, "range", [1, 2]),
    "unit of a flag": _set("features", 1, "unit", "mm"),
    "levels of a number": _set("features", 0, "levels", ["a", "b"]),
    "reference of a number": _set("features", 0, "reference", 1),
    "one level": _set("features", 2, "levels", {"1": "a"}),
    "no levels": lambda study: study["features"][2].pop("levels"),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_what_is_no_study_is_refused(change: Callable[[Any], None]) -> None:
    """What the contract refuses, the schema refuses too."""
    study = copy.deepcopy(HEART)
    change(study)
    with pytest.raises(ValidationError):
        Study.model_validate(study)
    assert not VALIDATOR.is_valid(study)


GOOD: dict[str, Callable[[Any], None]] = {
    "levels as a list": _set("features", 2, "levels", [1, 2, "three", 4.5]),
    "levels as pairs": _set("features", 2, "levels", [[1, "a"], [2, "b"]]),
    "reference as text": _set("features", 2, "reference", "1"),
    "a strategy's own key": lambda study: study["run"].update(strategy="fedadam", eta=0.1),
    "elastic net": lambda study: study["run"].update({"penalty": "elasticnet", "l1-ratio": 0.2}),
    "event true": _set("study", "outcome", "event", True),
    "event with a fraction": _set("study", "outcome", "event", 1.5),
    "only what is needed": lambda study: (study.pop("run"), study.pop("privacy")),
    "whole number for a number": _set("run", "C", 2),
}


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
def test_other_ways_of_writing_are_accepted(change: Callable[[Any], None]) -> None:
    """What the contract accepts, the schema accepts too."""
    study = copy.deepcopy(HEART)
    change(study)
    Study.model_validate(study)
    VALIDATOR.validate(study)
