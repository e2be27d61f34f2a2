"""What travels between server and site."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from medhive.errors import ProtocolError
from medhive.flower.wire import (
    MAX_BYTES,
    VERSION,
    Reply,
    Task,
    decode_reply,
    decode_task,
    encode_reply,
    encode_task,
    from_message,
    to_record,
)
from medhive.sums import Sums
from support import flower_message

REPLY: dict[str, Any] = {
    "v": VERSION,
    "kind": "fedavg",
    "round": 1,
    "attempt": 0,
    "contract_sha256": "0" * 64,
    "site": "cleveland",
    "n_samples": 303,
    "layout": [["weights", [2]], ["n", []]],
}
NUMBERS = [0.5, -0.25, 303.0]


def _bytes(head: object, numbers: list[float] = NUMBERS) -> bytes:
    text = json.dumps(head).encode()
    return struct.pack("<I", len(text)) + text + np.array(numbers, "<f8").tobytes()


def test_a_task_arrives_as_it_was_sent() -> None:
    """Every field of a task, scalars and arrays among them, comes through unchanged."""
    task = Task("fedavg", 3, 1, '{"é":1}', {"params": np.arange(6.0), "n": np.array(7.0)}, "done…")
    found = decode_task(encode_task(task))
    assert (found.kind, found.round, found.attempt) == ("fedavg", 3, 1)
    assert (found.contract, found.note) == ('{"é":1}', "done…")
    assert list(found.state) == ["params", "n"]
    np.testing.assert_array_equal(found.state["params"], np.arange(6.0))
    assert found.state["n"].shape == ()


def test_a_reply_without_sums_arrives() -> None:
    """The reply to a task that asks for nothing has an empty vector."""
    reply = Reply("join", 0, 0, "0" * 64, "va", 130, Sums((), np.empty(0)))
    found = decode_reply(encode_reply(reply))
    assert found.sums.layout == ()
    assert found.n_samples == 130


@pytest.mark.parametrize(
    "change",
    [
        {"site": "../../etc/passwd"},
        {"site": "a b"},
        {"site": ""},
        {"site": "a" * 64},
        {"site": "va\n"},
        {"site": "[red]va"},
        {"site": None},
        {"kind": 1},
        {"round": -1},
        {"round": 1.0},
        {"round": True},
        {"round": "1"},
        {"attempt": None},
        {"n_samples": -1},
        {"n_samples": 1e300},
        {"contract_sha256": 5},
        {"layout": None},
        {"layout": {"weights": [3]}},
        {"layout": [["weights", [2]], ["weights", []]]},
        {"layout": [["weights", [4]]]},
        {"layout": [["weights", [-3]]]},
        {"layout": [["weights", [3.0]]]},
        {"layout": [["weights", [True, 3]]]},
        {"layout": [["weights", "3"]]},
        {"layout": [["weights", 3]]},
        {"layout": [["weights"]]},
        {"layout": [["weights", [3], 1]]},
        {"layout": [[3, [3]]]},
        {"layout": ["ab"]},
        {"layout": [["weights", [2**31, 2**31]]]},
        {"layout": [["weights", [10**4000]]]},
        {"layout": [["weights", [2**62] * 1000]]},
        {"layout": [["weights", [MAX_BYTES // 8 + 1]]]},
        {"layout": [["empty", [0, 2**62]], ["weights", [4]]]},
    ],
)
def test_a_malformed_reply_is_refused(change: dict[str, object]) -> None:
    """A head with a wrong type, an unsafe name or a layout that does not fit is refused."""
    decode_reply(_bytes(REPLY))
    with pytest.raises(ProtocolError):
        decode_reply(_bytes(REPLY | change))


@pytest.mark.parametrize("key", [key for key in REPLY if key != "v"])
def test_a_reply_that_lacks_something_is_refused(key: str) -> None:
    """Every field of a reply is required."""
    with pytest.raises(ProtocolError):
        decode_reply(_bytes({name: value for name, value in REPLY.items() if name != key}))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_sums_that_are_not_finite_are_refused(number: float) -> None:
    """One site's NaN or infinity cannot reach the total."""
    with pytest.raises(ProtocolError, match="not finite"):
        decode_reply(_bytes(REPLY, [0.0, number, 1.0]))


@pytest.mark.parametrize("decode", [decode_task, decode_reply])
@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_named(decode: Callable[[bytes], object], version: object) -> None:
    """A message of another protocol version is refused with both versions and the next step."""
    with pytest.raises(ProtocolError, match=rf"version {version!r}, this is version 1") as caught:
        decode(_bytes(REPLY | {"v": version}))
    assert "same MedHive version" in str(caught.value.next_step)


@pytest.mark.parametrize("decode", [decode_task, decode_reply])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00\x00",
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff{}",
        struct.pack("<I", 2) + b"[]",
        struct.pack("<I", 4) + b"null",
        struct.pack("<I", 3) + b"NaN",
        struct.pack("<I", 2) + b"\xff\xfe",
        struct.pack("<I", 200_000) + b"[" * 200_000,
        _bytes(REPLY)[:-1],
        _bytes(REPLY) + b"\x00",
        _bytes(REPLY) + bytes(8),
    ],
)
def test_other_bytes_are_refused(decode: Callable[[bytes], object], data: bytes) -> None:
    """Bytes that are no message, too few or too many of them, give a protocol error."""
    with pytest.raises(ProtocolError):
        decode(data)


def test_nothing_is_unpickled() -> None:
    """A pickle in the place of a message is bytes that cannot be read, and does not run."""
    data = b"cos\nsystem\n(S'touch medhive-was-here'\ntR."
    with pytest.raises(ProtocolError):
        decode_reply(data)


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"other": ConfigRecord({"payload": b"x"})}),
        RecordDict({"medhive": ConfigRecord({"payload": "text"})}),
        RecordDict({"medhive": ConfigRecord({"other": b"x"})}),
        RecordDict({"medhive": ArrayRecord([np.zeros(3)])}),
        RecordDict({"medhive": ConfigRecord({"payload": b"x"}), "more": ConfigRecord()}),
    ],
)
def test_a_message_carries_one_record_of_bytes(content: RecordDict) -> None:
    """A Flower message with other, more or fewer records than MedHive's one is refused."""
    with pytest.raises(ProtocolError):
        from_message(flower_message(content))


def test_a_message_gives_back_its_bytes() -> None:
    """What is put into a Flower record comes out of the message again."""
    assert from_message(flower_message(to_record(b"\x00abc"))) == b"\x00abc"
