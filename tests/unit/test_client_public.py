"""What leaves a site when something goes wrong there."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict

from medhive.client.app import app
from medhive.client.public import FAILED, UNFIT
from medhive.data.bundled import study_text
from medhive.flower.wire import Task, encode_task, to_record
from medhive.studyfile import parse_study
from support import BUNDLED, flower_message

SECRET = "4711.25"  # noqa: S105  (a patient's value, not a password)


def ask(data: Path, record: RecordDict) -> Message:
    """Put a question to the app of a stock SuperNode."""
    node = {"site": "va", "data": str(data)}
    context = Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config={})
    return app(flower_message(record, message_type="query"), context)


def join() -> RecordDict:
    study = parse_study(study_text("heart-disease"), file="study.toml")
    return to_record(encode_task(Task("join", 0, 0, study.canonical)))


def test_a_bad_row_s_value_stays_at_the_site(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A stock SuperNode tells the server that rows do not fit; only the site's log says which."""
    rows = (BUNDLED / "va.csv").read_text(encoding="utf-8").splitlines()
    bad = tmp_path / "rows.csv"
    bad.write_text("\n".join([rows[0], SECRET + "," + rows[1].partition(",")[2]]), "utf-8")
    error = ask(bad, join()).error
    assert error.code == UNFIT
    assert error.reason is not None
    assert SECRET not in error.reason
    assert str(bad) not in error.reason
    assert SECRET in caplog.text


def test_a_fault_s_text_stays_at_the_site(caplog: pytest.LogCaptureFixture) -> None:
    """An unforeseen fault is told by its kind alone, and by its trace at the site."""
    error = ask(Path("rows\0.csv"), join()).error
    assert (error.code, error.reason) == (FAILED, "its client failed (internal)")
    assert "Traceback" in caplog.text
