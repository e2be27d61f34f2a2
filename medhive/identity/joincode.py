"""Join codes: one string with which a site enrols once, and with which it knows the server."""

from __future__ import annotations

import hashlib
import json
import secrets
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from medhive.errors import IdentityError, Place

PREFIX = "medhive1."
SECRET_BYTES = 16


@dataclass(frozen=True)
class JoinCode:
    """What a join code says.

    Parameters
    ----------
    address : str
        ``host:port`` of the server.
    site : str
        Name of the invited site.
    authority : bytes
        SHA-256 of the authority's certificate (DER): the site trusts this server and no other.
    secret : bytes
        Single-use.
    """

    address: str
    site: str
    authority: bytes
    secret: bytes

    def __str__(self) -> str:
        body = json.dumps(
            [self.address, self.site, _text(self.authority), _text(self.secret)],
            separators=(",", ":"),
        ).encode()
        return PREFIX + _text(body + zlib.crc32(body).to_bytes(4, "big"))

    def __repr__(self) -> str:
        return f"JoinCode({self.address!r}, {self.site!r})"

    @property
    def digest(self) -> str:
        """What tells this code from others, and may be kept where the code may not."""
        return hashlib.sha256(b"medhive-join-code" + self.secret).hexdigest()

    @classmethod
    def read(cls, text: str) -> JoinCode:
        """Read a join code as it was copied from an e-mail: spaces and line breaks are ignored.

        Raises
        ------
        IdentityError
            If it is not one, or some of it is missing.
        """
        compact = "".join(text.split())
        try:
            if not compact.startswith(PREFIX):
                raise ValueError
            data = _bytes(compact.removeprefix(PREFIX))
            body, check = data[:-4], data[-4:]
            if zlib.crc32(body).to_bytes(4, "big") != check:
                raise ValueError
            address, site, authority, secret = json.loads(body)
            code = cls(str(address), str(site), _bytes(authority), _bytes(secret))
        except (ValueError, TypeError, AttributeError, Base64Error, RecursionError):
            raise IdentityError(
                "this is not a whole join code",
                "bad-code",
                place=Place(setting="--join"),
                next_step=f"copy all of it: it begins with {PREFIX} and has no space in it",
            ) from None
        return code


def new_secret() -> bytes:
    """Return a fresh single-use secret."""
    return secrets.token_bytes(SECRET_BYTES)


def fingerprint(certificate_pem: bytes) -> bytes:
    """Return the SHA-256 of a certificate (DER), 32 bytes.

    Raises
    ------
    ValueError
        If it is not a certificate.
    """
    return x509.load_pem_x509_certificate(certificate_pem).fingerprint(hashes.SHA256())


def key_fingerprint(public_key: bytes) -> str:
    """Return the first 16 hexadecimal digits of a key's SHA-256, in groups that can be read out."""
    digest = hashlib.sha256(public_key).hexdigest()[:16]
    return " ".join(digest[i : i + 4] for i in range(0, 16, 4))


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
