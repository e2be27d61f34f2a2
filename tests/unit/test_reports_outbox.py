"""The outbox on the disk."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from medhive.errors import SettingError
from medhive.reports.outbox import Outbox
from medhive.reports.recorded import Recorded


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "outbox.jsonl"


def filled(path: Path, n: int = 3) -> Outbox:
    outbox = Outbox(path)
    for step in range(1, n + 1):
        outbox.append("round", {"run": "a", "step": step, "loss": 1 / step}, time=1000 + step)
    return outbox


def test_events_and_cursor_survive_a_restart(path: Path) -> None:
    """After a restart delivery goes on with the first event that was not sent."""
    outbox = filled(path)
    first = outbox.next()
    assert first is not None
    outbox.mark_sent(first)
    again = Outbox(path)
    assert again.events == outbox.events
    assert again.pending == 2
    following = again.next()
    assert following is not None
    assert (following.seq, following.time, following.data["loss"]) == (2, 1002, 0.5)


def test_everything_sent_leaves_nothing(path: Path) -> None:
    """When the last event is sent there is no next one, also after a restart."""
    outbox = filled(path, 1)
    event = outbox.next()
    assert event is not None
    outbox.mark_sent(event)
    assert outbox.next() is None
    assert Outbox(path).pending == 0


@pytest.mark.parametrize("torn", [b'{"seq": 4, "ti', b"\x00\x00\x00", b'{"seq": 4}'])
def test_a_torn_last_line_is_dropped_and_writing_goes_on(path: Path, torn: bytes) -> None:
    """A crash in mid-write loses only what was never acknowledged."""
    filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    outbox = Outbox(path)
    assert path.read_bytes() == whole
    assert outbox.append("round", {"run": "a", "step": 4}, time=5).seq == 4
    assert [event.seq for event in Outbox(path).events] == [1, 2, 3, 4]


@pytest.mark.parametrize("damage", [b"rubbish", b"[]", b'{"seq": 2}', b"", b"\xff\xfe"])
def test_a_damaged_middle_line_is_an_error_that_names_it(path: Path, damage: bytes) -> None:
    """A damaged line before the last is refused with its file and line."""
    filled(path)
    lines = path.read_bytes().split(b"\n")
    lines[1] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(SettingError, match="damaged line in the outbox") as caught:
        Outbox(path)
    assert caught.value.place.file == path
    assert caught.value.place.line == 2


def test_a_missing_line_is_an_error(path: Path) -> None:
    """Sequence numbers show that a line was taken out."""
    filled(path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], *lines[2:]]))
    with pytest.raises(SettingError, match="sequence number 3"):
        Outbox(path)


@pytest.mark.parametrize("text", ["", "{}", '{"sent": 9}', '{"sent": -1}', '{"sent": "1"}', "[]"])
def test_a_cursor_of_something_else_is_an_error(path: Path, text: str) -> None:
    """A cursor that is damaged or points past the end is refused."""
    filled(path).cursor.write_text(text, encoding="utf-8")
    with pytest.raises(SettingError, match="not the cursor"):
        Outbox(path)


def test_nan_and_infinity_are_kept(path: Path) -> None:
    """Metrics that are not finite come back as they were."""
    Outbox(path).append("round", {"loss": math.nan, "scale": math.inf}, time=1)
    data = Outbox(path).events[0].data
    assert math.isnan(data["loss"])
    assert data["scale"] == math.inf


def test_what_is_recorded_is_known_by_run_kind_and_round(path: Path) -> None:
    """A round is known by its step; an end is forgotten when the run is taken up again."""
    recorded = Recorded(filled(path).events)
    assert recorded.has("round", {"run": "a", "step": 3})
    assert not recorded.has("round", {"run": "a", "step": 4})
    assert not recorded.has("round", {"run": "b", "step": 3})
    assert recorded.last_round("a") == 3
    recorded.add("finished", {"run": "a", "step": 3})
    assert recorded.has_ended("a")
    recorded.add("reopened", {"run": "a", "step": 3})
    assert not recorded.has_ended("a")
