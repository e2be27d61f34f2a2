"""A hospital's client: connect, answer every task, end when the study ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Context, Message, RecordDict

from medhive.client.answer import Site, Tables
from medhive.client.app import client_app
from medhive.client.public import public_error
from medhive.data.bundled import load_demo
from medhive.data.site import SiteData, load_site
from medhive.data.sitefile import SiteFile
from medhive.errors import FederationError, MedHiveError, Place, SettingError
from medhive.flower.node import Node
from medhive.flower.wire import Reply, Task, decode_reply, decode_task, from_message
from medhive.study import Study


@dataclass(frozen=True)
class ClientSettings:
    """What a data manager says when starting a client.

    Parameters
    ----------
    server : str
        ``host:port``.
    site : str
        Name of the site.
    data : Path, SiteFile or None
        The site's rows, or the file that says where they are; bundled public ones where there
        are none.
    root_certificates : bytes or None
        PEM of the study's certificate authority; None trusts whoever answers.
    key : EllipticCurvePrivateKey
        The site's own key.
    pinned : str, optional
        SHA-256 of the only study that the site takes part in.
    give_up_after : float, optional
        Seconds of waiting for the server after which the client ends.
    tables : Tables
        What the site shows of itself when a study is described.
    allow_drop : bool
        Leave out rows in which a value breaks the contract, instead of taking no part.
    """

    server: str
    site: str
    data: Path | SiteFile | None
    root_certificates: bytes | None
    key: ec.EllipticCurvePrivateKey
    pinned: str | None = None
    give_up_after: float | None = None
    tables: Tables = field(default_factory=Tables)
    allow_drop: bool = False


def run_client(
    settings: ClientSettings, say: Callable[[str], None], stop: threading.Event | None = None
) -> None:
    """Take part in one study.

    Raises
    ------
    DataError
        If the rows cannot be read or break the contract; the server hears only that they do.
    RefusalError
        If the site does not take part in what is asked.
    SettingError
        If the server cannot be reached or is not the one that the certificates are for.
    FederationError
        If the server ended the run before there was a result.
    """
    if settings.data is None and settings.root_certificates is not None:
        raise SettingError(
            "this site is enrolled, and brings no rows",
            place=Place(setting="--data"),
            next_step="add --data FILE or --site SITE.toml",
        )
    load = partial(_load, settings, say)
    site = Site(settings.site, load, settings.pinned, tables=settings.tables)
    app = client_app(lambda _: site)
    context = Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})
    with Node(
        settings.server,
        settings.root_certificates,
        settings.key,
        on_wait=say,
        give_up_after=settings.give_up_after,
        stop=stop,
    ) as node:
        say(f"connected to {settings.server}; waiting for the study")
        while True:
            message = node.receive()
            if message is None:
                continue
            try:
                task = decode_task(from_message(message))
                reply = app(message, context)
            except MedHiveError as error:
                node.send(Message(public_error(error), reply_to=message))
                raise
            node.send(reply)
            if _react(task, decode_reply(from_message(reply)), say):
                return


def _load(
    settings: ClientSettings,
    say: Callable[[str], None],
    study: Study,
    *,
    keep_missing: bool = False,
) -> SiteData:
    data = (
        load_demo(study, settings.site, keep_missing=keep_missing)
        if settings.data is None
        else load_site(
            settings.data,
            study,
            settings.site,
            keep_missing=keep_missing,
            allow_drop=settings.allow_drop,
        )
    )
    title = f' "{study.study.title}"' if study.study.title else ""
    say(f"study {study.study.name}{title}, contract {study.sha256[:12]}")
    used = f"{data.n_rows} rows read, {data.n_rows - data.n_dropped} used"
    if keep_missing:
        used += " to describe the study; no model is fitted"
    elif data.n_dropped > data.n_broken:
        used += f", {data.n_dropped - data.n_broken} dropped because a value is missing"
    if data.test is not None:
        used += f"; {len(data.test)} of them held out for evaluation"
    say(used)
    for note in data.notes:
        say(note)
    if data.unused:
        say(f"columns of the file that the study does not use: {', '.join(data.unused)}")
    return data


def _react(task: Task, reply: Reply, say: Callable[[str], None]) -> bool:
    """Tell the person what happened; say whether the study is over."""
    if task.kind == "turn-away":
        raise SettingError(
            task.note, place=Place(setting="--id"), next_step="give this client a name of its own"
        )
    if task.kind == "abort":
        raise FederationError(
            task.note, next_step="ask the study's statistician, and start this client again then"
        )
    if task.kind == "finish":
        say(task.note or "the study is over")
        return True
    if task.kind == "late":
        say(f"{task.note}; waiting for the next run")
    elif len(reply.sums.vector):
        count = len(reply.sums.vector)
        where = f"round {task.round}" if task.round else "before round 1"
        say(f"{where}, {task.kind}: sent {count} sums ({8 * count} bytes)")
    return False
