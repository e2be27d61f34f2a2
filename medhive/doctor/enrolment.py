"""Is this site's key one that the server admits."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import serialization

from medhive.doctor.files import check_private
from medhive.doctor.finding import Finding, green, grey, red, red_of
from medhive.errors import MedHiveError
from medhive.flower.node import tls_context
from medhive.flower.signed import PUBLIC_KEY, sign
from medhive.identity.enrolment import read_refusal
from medhive.identity.joincode import key_fingerprint
from medhive.identity.keys import load_key

ENROLMENT = "enrolment"
HEARTBEAT = "/v1/fleet/send-node-heartbeat"
_STEPS = {
    "unknown-key": "ask the study's statistician for a new join code, and enrol again:"
    " medhive client --join CODE --data FILE",
    "revoked": "ask the study's statistician, who revoked this site",
    "old": "set this machine's clock by NTP, or ask IT to",
    "too-many": "try again in a few minutes",
}


def check_key_files(home: Path) -> Finding | None:
    """Make sure that what the site keeps of its enrolment is private; None where it is."""
    for path in (home, home / "site.key", home / "enrolment.json"):
        fault = check_private(path) if path.exists() else None
        if fault is not None:
            mode = "700" if path.is_dir() else "600"
            return red(ENROLMENT, fault, f"chmod {mode} {path}")
    return None


def check_admitted(home: Path, address: str, trust: bytes | None, timeout: float) -> Finding:
    """Ask the server, signed with the site's key, whether the key may speak.

    The question is the heartbeat of a node that nobody is, so that it changes nothing: neither
    at the server nor for a client of this site that runs at the moment.
    """
    path = home / "site.key"
    if not path.exists():
        return red(
            ENROLMENT,
            f"this site is enrolled, and its key {path} is gone",
            "restore the key from a backup, or ask the study's statistician for a new join code",
        )
    try:
        key = load_key(path)
    except MedHiveError as error:
        return red_of(ENROLMENT, error)
    except OSError as error:
        return red(
            ENROLMENT,
            f"{path} cannot be read: {error.strerror}",
            "run this as the user that runs the client",
        )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    # no bytes are a valid heartbeat in protobuf, that of node 0
    headers = {
        **sign(key, "POST", HEARTBEAT, b""),
        PUBLIC_KEY: b64encode(public).decode(),
        "content-type": "application/protobuf",
    }
    try:
        answer = httpx.post(
            f"https://{address}{HEARTBEAT}",
            content=b"",
            headers=headers,
            verify=tls_context(trust),
            timeout=timeout,
        )
    except httpx.TransportError as error:
        return red(ENROLMENT, f"the server does not answer: {error}", "try again")
    reason, message = read_refusal(answer)
    if reason:
        return red(
            ENROLMENT,
            f"the server refuses this site: {message or reason}",
            _STEPS.get(reason, "ask the study's statistician"),
        )
    if answer.status_code != httpx.codes.UNAUTHORIZED:
        return grey(ENROLMENT, f"unclear: the server answers with HTTP {answer.status_code}")
    return green(ENROLMENT, f"the server admits this site's key ({key_fingerprint(public)})")
