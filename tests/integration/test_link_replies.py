"""What the server makes of replies that are not what it asked for."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)

from medhive.client.answer import Site
from medhive.data.site import SiteData
from medhive.flower.exchange import GridExchange
from medhive.flower.link import Link
from medhive.flower.node import Node, StopRequested, _without_content
from medhive.flower.wire import (
    BRING,
    Reply,
    decode_task,
    encode_reply,
    from_message,
    pack_parts,
    to_record,
)
from medhive.identity.authority import ServerFiles, prepare_server
from medhive.identity.keys import new_key
from medhive.learning.registry import ALGORITHMS
from medhive.rows import Rows
from medhive.study import Feature, Header, Outcome, Run, Study
from medhive.sums import Sums

STUDY = Study(
    study=Header(name="one", outcome=Outcome(column="y", event=1)),
    run=Run(round_timeout=30.0),
    features=(Feature(name="x", kind="continuous"),),
)
MOMENTS = ALGORITHMS["moments"]

Spoil = Callable[[Reply], RecordDict | Error]


def _rows(seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    return Rows(rng.normal(size=(30, 1)), (rng.random(30) < 0.5).astype(float))


def _load(seed: int) -> Callable[[Study], SiteData]:
    return lambda _: SiteData("", _rows(seed), None, 30, 0, {}, ())


def _objects(root: Any) -> tuple[ObjectTree, dict[str, bytes]]:
    objects = get_all_nested_objects(root)
    return get_object_tree(root), {name: item.deflate() for name, item in objects.items()}


def _from(min_available_clients: int) -> Study:
    run = STUDY.run.model_copy(update={"min_available_clients": min_available_clients})
    return STUDY.model_copy(update={"run": run})


@dataclass
class Heard:
    """Takes note of what the exchange says."""

    left_: list[tuple[str, str]] = field(default_factory=list)

    def joined(self, site: str, n_samples: int) -> None:
        """Nothing to note."""

    def left(self, site: str, reason: str) -> None:
        """Note who left and why."""
        self.left_.append((site, reason))

    def waiting(self, sites: list[str], minimum: int, seconds: float) -> None:
        """Nothing to note."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ServerFiles:
    return prepare_server(
        tmp_path_factory.mktemp("server"), [], datetime.datetime.now(datetime.UTC)
    )


@contextmanager
def _site(
    link: Link, files: ServerFiles, name: str, spoil: Spoil | None = None, fails_first: bool = False
) -> Iterator[None]:
    """Run a site in a thread; `spoil` changes its replies to questions about its rows.

    One that `fails_first` answers its first question with an error, leaves, and comes back with
    the same key at once.
    """
    stop = threading.Event()
    site = Site(name, _load(len(name)))

    def answer(message: Message) -> Message:
        task = decode_task(from_message(message))
        reply = site.answer(task)
        if spoil is None or task.kind not in ALGORITHMS:
            return Message(to_record(encode_reply(reply)), reply_to=message)
        spoilt: Any = spoil(reply)
        return Message(spoilt, reply_to=message)

    def work() -> None:
        where = f"127.0.0.1:{link.port}", files.ca.read_bytes(), new_key()
        try:
            if fails_first:
                with Node(*where, stop=stop) as node:
                    while (question := node.receive()) is None and not stop.is_set():
                        continue
                    if question is not None:
                        node.send(Message(Error(1002, "its data do not fit"), reply_to=question))
            with Node(*where, stop=stop) as node:
                while not stop.is_set():
                    message = node.receive()
                    if message is not None:
                        node.send(answer(message))
                        if decode_task(from_message(message)).kind == "finish":
                            return
        except StopRequested:
            return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)


def _with(**changes: Any) -> Spoil:
    return lambda reply: to_record(encode_reply(replace(reply, **changes)))


def _sums(change: Callable[[Sums], Sums]) -> Spoil:
    return lambda reply: to_record(encode_reply(replace(reply, sums=change(reply.sums))))


SPOILS: dict[str, tuple[Spoil, str]] = {
    "garbage": (lambda _: to_record(b"\x07" * 100), "cannot be read"),
    "a cut reply": (lambda reply: to_record(encode_reply(reply)[:-8]), "cannot be read"),
    "another record": (
        lambda _: RecordDict({"x": ConfigRecord({"y": 1})}),
        "does not carry MedHive's record",
    ),
    "not a number": (
        _sums(lambda sums: Sums(sums.layout, sums.vector * np.nan)),
        "not finite numbers",
    ),
    "infinite": (
        _sums(lambda sums: Sums(sums.layout, sums.vector + np.inf)),
        "not finite numbers",
    ),
    "fewer sums": (
        _sums(lambda sums: Sums((("n", ()),), sums.vector[:1])),
        "does not fit the question",
    ),
    "another order": (
        _sums(lambda sums: Sums(sums.layout[::-1], sums.vector)),
        "does not fit the question",
    ),
    "another round": (_with(round=7), "belongs to another question"),
    "another attempt": (_with(attempt=9), "belongs to another question"),
    "another question": (_with(kind="spread"), "belongs to another question"),
    "another study": (_with(contract_sha256="0" * 64), "belongs to another question"),
    "another site's name": (_with(site="a"), "does not fit the question"),
    "an unsafe name": (_with(site="../x"), "not one"),
    "an error": (lambda _: Error(1003, "its client failed (data)"), "its client failed"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_bad_reply_costs_the_site_and_not_the_run(files: ServerFiles, spoil: str) -> None:
    """A reply that is not the answer drops its site with a reason; the total is of the others.

    The site is not let in again on the same connection, so it cannot hold up every round.
    """
    function, reason = SPOILS[spoil]
    heard = Heard()
    with (
        Link("127.0.0.1", 0, files.certificate, files.key) as link,
        ExitStack() as sites,
    ):
        for name in ("a", "bb"):
            sites.enter_context(_site(link, files, name))
        sites.enter_context(_site(link, files, "bad", function))
        grid, _ = link.start_run()
        # a run that starts with three sites and goes on with two
        exchange = GridExchange(grid, _from(3), heard, join_timeout=60)
        assert set(exchange.gather()) == {"a", "bb", "bad"}
        exchange.study = _from(2)
        answer = exchange.ask(MOMENTS, {}, 0)
        again = exchange.ask(MOMENTS, {}, 0)
        exchange.finish("over")
    assert answer.sites == again.sites == {"a": 30, "bb": 30}
    expected = MOMENTS.contribute(_rows(1), {}, STUDY) + MOMENTS.contribute(_rows(2), {}, STUDY)
    assert answer.total.layout == expected.layout
    np.testing.assert_allclose(answer.total.vector, expected.vector, rtol=1e-12)
    ((site, said),) = heard.left_
    assert site == "bad"
    assert reason in said


def test_a_site_that_failed_comes_back_with_its_key(files: ServerFiles) -> None:
    """A site whose client failed and was started again at once is asked again, and takes part."""
    heard = Heard()
    with (
        Link("127.0.0.1", 0, files.certificate, files.key) as link,
        _site(link, files, "a"),
        _site(link, files, "bb", fails_first=True),
    ):
        grid, _ = link.start_run()
        exchange = GridExchange(grid, _from(2), heard, join_timeout=20)
        assert exchange.gather() == {"a": 30, "bb": 30}
        exchange.finish("over")
    assert heard.left_ == [("a new site", "its data do not fit")]


@pytest.mark.parametrize("what", ["another object", "another question"])
def test_a_reply_that_flower_cannot_read_costs_only_its_site(files: ServerFiles, what: str) -> None:
    """Bytes that make no Flower message drop their site; what one answers, the link decides."""
    heard = Heard()
    with (
        Link("127.0.0.1", 0, files.certificate, files.key) as link,
        _site(link, files, "a"),
        _site(link, files, "bb"),
    ):
        grid, _ = link.start_run()
        found: list[Any] = []
        exchange = GridExchange(grid, _from(2), heard, join_timeout=20)
        thread = threading.Thread(target=lambda: found.append(exchange.gather()))
        with Node(f"127.0.0.1:{link.port}", files.ca.read_bytes(), new_key()) as node:
            thread.start()
            while (question := node.receive()) is None:
                continue
            reply = Message(to_record(b"x"), reply_to=question)
            head = message_to_proto(_without_content(reply))
            if what == "another object":
                tree, objects = _objects(ConfigRecord({"x": 1}))
            else:
                reply.metadata.__dict__["_reply_to_message_id"] = "f" * 64
                tree, objects = _objects(reply)
            head.metadata.message_id = tree.object_id
            request = PushMessagesRequest(
                node=node._node,
                messages_list=[head],
                message_object_trees=[tree],
                clientapp_runtime_list=[0.0],
            )
            contents = [objects[item.object_id] for item in iterate_object_tree(tree)]
            node._courier.post(BRING, pack_parts([request.SerializeToString(), *contents]))
        thread.join(60)
        exchange.finish("over")
    assert found == [{"a": 30, "bb": 30}]
    assert [site for site, _ in heard.left_] == ["a new site"]
