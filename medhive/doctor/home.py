"""A server's home: private files, certificates that hold, names that sites use, the roster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from medhive.doctor.files import check_private
from medhive.doctor.finding import Finding, green, grey, red, red_of, skipped
from medhive.doctor.tls import names_of
from medhive.errors import MedHiveError
from medhive.identity.authority import ServerFiles
from medhive.identity.keys import load_key
from medhive.identity.serverhome import ADDRESS, ROSTER, host_of, open_roster, read_address

HOME, CERTIFICATE, NAMES, SITES = "home", "certificate", "names", "sites"
RENEWED = timedelta(days=30)
"""A certificate with less time left is renewed when the server starts."""


def check_home(home: Path, names: Iterable[str], *, local: bool) -> Iterator[Finding]:
    """Yield what there is to say about a home.

    Parameters
    ----------
    home : Path
    names : iterable of str
        Names under which sites reach the server, beside that of the home's address.
    local : bool
        Whether the server listens for clients on this machine alone, which need no roster.
    """
    files = ServerFiles(home)
    if not files.ca.exists() or not (local or (home / ROSTER).exists()):
        why = f"{home} is not a server's home"
        if local:
            yield grey(HOME, f"{why} yet; clients on this machine alone need none")
        else:
            yield red(HOME, why, f"medhive init {home} (then: medhive invite SITE)")
        for name in (CERTIFICATE, NAMES, SITES):
            yield grey(name, "not checked: there is no home")
        return
    finding = _check_files(files)
    yield finding
    if not finding.ok:
        yield from skipped((CERTIFICATE, NAMES, SITES), HOME)
        return
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
    except ValueError:
        yield red(
            CERTIFICATE,
            f"{files.ca} or {files.certificate} is not a certificate that MedHive wrote",
            "restore the folder from a backup",
        )
        yield from skipped((NAMES,), CERTIFICATE)
    else:
        yield _check_certificate(files, certificate, authority, datetime.now(UTC))
        yield _check_names(home, certificate, names)
    yield _check_sites(home)


def _check_files(files: ServerFiles) -> Finding:
    home = files.home
    secret = [files.ca_key, files.key]
    gone = next((path for path in (*secret, files.certificate) if not path.exists()), None)
    if gone is not None:
        step = (
            "restore the folder from a backup, or make another home with medhive init and invite"
            " every site again"
            if gone == files.ca_key
            else f"delete {files.certificate} if it is there, and start the server: it makes both"
        )
        return red(HOME, f"{gone} is gone", step)
    for path in (home, *secret, home / ROSTER, home / ADDRESS):
        fault = check_private(path) if path.exists() else None
        if fault is not None:
            return red(HOME, fault, f"chmod {'700' if path.is_dir() else '600'} {path}")
    return green(HOME, f"{home}, its secrets private")


def _check_certificate(
    files: ServerFiles, certificate: x509.Certificate, authority: x509.Certificate, now: datetime
) -> Finding:
    anew = "make another home with medhive init, and invite every site again"
    if (fault := _out_of_time(authority, now)) is not None:
        return red(CERTIFICATE, f"the authority's {fault}", f"{anew}, if the clock is right")
    if (fault := _out_of_time(certificate, now)) is not None:
        return red(
            CERTIFICATE,
            f"the server's {fault}",
            "start the server again, which renews it, if the clock is right",
        )
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return red(
            CERTIFICATE,
            f"{files.certificate.name} is not from the authority {files.ca.name}",
            f"restore both from one backup, or delete {files.certificate}; the server makes it"
            " again",
        )
    try:
        own = load_key(files.key).public_key() == certificate.public_key()
    except MedHiveError as error:
        return red_of(CERTIFICATE, error)
    if not own:
        return red(
            CERTIFICATE,
            f"{files.key.name} is not the key of {files.certificate.name}",
            f"delete {files.certificate}; the server makes both again",
        )
    left, long = certificate.not_valid_after_utc - now, authority.not_valid_after_utc - now
    soon = ", renewed when the server starts again" if left < RENEWED else ""
    return green(
        CERTIFICATE, f"good for another {left.days} days{soon}; the authority for {long.days} days"
    )


def _check_names(home: Path, certificate: x509.Certificate, names: Iterable[str]) -> Finding:
    try:
        address = read_address(home)
    except MedHiveError as error:
        return red_of(NAMES, error)
    wanted = dict.fromkeys([*([] if address is None else [host_of(address)]), *names])
    covered = names_of(certificate)
    missing = [name for name in wanted if name not in covered]
    if missing:
        return red(
            NAMES,
            f"the certificate is not for {', '.join(missing)}, only for {', '.join(covered)}",
            "start the server with " + " ".join(f"--name {name}" for name in missing),
        )
    where = "no address is noted yet" if address is None else f"sites reach it at {address}"
    return green(NAMES, f"{where}; the certificate is for {', '.join(covered)}")


def _check_sites(home: Path) -> Finding:
    if not (home / ROSTER).exists():
        return grey(SITES, "there is no roster; clients on this machine alone need none")
    try:
        entries = open_roster(home).sites(datetime.now(UTC))
    except MedHiveError as error:
        return red_of(SITES, error)
    if not entries:
        return grey(SITES, "none is invited yet; next: medhive invite SITE")
    counts = Counter(entry.status for entry in entries)
    connected = sum(entry.connected for entry in entries)
    listed = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return green(SITES, f"{listed}; {connected} connected")


def _out_of_time(certificate: x509.Certificate, now: datetime) -> str | None:
    clock = f"this machine's clock says {now:%F %R} UTC"
    if now > certificate.not_valid_after_utc:
        return f"certificate expired on {certificate.not_valid_after_utc:%F %R} UTC; {clock}"
    if now < certificate.not_valid_before_utc:
        return f"certificate begins at {certificate.not_valid_before_utc:%F %R} UTC; {clock}"
    return None
