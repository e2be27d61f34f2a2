"""Messages survive the wire, and damage to them is noticed."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medhive.errors import ProtocolError
from medhive.flower.wire import (
    SITE_NAME,
    Reply,
    Task,
    decode_reply,
    decode_task,
    encode_reply,
    encode_task,
)
from medhive.sums import Sums

finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
arrays = npst.arrays(
    np.float64, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), elements=finite
)
fields = st.dictionaries(st.text(max_size=10), arrays, max_size=4)
counts = st.integers(0, 2**53)
text = st.text(max_size=30)

tasks = st.builds(Task, text, counts, counts, text, fields, text)
replies = st.builds(
    Reply,
    text,
    counts,
    counts,
    text,
    st.from_regex(SITE_NAME, fullmatch=True),
    counts,
    fields.map(lambda f: Sums.of(f) if f else Sums((), np.empty(0))),
)


@given(tasks)
def test_a_task_round_trips(task: Task) -> None:
    """Encoding and decoding a task changes nothing, bit for bit."""
    found = decode_task(encode_task(task))
    assert (found.kind, found.round, found.attempt, found.contract, found.note) == (
        task.kind, task.round, task.attempt, task.contract, task.note
    )  # fmt: skip
    assert list(found.state) == list(task.state)
    for name, array in task.state.items():
        assert found.state[name].shape == array.shape
        assert found.state[name].tobytes() == array.tobytes()


@given(replies)
def test_a_reply_round_trips(reply: Reply) -> None:
    """Encoding and decoding a reply changes nothing, bit for bit."""
    data = encode_reply(reply)
    found = decode_reply(data)
    assert found.sums.layout == reply.sums.layout
    assert found.sums.vector.tobytes() == reply.sums.vector.tobytes()
    assert encode_reply(found) == data


@given(replies, st.data())
def test_a_cut_message_is_noticed(reply: Reply, data: st.DataObject) -> None:
    """Whatever is missing at the end of a message, it is a protocol error."""
    whole = encode_reply(reply)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        decode_reply(cut)
    except ProtocolError:
        return
    raise AssertionError("a message was read of which a part is missing")


@given(st.binary(max_size=300))
def test_random_bytes_are_a_protocol_error(data: bytes) -> None:
    """Random bytes give a protocol error and no other exception."""
    for decode in (decode_task, decode_reply):
        with suppress(ProtocolError):
            decode(data)
            raise AssertionError("random bytes were read as a message")


@given(replies, st.data())
def test_a_flipped_byte_raises_nothing_else(reply: Reply, data: st.DataObject) -> None:
    """A message with one byte changed is read as another message or is a protocol error."""
    whole = bytearray(encode_reply(reply))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ProtocolError):
        found = decode_reply(bytes(whole))
        assert np.isfinite(found.sums.vector).all()
