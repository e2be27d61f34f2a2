"""TLS with the server: does it speak it, is its certificate from the authority, for this name."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime

import httpx
from cryptography import x509
from cryptography.x509.oid import NameOID

from medhive.doctor.finding import Finding, green, red
from medhive.doctor.knock import Answer, knock
from medhive.doctor.network import Route
from medhive.flower.link import HEALTH
from medhive.flower.node import tls_context
from medhive.identity.enrolment import CA_PATH
from medhive.identity.joincode import JoinCode, fingerprint

TLS, SERVER = "TLS", "server"
EXPIRED, NOT_YET_VALID = 10, 9
OTHER_NAME = (62, 64)
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED, _CERT_NOT_YET_VALID, _HOSTNAME_MISMATCH and
_IP_ADDRESS_MISMATCH."""


def check_tls(
    route: Route, trust: bytes | JoinCode | None, timeout: float
) -> tuple[Finding, Answer | None]:
    """Make sure that the server proves to be the study's.

    Parameters
    ----------
    route : Route
    trust : bytes, JoinCode or None
        The study's authority (PEM), or a join code that has its fingerprint; None trusts
        whoever answers.
    timeout : float
        Seconds.

    Returns
    -------
    tuple of (Finding, Answer or None)
        The finding, and what the server answered, if anything.
    """
    try:
        shown = knock(route.server, tls_context(None), timeout)
    except (httpx.TransportError, ValueError) as error:
        return _no_handshake(route, error, timeout), None
    if trust is None:
        return green(TLS, "works; who the server is, is not checked (open demo)"), shown
    if isinstance(trust, JoinCode):
        trust, fault = _authority(route, trust, shown, timeout)
        if fault is not None:
            return fault, shown
    try:
        answer = knock(route.server, tls_context(trust), timeout)
    except httpx.TransportError as error:
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return _not_accepted(route, cause, trust or b"", shown), shown
        return _no_handshake(route, error, timeout), None
    until = answer.certificate.not_valid_after_utc
    return green(
        TLS, f"certificate of the study's authority for {route.host}, until {until:%F}"
    ), answer


def check_health(answer: Answer) -> Finding:
    """Make sure that MedHive answers."""
    if answer.is_medhive:
        return green(SERVER, "MedHive answers there")
    if answer.status == httpx.codes.TOO_MANY_REQUESTS:
        return red(
            SERVER, "the server has too many requests (HTTP 429)", "try again in a few minutes"
        )
    return red(
        SERVER,
        f"something else than MedHive answers there (HTTP {answer.status})",
        "check the address with the study's statistician: host and port",
    )


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the names and addresses that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]


def _authority(
    route: Route, code: JoinCode, shown: Answer, timeout: float
) -> tuple[bytes | None, Finding | None]:
    """Fetch the authority's certificate that the join code has the fingerprint of."""
    try:
        pem = knock(route.server, tls_context(None), timeout, path=CA_PATH).body
        found = fingerprint(pem)
    except (httpx.TransportError, ValueError):
        return None, red(
            TLS,
            f"what answers there shows no study's authority; its certificate is from \""
            f'{_issuer(shown.certificate)}"',
            "check the address with the study's statistician: host and port",
        )
    if found != code.authority:
        return None, red(
            TLS,
            "the server at this address is not the one that made the join code (its authority is"
            f" {found.hex()[:16]}…, the code's {code.authority.hex()[:16]}…)",
            "do not go on; ask the study's statistician, by telephone, what happened",
        )
    return pem, None


def _not_accepted(
    route: Route, error: ssl.SSLCertVerificationError, trust: bytes, shown: Answer
) -> Finding:
    """Say why a certificate is not accepted."""
    certificate = shown.certificate
    if error.verify_code in OTHER_NAME:
        names = ", ".join(names_of(certificate)) or "no name at all"
        return red(
            TLS,
            f"the certificate is not for {route.host}; its names are: {names}",
            f"give one of these names with --server, or ask the study's statistician to start"
            f" the server with --name {route.host}",
        )
    if error.verify_code in (EXPIRED, NOT_YET_VALID):
        return _wrong_time(x509.load_pem_x509_certificate(trust), shown)
    issuer = _issuer(certificate)
    if certificate.issuer == x509.load_pem_x509_certificate(trust).subject:
        return red(
            TLS,
            "the certificate is from the authority of another MedHive server, or of one that was"
            " set up anew",
            "check the address; if it is right, ask the study's statistician for a new join code",
        )
    return red(
        TLS,
        f'the certificate is not from the study\'s authority but from "{issuer}": a proxy or'
        " firewall of this network opens the connection, or another server answers",
        f"ask IT to except {route.server} from TLS inspection, and the study's statistician"
        " whether the address is right; do not trust that certificate instead",
    )


def _wrong_time(authority: x509.Certificate, shown: Answer) -> Finding:
    """Say which certificate is out of time, by whose clock."""
    leaf_is_in_time = _in_time(shown.certificate, shown.at)
    whose = "study's authority's" if leaf_is_in_time else "server's"
    certificate = authority if leaf_is_in_time else shown.certificate
    late = shown.at > certificate.not_valid_after_utc
    limit = certificate.not_valid_after_utc if late else certificate.not_valid_before_utc
    state = "expired on" if late else "is not valid before"
    detail = f"the {whose} certificate {state} {limit:%F %R} UTC; this machine's clock says"
    detail += f" {shown.at:%F %R} UTC"
    if shown.date is not None:
        detail += f", the server's {shown.date:%F %R} UTC"
        if _in_time(certificate, shown.date):
            return red(TLS, detail, "set this machine's clock by NTP, or ask IT to")
    step = (
        "ask the study's statistician to set up the server's home anew, and for a new join code"
        if leaf_is_in_time
        else "ask the study's statistician to start the server again, which renews it"
    )
    return red(TLS, detail, f"{step}; check this machine's clock too")


def _no_handshake(route: Route, error: Exception, timeout: float) -> Finding:
    """Say why TLS did not begin."""
    where = "check the address with the study's statistician: host and port"
    causes = list(_causes(error))
    if not any(isinstance(e, httpx.ConnectError | httpx.ConnectTimeout) for e in causes):
        return red(TLS, "works, but what answers there is no web server, so not MedHive", where)
    if any(isinstance(e, TimeoutError) for e in causes):
        return red(
            TLS,
            f"{route.server} takes the connection, and then says nothing for {timeout:g} s",
            "ask the study's statistician whether the server, and its tunnel, are well",
        )
    # an end or a reset, whichever way the other side hangs up
    if any(isinstance(e, ssl.SSLEOFError | ConnectionError) for e in causes):
        return red(
            TLS,
            f"{route.server} takes the connection, and hangs up when TLS begins",
            "ask the study's statistician whether the server runs behind its tunnel; if it does,"
            f" ask IT whether a firewall inspects connections to {route.server}",
        )
    if route.proxy is None and _speaks_http(route.server, timeout):
        return red(TLS, "what answers there speaks plain HTTP, not TLS, so not MedHive", where)
    reason = next((e.reason for e in causes if isinstance(e, ssl.SSLError) and e.reason), "")
    what = reason.replace("_", " ").lower() or str(error) or type(error).__name__
    return red(TLS, f"what answers there does not speak TLS as MedHive does ({what})", where)


def _speaks_http(address: str, timeout: float) -> bool:
    try:
        httpx.get(f"http://{address}{HEALTH}", timeout=timeout, trust_env=False)
    except httpx.TransportError:
        return False
    return True


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _issuer(certificate: x509.Certificate) -> str:
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for attribute in certificate.issuer.get_attributes_for_oid(kind):
            return str(attribute.value)
    return certificate.issuer.rfc4514_string() or "nobody"


def _in_time(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc
