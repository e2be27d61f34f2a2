"""Requests that a site's key signs as a whole.

Flower's node authentication signs a timestamp alone: whoever once saw the three headers could
put them on any request for five minutes. Here the signature covers method, path, body, time and
a nonce, and the server takes each nonce once.
"""

from __future__ import annotations

import hashlib
import heapq
import secrets
import threading
import time
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping

import httpx
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

TIME, NONCE, SIGNATURE = "medhive-time", "medhive-nonce", "medhive-signature"
PUBLIC_KEY = FLEET_HTTP_PUBLIC_KEY_HEADER
WINDOW = 300.0
"""Seconds that the clocks of site and server may differ."""

MAX_NONCES = 2_000_000
_ECDSA = ec.ECDSA(hashes.SHA256())


def statement(method: str, path: str, at: str, nonce: str, body: bytes) -> bytes:
    """Return what is signed."""
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join(["medhive-request-1", method, path, at, nonce, digest]).encode()


def sign(key: ec.EllipticCurvePrivateKey, method: str, path: str, body: bytes) -> dict[str, str]:
    """Return the headers that sign one request."""
    at, nonce = f"{time.time():.3f}", b64encode(secrets.token_bytes(16)).decode()
    signature = key.sign(statement(method, path, at, nonce, body), _ECDSA)
    return {TIME: at, NONCE: nonce, SIGNATURE: b64encode(signature).decode()}


class SigningInterceptor:
    """Sign every request of a site's Fleet client."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Add the headers and go on."""
        request = context.request
        request.headers.update(sign(self._key, request.method, request.url.path, request.content))
        return call_next(context)


class Forged(Exception):  # noqa: N818 - an answer to one request
    """A request is not what a site signed.

    Parameters
    ----------
    reason : str
        ``unsigned``, ``altered``, ``old`` or ``replayed``.
    message : str
        For the person at the site.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = message
        super().__init__(message)


class Verifier:
    """Check signed requests, each once.

    Parameters
    ----------
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: set[tuple[bytes, str]] = set()
        self._expiry: list[tuple[float, tuple[bytes, str]]] = []

    def verify(
        self, key: bytes, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Check that the owner of a public key (`claimed_key`) signed a request, just now.

        Raises
        ------
        Forged
            If the request is unsigned, altered, old, or was seen before.
        """
        try:
            signature = b64decode(headers[SIGNATURE], validate=True)
            at, nonce = headers[TIME], headers[NONCE]
            signed_at = float(at)
        except (KeyError, ValueError, Base64Error):
            raise Forged("unsigned", "the request is not signed by a site") from None
        if len(nonce) > 64 or not is_signed(
            key, signature, statement(method, path, at, nonce, body)
        ):
            raise Forged("altered", "the request is not the one that the site signed")
        now = self._clock()
        if not abs(now - signed_at) <= WINDOW:
            raise Forged(
                "old",
                f"the site's clock and the server's differ by {now - signed_at:.0f} s,"
                f" more than {WINDOW:.0f} s",
            )
        if not self._first((key, nonce), signed_at, now):
            raise Forged("replayed", "the request was seen before")

    def _first(self, mark: tuple[bytes, str], signed_at: float, now: float) -> bool:
        with self._lock:
            while self._expiry and self._expiry[0][0] < now:
                self._seen.discard(heapq.heappop(self._expiry)[1])
            if mark in self._seen or len(self._seen) >= MAX_NONCES:
                return False
            self._seen.add(mark)
            heapq.heappush(self._expiry, (signed_at + WINDOW, mark))
            return True


def claimed_key(headers: Mapping[str, str]) -> bytes | None:
    """Return the public key (canonical PEM) that a request names, before its signature is checked.

    None where it names none, or not in the one form that is compared.
    """
    try:
        pem = b64decode(headers[PUBLIC_KEY], validate=True)
    except (KeyError, ValueError, Base64Error):
        return None
    return pem if canonical_pem(pem) == pem else None


def canonical_pem(pem: bytes) -> bytes | None:
    """Return a P-256 public key in the one form that is compared, or None."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return None
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def is_signed(pem: bytes, signature: bytes, message: bytes) -> bool:
    """Say whether the owner of a public key signed a message."""
    key = serialization.load_pem_public_key(pem)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, message, _ECDSA)
    except InvalidSignature:
        return False
    return True
