"""One question to all sites, one total back, over a Flower grid.

Whoever runs the rounds sees totals only. Who takes part, who is late, who said no, and the
check that every reply answers the question that was asked, are settled here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from medhive.errors import FederationError, ProtocolError
from medhive.flower.grid import LinkGrid
from medhive.flower.wire import (
    JOIN,
    Reply,
    Task,
    decode_reply,
    encode_task,
    from_message,
    to_record,
)
from medhive.learning.algorithm import Algorithm
from medhive.learning.registry import EVALUATIONS, TRAININGS
from medhive.learning.standardise import MOMENTS, SPREAD
from medhive.rows import Array
from medhive.study import Study
from medhive.sums import Sums, total

STOCK_POLL = 1.0
"""Seconds between two looks at a stock grid, which cannot wake whoever waits."""

LATE_JOIN = 5.0
"""Seconds that a run with enough sites waits for the answer of a node that comes late."""

LOST = frozenset(
    {
        ErrorCode.MESSAGE_UNAVAILABLE,
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
        ErrorCode.NODE_UNAVAILABLE,
    }
)
"""Codes of the replies that Flower itself makes when nothing can come from a node any more."""

SETTLE = 1.0
"""Seconds without a newcomer after which a run with enough sites begins."""

LONGEST_REASON = 200

WAIT_REPORT = 15.0
"""Seconds after which a wait says again for whom it waits."""


class Watch(Protocol):
    """Hears what happens while sites are asked."""

    def joined(self, site: str, n_samples: int) -> None:
        """Take note that a site takes part from now on."""

    def left(self, site: str, reason: str) -> None:
        """Take note that a site does not take part any more."""

    def waiting(self, sites: list[str], minimum: int, seconds: float) -> None:
        """Take note that the run waits, because fewer sites than the study asks for are there."""


@dataclass(frozen=True)
class Answer:
    """The total of one question, and who is in it.

    Parameters
    ----------
    total : Sums
    sites : mapping of str to int
        Training rows by site.
    """

    total: Sums
    sites: Mapping[str, int]


@dataclass
class _Member:
    node_id: int
    n_samples: int


@dataclass(frozen=True)
class _NoReply:
    """Why a node gave no usable reply; `lost` says that Flower lost sight of the node."""

    reason: str
    lost: bool = False


@dataclass
class GridExchange:
    """Ask the sites behind a Flower grid.

    Parameters
    ----------
    grid : Grid
        MedHive's own, or a stock one.
    study : Study
    watch : Watch
    join_timeout : float
        Seconds to wait for `min-available-clients` before the run fails.
    join : str
        What sites are asked to take part in: `JOIN` or `JOIN_TO_DESCRIBE`.
    """

    grid: Grid
    study: Study
    watch: Watch
    join_timeout: float = 86_400.0
    join: str = JOIN
    _members: dict[str, _Member] = field(default_factory=dict)
    _rows: dict[str, int] = field(default_factory=dict)
    _told: dict[int, str] = field(default_factory=dict)
    _started: bool = False

    def gather(self) -> Mapping[str, int]:
        """Wait for as many sites as the study asks for; return their training rows.

        Raises
        ------
        FederationError
            If they did not come within `join_timeout`.
        """
        self._wait_for_enough(0, time.monotonic() + self.join_timeout)
        while isinstance(self.grid, LinkGrid):
            # hospitals that were started together take part together
            seen, count = self.grid.news, len(self._members)
            self.grid.wait_for_news(seen, SETTLE)
            self._admit(0)
            if self.grid.news == seen and len(self._members) == count:
                break
        return {site: member.n_samples for site, member in self._members.items()}

    def ask(self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int) -> Answer:
        """Ask every site for its sums and return the total.

        A site that does not answer within the study's ``round-timeout`` is left out; with fewer
        than ``min-available-clients`` the question is put again when enough sites are back.

        Raises
        ------
        FederationError
            If too few sites answered until `join_timeout` passed.
        """
        replies = self._replies(algorithm, state, server_round)
        sites = {site: reply.n_samples for site, reply in replies.items()}
        return Answer(total(reply.sums for reply in replies.values()), sites)

    def collect(
        self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int
    ) -> Mapping[str, Sums]:
        """Ask as `ask` does, and return what each site made ready to be shown by site."""
        replies = self._replies(algorithm, state, server_round)
        return {site: reply.sums for site, reply in replies.items()}

    def _replies(
        self, algorithm: Algorithm, state: Mapping[str, Array], server_round: int
    ) -> dict[str, Reply]:
        """Return the replies of enough sites, in the order of their names."""
        self._started = True
        deadline = time.monotonic() + self.join_timeout
        attempt = 0
        while True:
            self._wait_for_enough(server_round, deadline)
            task = Task(algorithm.name, server_round, attempt, self.study.canonical, state)
            layout = algorithm.layout(state, self.study)
            nodes = {member.node_id: site for site, member in self._members.items()}
            replies: dict[str, Reply] = {}
            for node_id, reply in self._send(task, nodes):
                site = nodes[node_id]
                if isinstance(reply, _NoReply):
                    self._drop(site, reply.reason, may_return=reply.lost)
                elif reply.site != site or reply.sums.layout != layout:
                    self._drop(site, "its reply does not fit the question", may_return=False)
                elif not _agrees(reply):
                    self._drop(site, "its sums contradict its number of rows", may_return=False)
                else:
                    replies[site] = reply
            for site in [site for site in nodes.values() if site in self._members]:
                if site not in replies:
                    self._drop(site, "no answer in time")
            if len(replies) >= self.study.run.min_available_clients:
                return dict(sorted(replies.items()))
            attempt += 1

    def finish(self, note: str, *, completed: bool = True) -> None:
        """Tell every node that the run is over, and whether there is a result."""
        nodes = list(self.grid.get_node_ids())
        kind = "finish" if completed else "abort"
        task = Task(kind, 0, 0, self.study.canonical, note=note)
        list(self._send(task, nodes, timeout=10.0))

    def _wait_for_enough(self, server_round: int, deadline: float) -> None:
        minimum = self.study.run.min_available_clients
        start = said = time.monotonic()
        first = True
        while True:
            seen = self.grid.news if isinstance(self.grid, LinkGrid) else 0
            self._admit(server_round)
            if len(self._members) >= minimum:
                return
            now = time.monotonic()
            if now > deadline:
                raise FederationError(
                    f"only {len(self._members)} of {minimum} sites"
                    f" ({', '.join(sorted(self._members)) or 'none'}) came"
                    f" within {self.join_timeout:.0f} s",
                    next_step="start the missing clients, or lower min-available-clients",
                )
            if first or now - said > WAIT_REPORT:
                first, said = False, now
                self.watch.waiting(sorted(self._members), minimum, now - start)
            if isinstance(self.grid, LinkGrid):
                self.grid.wait_for_news(seen, 1.0)
            else:
                time.sleep(STOCK_POLL)

    def _admit(self, server_round: int) -> None:
        """Let nodes in that are new or back, and let go of those that went offline."""
        # a node that comes back has the same id, and another time of activation
        online = {node.node_id: node.last_activated_at for node in self.grid.get_nodes()}
        for site, member in list(self._members.items()):
            if member.node_id not in online:
                self._drop(site, "its client is not connected any more")
        known = {member.node_id for member in self._members.values()}
        new = sorted(
            node_id
            for node_id, activated in online.items()
            if node_id not in known and self._told.get(node_id) != activated
        )
        if not new:
            return
        task = Task(self.join, server_round, 0, self.study.canonical)
        # a run that can go on does not wait long for whoever comes
        enough = len(self._members) >= self.study.run.min_available_clients
        for node_id, reply in self._send(task, new, timeout=LATE_JOIN if enough else None):
            self._told[node_id] = online[node_id]
            if isinstance(reply, _NoReply):
                self.watch.left("a new site", reply.reason)
            elif not self._may_be(node_id, reply.site):
                self._tell(node_id, "turn-away", f'this site is not enrolled as "{reply.site}"')
                self.watch.left(reply.site, "a client with another site's key was turned away")
            elif reply.site in self._members:
                self._tell(node_id, "turn-away", f'another client takes part as "{reply.site}"')
                self.watch.left(reply.site, "a second client with this name was turned away")
            elif self._started and reply.site not in self._rows:
                self._tell(node_id, "late", "the run under way began without this site")
                self.watch.left(reply.site, "it came after the run began, and waits for the next")
            else:
                self._members[reply.site] = _Member(node_id, reply.n_samples)
                self._rows[reply.site] = reply.n_samples
                self.watch.joined(reply.site, reply.n_samples)

    def _may_be(self, node_id: int, site: str) -> bool:
        """Say whether a node may carry a site's name."""
        name = self.grid.site_of(node_id) if isinstance(self.grid, LinkGrid) else None
        return name is None or name == site

    def _drop(self, site: str, reason: str, *, may_return: bool = True) -> None:
        """Let a site go; one that may not return is asked again after it connects anew."""
        member = self._members.pop(site)
        if may_return:
            self._told.pop(member.node_id, None)
        self.watch.left(site, reason)

    def _tell(self, node_id: int, kind: str, note: str) -> None:
        list(self._send(Task(kind, 0, 0, self.study.canonical, note=note), [node_id]))

    def _send(
        self, task: Task, nodes: Iterable[int], timeout: float | None = None
    ) -> Iterable[tuple[int, Reply | _NoReply]]:
        """Put one task to some nodes; yield each node's reply, or why there is none."""
        record = to_record(encode_task(task))
        kind = _message_type(task.kind)
        messages = [Message(record, node_id, kind, group_id=str(task.round)) for node_id in nodes]
        if not messages:
            return
        limit = self.study.run.round_timeout if timeout is None else timeout
        for message in self.grid.send_and_receive(messages, timeout=limit):
            # a reply that Flower makes for a lost node does not come from that node
            asked = {each.metadata.message_id: each.metadata.dst_node_id for each in messages}
            node_id = asked[message.metadata.reply_to_message_id]
            yield node_id, self._read(message, task, node_id)

    def _read(self, message: Message, task: Task, node_id: int) -> Reply | _NoReply:
        if message.has_error():
            by_flower = message.metadata.src_node_id != node_id
            if by_flower and message.error.code in LOST:
                return _NoReply("its client is not connected any more", lost=True)
            return _NoReply(_one_line(message.error.reason) or "its client failed")
        try:
            reply = decode_reply(from_message(message))
        except ProtocolError as error:
            return _NoReply(f"its reply was refused: {error.cause}")
        asked = (task.kind, task.round, task.attempt, self.study.sha256)
        if (reply.kind, reply.round, reply.attempt, reply.contract_sha256) != asked:
            return _NoReply("its reply belongs to another question")
        return reply


def _agrees(reply: Reply) -> bool:
    """Say whether the training rows in a reply's sums are those that its site has."""
    if reply.kind not in TRAININGS | {MOMENTS.name, SPREAD.name}:
        return True
    events = reply.sums.number("events") if reply.kind == MOMENTS.name else 0.0
    return reply.sums.number("n") == reply.n_samples and 0 <= events <= reply.n_samples


def _one_line(text: str | None) -> str:
    """Return what a site says as one short line without control characters."""
    clean = "".join(
        letter if letter.isprintable() else " " for letter in (text or "")[:LONGEST_REASON]
    )
    return clean.strip()


def _message_type(kind: str) -> str:
    if kind in TRAININGS:
        return "train"
    return "evaluate" if kind in EVALUATIONS else "query"
