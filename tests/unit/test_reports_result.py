"""``result.json``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medhive.errors import InputError
from medhive.reports.result import (
    Estimate,
    Result,
    Round,
    Scale,
    Site,
    json_schema,
    read_result,
    run_keys,
    versions,
    write_result,
)
from medhive.studyfile import parse_study

STUDY = parse_study(
    """
[study]
name = "heart"
outcome = { column = "num", event = 1 }
[[features]]
name = "age"
kind = "continuous"
""",
    file="study.toml",
)


def result(**changes: Any) -> Result:
    fields: dict[str, Any] = {
        "study": "heart",
        "study_sha256": STUDY.sha256,
        "strategy": "fedavg",
        "run": run_keys(STUDY),
        "versions": versions(),
        "started": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))),
        "finished": datetime(2026, 1, 2, 2, tzinfo=UTC),
        "converged": True,
        "rounds": 1,
        "n_samples": 300,
        "sites": [Site(name="Zürich", n_samples=300)],
        "terms": {
            "(Intercept)": Estimate(estimate=np.float64(-1 / 3), std_error=0.1 + 0.2),
            "age": Estimate(estimate=5e-324, conf_high=float("inf"), std_error=float("nan")),
        },
        "standardisation": {"age": Scale(mean=54.4, sd=9.0)},
        "metrics": {"auc": 0.9, "loss": float("nan")},
        "evaluated_on": "all rows",
        "history": [Round(round=1, loss=0.5, n_samples=300, sites=["Zürich"], seconds=0.1)],
    }
    return Result(**(fields | changes))


def test_a_result_round_trips_exactly(tmp_path: Path) -> None:
    """Every float64 that is written comes back bit for bit."""
    path = tmp_path / "result.json"
    rng = np.random.default_rng(1)
    values = np.exp(rng.normal(scale=100, size=500)) * rng.choice([-1, 1], 500)
    terms = {f"x{i}": Estimate(estimate=value) for i, value in enumerate(values)}
    write_result(result(terms=terms), path)
    read = read_result(path)
    assert read == result(terms=terms)
    assert [term.estimate for term in read.terms.values()] == values.tolist()
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_numbers_that_do_not_exist_are_null_and_times_are_utc(tmp_path: Path) -> None:
    """What is not finite becomes null, in a file that is standard JSON; times are in UTC."""
    path = tmp_path / "result.json"
    write_result(result(), path)
    text = path.read_text(encoding="utf-8")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    data = json.loads(text, parse_constant=refuse)
    assert data["schema"] == 1
    assert data["terms"]["(Intercept)"]["estimate"] == -1 / 3
    assert data["terms"]["age"]["std_error"] is None
    assert data["terms"]["age"]["conf_high"] is None
    assert data["metrics"] == {"auc": 0.9, "loss": None}
    assert data["started"] == "2026-01-02T01:04:05Z"
    assert data["run"]["num-server-rounds"] == 5
    assert "Zürich" in text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """Where the new file cannot be put in place, nothing of it is left."""
    path = tmp_path / "result.json"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_result(result(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    ("text", "cause", "place"),
    [
        ("{\n  oops", "not valid JSON", "line 2"),
        ("[1]", "not a MedHive result", "schema"),
        ('{"study": "heart"}', "not a MedHive result", "schema"),
        ('{"schema": 2}', "result schema 2 is not known", "schema"),
        ('{"schema": 1}', "Field required", "study"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(
    tmp_path: Path, text: str, cause: str, place: str
) -> None:
    """A file that is no result is an input error that names file and place."""
    path = tmp_path / "result.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=cause) as caught:
        read_result(path)
    assert place in str(caught.value.place)
    assert str(path) in str(caught.value.place)
    assert caught.value.exit_code == 2


def test_a_missing_file_and_a_wrong_type_are_refused(tmp_path: Path) -> None:
    """No file, and a field of another type, are input errors that say so."""
    with pytest.raises(InputError, match="No such file"):
        read_result(tmp_path / "result.json")
    path = tmp_path / "result.json"
    write_result(result(), path)
    path.write_text(path.read_text(encoding="utf-8").replace("5e-324", '"much"'), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_result(path)
    assert caught.value.place.setting == "terms.age.estimate"


def test_the_published_schema_is_the_schema() -> None:
    """``docs/reference/result.schema.json`` is what the code says, and the result follows it."""
    published = Path(__file__).parents[2] / "docs" / "reference" / "result.schema.json"
    assert json.loads(published.read_text(encoding="utf-8")) == json_schema()
    written = set(result().model_dump(mode="json", by_alias=True))
    assert written == set(json_schema()["required"])
