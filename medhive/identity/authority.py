"""The server's certificate authority and its TLS certificate."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from medhive.errors import Place, SettingError
from medhive.identity.keys import key_pem, load_key, new_key, private_folder, write_private

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class ServerFiles:
    """Paths of a server's identity; `ca` is public and goes to the sites."""

    home: Path

    @property
    def ca(self) -> Path:
        """Certificate of the authority."""
        return self.home / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """Private key of the authority."""
        return self.home / "ca.key"

    @property
    def certificate(self) -> Path:
        """The server's certificate."""
        return self.home / "server.pem"

    @property
    def key(self) -> Path:
        """The server's private key."""
        return self.home / "server.key"


def prepare_server(home: Path, names: Iterable[str], now: datetime.datetime) -> ServerFiles:
    """Make a server's authority once, and its certificate whenever it does not fit.

    Parameters
    ----------
    home : Path
        Folder of the server's identity.
    names : iterable of str
        Host names and addresses under which hospitals reach the server; the loopback names
        are always among them.
    now : datetime
        Current time, with a time zone.

    Raises
    ------
    SettingError
        If the folder cannot be written or holds something else.
    """
    files = ServerFiles(home)
    wanted = tuple(dict.fromkeys([*LOOPBACK, *names]))
    try:
        private_folder(home)
        if not files.ca.exists():
            _make_authority(files, now)
        if not _fits(files, wanted, now):
            # a name that was good enough for a join code stays good
            kept = _names_of(files.certificate)
            _make_server(files, tuple(dict.fromkeys([*wanted, *kept])), now)
    except OSError as error:
        raise SettingError(
            f"the server's identity cannot be written: {error.strerror}",
            place=Place(file=home),
            next_step="choose a folder that you may write with --home",
        ) from None
    return files


def _make_authority(files: ServerFiles, now: datetime.datetime) -> None:
    key = new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "MedHive study authority")])
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(files.ca_key, key_pem(key))
    write_private(files.ca, certificate.public_bytes(serialization.Encoding.PEM))
    files.ca.chmod(0o644)


def _make_server(files: ServerFiles, names: tuple[str, ...], now: datetime.datetime) -> None:
    authority_key = load_key(files.ca_key)
    authority = _certificate(files.ca)
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "MedHive server")])
    certificate = (
        _builder(subject, authority.subject, key.public_key(), now, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_name(n) for n in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    write_private(files.key, key_pem(key))
    write_private(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # a hospital's clock may be a little behind
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(text))
    try:
        return x509.DNSName(text)
    except ValueError:
        raise SettingError(
            f'"{text}" cannot stand in a certificate',
            place=Place(setting="--host, --name"),
            next_step="give an address or a host name in ASCII letters (xn--…)",
        ) from None


def _names_of(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [str(name.value) for name in _covered(_certificate(path))]


def _covered(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return list(found.value)


def _fits(files: ServerFiles, names: tuple[str, ...], now: datetime.datetime) -> bool:
    """Say whether the certificate is the key's, and covers the names for another thirty days."""
    if not (files.certificate.exists() and files.key.exists()):
        return False
    certificate = _certificate(files.certificate)
    covered = _covered(certificate)
    fresh = certificate.not_valid_after_utc - now > datetime.timedelta(days=30)
    paired = certificate.public_key() == load_key(files.key).public_key()
    return fresh and paired and all(_name(name) in covered for name in names)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        raise SettingError(
            "not a certificate that MedHive wrote",
            place=Place(file=path),
            next_step="restore the file from a backup, or choose another --home",
        ) from None
