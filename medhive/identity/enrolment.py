"""Enrolment: a site turns a join code into a place in the roster, over the server's own TLS."""

from __future__ import annotations

import hashlib
import json
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field, ValidationError

from medhive.errors import IdentityError, Place, SettingError
from medhive.identity.joincode import JoinCode, fingerprint
from medhive.identity.keys import write_private
from medhive.identity.roster import Roster

CA_PATH, ENROL_PATH = "/medhive/ca", "/medhive/enrol"
TIMEOUT = 15.0
_ECDSA = ec.ECDSA(hashes.SHA256())


class _Request(BaseModel):
    site: Annotated[str, Field(max_length=64)]
    secret: Annotated[str, Field(max_length=64)]
    public_key: Annotated[str, Field(max_length=1000)]
    signature: Annotated[str, Field(max_length=400)]


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
    """

    address: str
    site: str
    root_certificates: bytes

    def save(self, home: Path) -> None:
        """Write it into the site's home."""
        data = {
            "version": 1,
            "address": self.address,
            "site": self.site,
            "ca": self.root_certificates.decode("ascii"),
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
            data = json.loads(path.read_bytes())
            return cls(data["address"], data["site"], data["ca"].encode("ascii"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise SettingError(
                "this file is damaged",
                place=Place(file=path),
                next_step="ask for a new join code, and give it with --join",
            ) from None


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

    @routes.post(ENROL_PATH)
    async def enrol(request: Request) -> JSONResponse:
        try:
            asked = _Request.model_validate_json(await request.body())
            key = _checked_key(asked, fingerprint(authority_pem))
            book.enrol(asked.site, _decoded(asked.secret), key, datetime.now(UTC))
        except ValidationError:
            reason, message = "unreadable", "the enrolment cannot be read"
        except IdentityError as error:
            reason, message = error.reason, error.cause
        else:
            on_enrolled(asked.site)
            return JSONResponse({"site": asked.site})
        on_refused(reason, request.client.host if request.client else "unknown")
        return JSONResponse({"reason": reason, "message": message}, 403)

    return routes


def enrol(code: JoinCode, key: ec.EllipticCurvePrivateKey) -> Enrolled:
    """Enrol a site with its join code.

    Raises
    ------
    IdentityError
        If the server is not the one that the code was made by, or refuses the code.
    SettingError
        If the server cannot be reached.
    """
    authority = fetch_authority(code.address)
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
    verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    verify.load_verify_locations(cadata=authority.decode("ascii"))
    try:
        answer = httpx.post(
            f"https://{code.address}{ENROL_PATH}", json=asked, verify=verify, timeout=TIMEOUT
        )
    except httpx.HTTPError as error:
        raise _unreachable(code.address, error) from None
    if answer.status_code != httpx.codes.OK:
        reason, message = read_refusal(answer)
        raise IdentityError(
            message or f"the server refused to enrol this site (HTTP {answer.status_code})",
            reason or "refused",
            place=Place(setting="--join"),
            next_step="ask the study's statistician for a new join code",
        )
    return Enrolled(code.address, code.site, authority)


def fetch_authority(address: str) -> bytes:
    """Fetch the authority's certificate that a server shows, without trusting it.

    Raises
    ------
    SettingError
        If the server cannot be reached or is not MedHive's.
    """
    # nothing is told to this server before its certificate matches the join code
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        answer = httpx.get(f"https://{address}{CA_PATH}", verify=unverified, timeout=TIMEOUT)
        answer.raise_for_status()
        fingerprint(answer.content)
    except httpx.HTTPStatusError as error:
        raise _not_medhive(address, f"HTTP {error.response.status_code}") from None
    except httpx.HTTPError as error:
        raise _unreachable(address, error) from None
    except ValueError:
        raise _not_medhive(address, "it shows no certificate") from None
    return answer.content


def read_refusal(answer: httpx.Response) -> tuple[str, str]:
    """Return reason and message of a refused request; empty where the server gave none."""
    try:
        data = answer.json()
        return str(data.get("reason", "")), str(data.get("message", ""))[:300]
    except (ValueError, AttributeError):
        return "", ""


def _statement(site: str, secret: bytes, public_key: bytes, authority: bytes) -> bytes:
    digest = hashlib.sha256(secret).hexdigest()
    return b"\n".join(
        [b"medhive-enrol-1", site.encode(), digest.encode(), public_key, authority.hex().encode()]
    )


def _checked_key(asked: _Request, authority: bytes) -> bytes:
    """Return the public key, after its owner proved to have the private one."""
    try:
        key = serialization.load_pem_public_key(asked.public_key.encode())
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError
        pem = key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        statement = _statement(asked.site, _decoded(asked.secret), pem, authority)
        key.verify(_decoded(asked.signature), statement, _ECDSA)
    except (ValueError, InvalidSignature):
        raise IdentityError("the site did not prove that the key is its own", "altered") from None
    return pem


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise IdentityError("the enrolment cannot be read", "unreadable") from None


def _unreachable(address: str, error: Exception) -> SettingError:
    return SettingError(
        f"the server cannot be reached: {error}",
        place=Place(setting=address),
        next_step="check that the server runs and that this network lets the connection out",
    )


def _not_medhive(address: str, what: str) -> SettingError:
    return SettingError(
        f"what answers there is not a MedHive server ({what})",
        place=Place(setting=address),
        next_step="check the address",
    )
