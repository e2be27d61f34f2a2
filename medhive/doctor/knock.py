"""One harmless request to whoever answers at the server's address."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from cryptography import x509

from medhive.flower.link import HEALTH

MAX_BODY = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """An answer to a harmless request.

    Parameters
    ----------
    certificate : Certificate
        What the server showed, believed or not.
    status : int
    body : bytes
        Its first 64 KiB.
    date : datetime or None
        The server's time.
    at : datetime
        This machine's, in the middle of the request.
    """

    certificate: x509.Certificate
    status: int
    body: bytes
    date: datetime | None
    at: datetime

    @property
    def is_medhive(self) -> bool:
        """Whether a MedHive server is well."""
        return self.status == httpx.codes.OK and b'"status":"ok"' in self.body.replace(b" ", b"")


def knock(
    address: str,
    context: ssl.SSLContext,
    timeout: float,
    *,
    path: str = HEALTH,
    proxies: bool = True,
) -> Answer:
    """Ask a server for a page that tells nobody anything.

    Raises
    ------
    httpx.TransportError
        If there is no answer, or the certificate is not accepted by `context`.
    """
    with httpx.Client(verify=context, timeout=timeout, trust_env=proxies) as client:
        start = datetime.now(UTC)
        with client.stream("GET", f"https://{address}{path}") as response:
            at = start + (datetime.now(UTC) - start) / 2
            tls = response.extensions["network_stream"].get_extra_info("ssl_object")
            certificate = x509.load_der_x509_certificate(tls.getpeercert(True))
            body = b""
            for part in response.iter_raw():
                body += part
                if len(body) > MAX_BODY:
                    break
            return Answer(certificate, response.status_code, body, _date(response), at)


def _date(response: httpx.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None
