"""Enrolment: a site turns a join code into a place in the roster, over the server's own TLS."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from medhive.errors import IdentityError, Place, SettingError
from medhive.flower.node import read_refusal as read_refusal
from medhive.flower.node import tls_context
from medhive.flower.signed import canonical_pem, is_signed
from medhive.identity.joincode import JoinCode, fingerprint
from medhive.identity.keys import write_private
from medhive.identity.patience import Patience, not_medhive
from medhive.identity.roster import Roster

CA_PATH, ENROL_PATH = "/medhive/ca", "/medhive/enrol"
_ECDSA = ec.ECDSA(hashes.SHA256())


class _Request(BaseModel):
    site: Annotated[str, Field(max_length=64)]
    secret: Annotated[str, Field(max_length=64)]
    public_key: Annotated[str, Field(max_length=1000)]
    signature: Annotated[str, Field(max_length=400)]


class _Kept(BaseModel):
    version: Literal[1]
    address: str
    site: str
    ca: str
    code: str = ""


@dataclass(frozen=True)
class Enrolled:
    """What a site keeps of its enrolment.

    Parameters
    ----------
    address : str
        ``host:port`` of the server.
    site : str
    root_certificates : bytes
        PEM of the server's authority.
    code : str
        Digest of the join code that it enrolled with.
    """

    address: str
    site: str
    root_certificates: bytes
    code: str

    def save(self, home: Path) -> None:
        """Write it into the site's home."""
        data = {
            "version": 1,
            "address": self.address,
            "site": self.site,
            "ca": self.root_certificates.decode("ascii"),
            "code": self.code,
        }
        write_private(home / "enrolment.json", json.dumps(data, indent=1).encode())

    @classmethod
    def load(cls, home: Path) -> Enrolled | None:
        """Read it from the site's home; None where the site is not enrolled.

        Raises
        ------
        SettingError
            If the file is damaged.
        """
        path = home / "enrolment.json"
        if not path.exists():
            return None
        try:
            kept = _Kept.model_validate_json(path.read_bytes())
            fingerprint(kept.ca.encode("ascii"))
        except OSError as error:
            raise SettingError(
                f"this file cannot be read: {error.strerror}",
                place=Place(file=path),
                next_step="give it back to the user who runs medhive client",
            ) from None
        except ValueError:
            raise SettingError(
                "this file is damaged",
                place=Place(file=path),
                next_step="move it away, ask for a new join code, and give that with --join",
            ) from None
        return cls(kept.address, kept.site, kept.ca.encode("ascii"), kept.code)


def router(
    authority_pem: bytes,
    roster: Roster | None,
    on_enrolled: Callable[[str], None],
    on_refused: Callable[[str, str], None],
) -> APIRouter:
    """Return the server's routes for enrolment.

    Parameters
    ----------
    authority_pem : bytes
        Certificate of the authority; public, sites check it against their join code.
    roster : Roster or None
        None at a server where nobody needs to enrol.
    on_enrolled : callable
        Called with the name of a site that enrolled.
    on_refused : callable
        Called with reason and peer of a refused enrolment.
    """
    routes = APIRouter()

    @routes.get(CA_PATH)
    def certificate() -> PlainTextResponse:
        return PlainTextResponse(authority_pem.decode("ascii"))

    if roster is None:
        return routes
    book = roster

    def answer(body: bytes, peer: str) -> JSONResponse:
        try:
            asked = _Request.model_validate_json(body)
            key = _checked_key(asked, fingerprint(authority_pem))
            book.enrol(asked.site, _decoded(asked.secret), key, datetime.now(UTC))
        except ValidationError:
            reason, message = "unreadable", "the enrolment cannot be read"
        except IdentityError as error:
            reason, message = error.reason, error.cause
        else:
            on_enrolled(asked.site)
            return JSONResponse({"site": asked.site})
        on_refused(reason, peer)
        return JSONResponse({"reason": reason, "message": message}, 403)

    @routes.post(ENROL_PATH)
    async def enrol(request: Request) -> JSONResponse:
        peer = request.client.host if request.client else "unknown"
        # a file that is locked for a moment must not hold up everybody else
        return await run_in_threadpool(answer, await request.body(), peer)

    return routes


def enrol(
    code: JoinCode,
    key: ec.EllipticCurvePrivateKey,
    *,
    on_wait: Callable[[str], None] = lambda _: None,
    give_up_after: float | None = None,
) -> Enrolled:
    """Enrol a site with its join code; wait for a server that does not answer yet.

    Parameters
    ----------
    code : JoinCode
    key : EllipticCurvePrivateKey
        The site's own; its private part stays here.
    on_wait : callable
        Called with a sentence when the server does not answer and the site waits.
    give_up_after : float, optional
        Seconds after which waiting ends; for ever where nothing is said.

    Raises
    ------
    IdentityError
        If the server is not the one that the code was made by, or refuses the code.
    SettingError
        If the server cannot be reached, or what answers there is not MedHive's.
    """
    patience = Patience(code.address, on_wait, give_up_after)
    authority = fetch_authority(code.address, patience)
    if fingerprint(authority) != code.authority:
        raise IdentityError(
            "the server at this address is not the one that made the join code",
            "wrong-authority",
            place=Place(setting=code.address),
            next_step="do not go on; ask the study's statistician, by telephone, what happened",
        )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signature = key.sign(_statement(code.site, code.secret, public, code.authority), _ECDSA)
    asked = {
        "site": code.site,
        "secret": b64encode(code.secret).decode(),
        "public_key": public.decode(),
        "signature": b64encode(signature).decode(),
    }
    answer = patience.send("POST", ENROL_PATH, tls_context(authority), json=asked)
    if answer.status_code != httpx.codes.OK:
        reason, message = read_refusal(answer)
        raise IdentityError(
            message or f"the server refused to enrol this site (HTTP {answer.status_code})",
            reason or "refused",
            place=Place(setting="--join"),
            next_step="ask the study's statistician for a new join code",
        )
    return Enrolled(code.address, code.site, authority, code.digest)


def fetch_authority(address: str, patience: Patience) -> bytes:
    """Fetch the authority's certificate that a server shows, without trusting it.

    Raises
    ------
    SettingError
        If the server cannot be reached or is not MedHive's.
    """
    # nothing is told to this server before its certificate matches the join code
    answer = patience.send("GET", CA_PATH, tls_context(None))
    try:
        answer.raise_for_status()
        fingerprint(answer.content)
    except httpx.HTTPStatusError as error:
        raise not_medhive(address, f"HTTP {error.response.status_code}") from None
    except ValueError:
        raise not_medhive(address, "it shows no certificate") from None
    return answer.content


def _statement(site: str, secret: bytes, public_key: bytes, authority: bytes) -> bytes:
    digest = hashlib.sha256(secret).hexdigest()
    return b"\n".join(
        [b"medhive-enrol-1", site.encode(), digest.encode(), public_key, authority.hex().encode()]
    )


def _checked_key(asked: _Request, authority: bytes) -> bytes:
    """Return the public key, after its owner proved to have the private one."""
    pem = canonical_pem(asked.public_key.encode())
    statement = _statement(asked.site, _decoded(asked.secret), pem or b"", authority)
    if pem is None or not is_signed(pem, _decoded(asked.signature), statement):
        raise IdentityError("the site did not prove that the key is its own", "altered") from None
    return pem


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise IdentityError("the enrolment cannot be read", "unreadable") from None
