"""What travels between server and site: a task goes out, a reply with sums comes back.

Each is one bytes field in one Flower record, because every Flower object costs a request of its
own. The bytes are a length, a JSON head and little-endian float64 numbers: nothing in them can
run, and everything is checked before it is used.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict

from medhive.errors import ProtocolError
from medhive.rows import Array
from medhive.sums import Layout, Sums, size

TAKE, BRING = "/v1/fleet/take", "/v1/fleet/bring"
"""Routes on which a site takes its next message and brings a reply, each whole."""

JOIN, JOIN_TO_DESCRIBE = "join", "describe-join"
"""Tasks that ask a site to take part: with the rows that a model uses, or with all of them."""

RUN_OVER = "run-over"
"""Why a reply is not taken any more, or a task not handed out."""

NOT_CONNECTED = "not-connected"
"""Why a site is not served there that the server, started again or tired of waiting, forgot."""

VERSION = 1
MAX_BYTES = 256 * 2**20
MAX_COUNT = 2**53
"""Bytes of a message; the largest count, beyond which float64 does not hold every integer."""

SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""What a site may be called: a name that is safe in a file, a log and a metric."""

NAME_STEP = "use letters, digits, dot, dash and underscore, 63 at most"

_RECORD = "medhive"
_FIELD = "payload"


@dataclass(frozen=True)
class Task:
    """What the server asks of a site.

    Parameters
    ----------
    kind : str
        Name of an algorithm, or `JOIN`, ``"finish"`` and the like.
    round, attempt : int
        ``server_round`` (0 before the first) and attempt within it.
    contract : str
        The study in canonical JSON.
    state : mapping of str to ndarray
        What the algorithm needs to know, such as the current coefficients.
    note : str
        A sentence for the person at the site.
    """

    kind: str
    round: int
    attempt: int
    contract: str
    state: Mapping[str, Array] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Reply:
    """What a site answers.

    Parameters
    ----------
    kind, round, attempt
        Those of the task.
    contract_sha256 : str
        Identity of the study that the site worked on.
    site : str
        Name of the site.
    n_samples : int
        Training rows of the site.
    sums : Sums
    """

    kind: str
    round: int
    attempt: int
    contract_sha256: str
    site: str
    n_samples: int
    sums: Sums


def encode_task(task: Task) -> bytes:
    """Pack a task."""
    arrays = Sums.of(task.state) if task.state else Sums((), np.empty(0))
    return _pack(
        {
            "kind": task.kind,
            "round": task.round,
            "attempt": task.attempt,
            "contract": task.contract,
            "note": task.note,
        },
        arrays,
    )


def decode_task(data: bytes) -> Task:
    """Unpack a task.

    Raises
    ------
    ProtocolError
        If the bytes are not a task of this version.
    """
    head, arrays = _unpack(data)
    return Task(
        kind=_text(head, "kind"),
        round=_count(head, "round"),
        attempt=_count(head, "attempt"),
        contract=_text(head, "contract"),
        state={name: arrays[name] for name, _ in arrays.layout},
        note=_text(head, "note"),
    )


def encode_reply(reply: Reply) -> bytes:
    """Pack a reply."""
    return _pack(
        {
            "kind": reply.kind,
            "round": reply.round,
            "attempt": reply.attempt,
            "contract_sha256": reply.contract_sha256,
            "site": reply.site,
            "n_samples": reply.n_samples,
        },
        reply.sums,
    )


def decode_reply(data: bytes) -> Reply:
    """Unpack a reply.

    Raises
    ------
    ProtocolError
        If the bytes are not a reply of this version, or a sum is not finite.
    """
    head, sums = _unpack(data)
    if not np.isfinite(sums.vector).all():
        raise ProtocolError("a reply holds sums that are not finite numbers")
    if SITE_NAME.fullmatch(_text(head, "site")) is None:
        raise ProtocolError("a reply from a site whose name is not one")
    return Reply(
        kind=_text(head, "kind"),
        round=_count(head, "round"),
        attempt=_count(head, "attempt"),
        contract_sha256=_text(head, "contract_sha256"),
        site=_text(head, "site"),
        n_samples=_count(head, "n_samples"),
        sums=sums,
    )


def to_record(data: bytes) -> RecordDict:
    """Put packed bytes into a Flower record."""
    return RecordDict({_RECORD: ConfigRecord({_FIELD: data})})


def from_message(message: Message) -> bytes:
    """Take the packed bytes out of a Flower message.

    Raises
    ------
    ProtocolError
        If the message carries anything else.
    """
    record = message.content.get(_RECORD)
    data = record.get(_FIELD) if isinstance(record, ConfigRecord) else None
    if not isinstance(data, bytes) or len(message.content) != 1:
        raise ProtocolError("a message does not carry MedHive's record")
    return data


def pack_parts(parts: Iterable[bytes]) -> bytes:
    """Join byte strings into one, each with its length before it."""
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def unpack_parts(data: bytes) -> list[bytes]:
    """Undo `pack_parts`.

    Raises
    ------
    ProtocolError
        If the lengths do not add up.
    """
    parts: list[bytes] = []
    start = 0
    while start < len(data):
        stop = start + 4
        if stop <= len(data):
            stop += struct.unpack_from("<I", data, start)[0]
        if stop > len(data):
            raise ProtocolError("a message that cannot be read")
        parts.append(data[start + 4 : stop])
        start = stop
    return parts


def _pack(head: dict[str, Any], sums: Sums) -> bytes:
    layout = [[name, list(shape)] for name, shape in sums.layout]
    text = json.dumps({"v": VERSION, **head, "layout": layout}, separators=(",", ":")).encode()
    return struct.pack("<I", len(text)) + text + sums.vector.astype("<f8").tobytes()


def _unpack(data: bytes) -> tuple[dict[str, Any], Sums]:
    if not 4 <= len(data) <= MAX_BYTES:
        raise ProtocolError(f"a message of {len(data)} bytes")
    (length,) = struct.unpack_from("<I", data)
    try:
        head = json.loads(data[4 : 4 + length])
        if not isinstance(head, dict):
            raise ValueError
        if head.get("v") != VERSION:
            raise ProtocolError(
                f"a message of protocol version {head.get('v')!r}, this is version {VERSION}",
                next_step="install the same MedHive version at the server and at every site",
            )
        layout = _layout(head["layout"])
        body = data[4 + length :]
        if len(body) != 8 * size(layout):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ProtocolError("a message that cannot be read") from None
    return head, Sums(layout, np.frombuffer(body, "<f8").astype(np.float64))


def _layout(value: object) -> Layout:
    if not isinstance(value, list):
        raise TypeError
    fields: list[tuple[str, tuple[int, ...]]] = []
    for name, shape in value:
        if not isinstance(name, str) or not all(type(n) is int and n >= 0 for n in shape):
            raise TypeError
        fields.append((name, tuple(shape)))
    if len({name for name, _ in fields}) != len(fields):
        raise ValueError
    if sum(math.prod(shape) for _, shape in fields) > MAX_BYTES // 8:
        raise ValueError
    return tuple(fields)


def _text(head: Mapping[str, Any], key: str) -> str:
    value = head.get(key)
    if not isinstance(value, str):
        raise ProtocolError(f"a message without a valid {key}")
    return value


def _count(head: Mapping[str, Any], key: str) -> int:
    value = head.get(key)
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise ProtocolError(f"a message without a valid {key}")
    return value
