"""A server's home with its listening link, in this process, and strangers who knock there."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from medhive.flower.admission import Admission, Refusals
from medhive.flower.link import Link
from medhive.flower.node import Node, tls_context
from medhive.flower.signed import PUBLIC_KEY, sign
from medhive.identity.enrolment import Enrolled, enrol, router
from medhive.identity.gatekeeper import Gatekeeper
from medhive.identity.joincode import JoinCode, fingerprint, new_secret
from medhive.identity.keys import new_key
from medhive.identity.serverhome import init_home, open_roster

Key = ec.EllipticCurvePrivateKey


class House:
    """A home and its link with the real gatekeeper, used as a context manager.

    Parameters
    ----------
    folder : Path
    admission : Admission, optional
        Instead of the roster.
    """

    def __init__(self, folder: Path, admission: Admission | None = None) -> None:
        self.files = init_home(folder, [], None, datetime.now(UTC))
        self.roster = open_roster(folder)
        self.log: list[str] = []
        self.refusals = Refusals(self.log.append, quiet=0)
        self.keeper = Gatekeeper(self.roster, self.refusals, self.log.append)
        self.link = Link(
            "127.0.0.1",
            0,
            self.files.certificate,
            self.files.key,
            admission=admission or self.keeper,
            refusals=self.refusals,
            routes=[
                router(
                    self.files.ca.read_bytes(),
                    self.roster,
                    on_enrolled=self._enrolled,
                    on_refused=self.refusals.add,
                )
            ],
        )
        self.address = f"127.0.0.1:{self.link.port}"
        self._open = ExitStack()

    def _enrolled(self, site: str) -> None:
        self.keeper.refresh()
        self.log.append(f'site "{site}" enrolled')

    def __enter__(self) -> Self:
        self._open.enter_context(self.link)
        self._open.enter_context(self.keeper.watch(self.link))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()
        print("\n".join(self.log))

    @property
    def ca(self) -> bytes:
        """Certificate of the authority."""
        return self.files.ca.read_bytes()

    def invite(self, site: str, days: float = 7) -> JoinCode:
        """Make a join code."""
        secret = new_secret()
        self.roster.invite(site, secret, datetime.now(UTC) + timedelta(days=days))
        return JoinCode(self.address, site, fingerprint(self.ca), secret)

    def enrolled(self, site: str) -> Key:
        """Invite and enrol a site; return its key."""
        key = new_key()
        enrol(self.invite(site), key)
        return key

    def node(self, key: Key, give_up_after: float = 20) -> Node:
        """Return a connection of a site."""
        return Node(self.address, self.ca, key, give_up_after=give_up_after)

    def http(self, **options: object) -> httpx.Client:
        """Return a stranger's HTTP client that checks the server's certificate."""
        return httpx.Client(
            base_url=f"https://{self.address}", verify=tls_context(self.ca), trust_env=False,
            timeout=30, **options,  # type: ignore[arg-type]
        )  # fmt: skip

    def tls(self) -> ssl.SSLSocket:
        """Return a stranger's TLS connection."""
        plain = socket.create_connection(("127.0.0.1", self.link.port), timeout=30)
        return tls_context(self.ca).wrap_socket(plain, server_hostname="127.0.0.1")

    def refused(self, reason: str, times: int = 1) -> None:
        """Await a line in the log and the counter in the roster."""
        until(lambda: any(f": {reason} (" in line for line in self.log), f"a line on {reason}")
        until(lambda: self.roster.refusals().get(reason, 0) >= times, f"{times} of {reason}")


def until(condition: Callable[[], bool], what: str, timeout: float = 20) -> None:
    """Await a condition of another thread or process."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"there was no {what} within {timeout:.0f} s"
        time.sleep(0.02)


def pem(key: Key) -> bytes:
    """Return the public key as the server keeps it."""
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def signed(key: Key, path: str, body: bytes = b"") -> dict[str, str]:
    """Return the headers with which a site sends a request."""
    return {PUBLIC_KEY: base64.b64encode(pem(key)).decode(), **sign(key, "POST", path, body)}


def knock(client: httpx.Client, path: str, headers: Mapping[str, str], body: bytes = b"") -> str:
    """Send a request to the Fleet API; return the reason of its refusal, empty where served."""
    answer = client.post(path, content=body, headers=dict(headers))
    if answer.status_code == httpx.codes.OK:
        return ""
    try:
        return str(answer.json()["reason"])
    except (ValueError, KeyError):
        return f"HTTP {answer.status_code}"


def together(*works: Callable[[], object]) -> list[object]:
    """Call all of them at the same moment; return results and exceptions."""
    start = threading.Barrier(len(works))
    results: list[object] = [None] * len(works)

    def call(place: int, work: Callable[[], object]) -> None:
        start.wait()
        try:
            results[place] = work()
        except Exception as error:  # noqa: BLE001 - what came of it is the result
            results[place] = error

    threads = [threading.Thread(target=call, args=each) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


__all__ = ["Enrolled", "House", "Key", "knock", "pem", "signed", "together", "until"]
