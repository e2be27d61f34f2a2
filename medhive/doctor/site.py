"""The checks at a site, in the order in which a connection is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medhive.client.joining import Asked, resolve_site
from medhive.doctor.clock import CLOCK, check_clock
from medhive.doctor.enrolment import ENROLMENT, check_admitted, check_key_files
from medhive.doctor.files import SITE_FREE, check_data, check_disk, not_allowed
from medhive.doctor.finding import Finding, green, grey, red_of, skipped
from medhive.doctor.network import (
    DNS,
    PROXY,
    TCP,
    check_connection,
    check_name,
    check_proxy,
    find_route,
)
from medhive.doctor.tls import SERVER, TLS, check_health, check_tls
from medhive.errors import MedHiveError, Place, SettingError
from medhive.identity.enrolment import Enrolled
from medhive.identity.joincode import JoinCode, fingerprint

SETTINGS = "settings"
REMOTE = (DNS, TCP, PROXY, TLS, SERVER, CLOCK, ENROLMENT)


@dataclass(frozen=True)
class SiteOptions:
    """What ``medhive client`` would be started with.

    Parameters
    ----------
    home : Path
        MedHive's folder.
    join, server, site : str, optional
    data, study, ca, site_home : Path, optional
    timeout : float
        Seconds that each answer may take.
    """

    home: Path
    join: str | None = None
    server: str | None = None
    site: str | None = None
    data: Path | None = None
    study: Path | None = None
    ca: Path | None = None
    site_home: Path | None = None
    timeout: float = 5.0


@dataclass(frozen=True)
class Plan:
    """What a client would do with the options.

    Parameters
    ----------
    site : str
    site_home : Path
    address : str
    trust : bytes, JoinCode or None
        The authority (PEM), a join code that is not used yet, or None in an open demo.
    enrolled : bool
    """

    site: str
    site_home: Path
    address: str
    trust: bytes | JoinCode | None
    enrolled: bool


def check_site(options: SiteOptions) -> Iterator[Finding]:
    """Yield the findings at a site; nothing is enrolled, and no key is made."""
    site = options.site or ""
    home = options.site_home or options.home / "sites"
    try:
        plan = plan_site(options)
    except MedHiveError as error:
        yield red_of(SETTINGS, error)
        yield from skipped(REMOTE, SETTINGS)
    except PermissionError as error:
        yield not_allowed(SETTINGS, error, "medhive client")
        yield from skipped(REMOTE, SETTINGS)
    else:
        site, home = plan.site, plan.site_home
        yield green(SETTINGS, f'site "{site}", server {plan.address}{_known_by(plan)}')
        yield from _check_remote(plan, options.timeout)
    yield check_disk(home, SITE_FREE)
    yield check_data(options.data, options.study, site)


def plan_site(options: SiteOptions) -> Plan:
    """Read the options as ``medhive client`` does, without waiting, enrolling or making a key.

    Raises
    ------
    SettingError, IdentityError
        If the client would refuse them.
    """
    asked = resolve_site(
        options.home,
        join=options.join,
        server=options.server,
        site=options.site,
        # a client that joins brings rows; here they may be left out
        data=options.data or (Path() if options.join else None),
        ca=options.ca,
        site_home=options.site_home,
    )
    enrolled = Enrolled.load(asked.site_home)
    if enrolled is not None and enrolled.site != asked.site:
        raise SettingError(
            f'this folder belongs to site "{enrolled.site}"',
            place=Place(file=asked.site_home, setting="--id"),
            next_step=f"use --id {enrolled.site}, or another --home",
        )
    trust: bytes | JoinCode | None
    if asked.code is not None and (enrolled is None or enrolled.code != asked.code.digest):
        address, trust, enrolled = asked.server or asked.code.address, asked.code, None
    elif enrolled is not None and asked.ca is None:
        address, trust = asked.server or enrolled.address, enrolled.root_certificates
    elif asked.server is None:
        raise SettingError(
            "this site is not enrolled in a study",
            place=Place(setting="--join"),
            next_step="give --join CODE, which the study's statistician makes with medhive invite",
        )
    elif asked.ca is None and options.data is None and options.study is None:
        address, trust = asked.server, None
    else:
        address, trust = asked.server, _read_authority(asked)
    return Plan(asked.site, asked.site_home, address, trust, enrolled is not None)


def _check_remote(plan: Plan, timeout: float) -> Iterator[Finding]:
    try:
        route = find_route(plan.address)
    except MedHiveError as error:
        yield red_of(PROXY, error)
        yield from skipped([name for name in REMOTE if name != PROXY], PROXY)
        return
    steps: list[Callable[[], Finding]] = [
        lambda: check_name(route),
        lambda: check_connection(route, timeout),
        lambda: check_proxy(route, timeout),
    ]
    for number, step in enumerate(steps, start=1):
        finding = step()
        yield finding
        if finding.ok is False:
            yield from skipped(REMOTE[number:], finding.name)
            return
    tls, answer = check_tls(route, plan.trust, timeout)
    yield tls
    if answer is None:
        yield from skipped([SERVER, CLOCK, ENROLMENT], TLS)
        return
    if not tls.ok:
        yield from skipped([SERVER], TLS)
        # a wrong clock is often why a certificate is not accepted
        yield check_clock(answer, verified=False)
        yield from skipped([ENROLMENT], TLS)
        return
    health = check_health(answer)
    yield health
    if not health.ok:
        yield from skipped([CLOCK, ENROLMENT], SERVER)
        return
    yield check_clock(answer, verified=plan.trust is not None)
    yield _check_enrolment(plan, timeout)


def _check_enrolment(plan: Plan, timeout: float) -> Finding:
    fault = check_key_files(plan.site_home)
    if fault is not None:
        return fault
    if isinstance(plan.trust, JoinCode):
        return green(
            ENROLMENT,
            "this server made the join code; whether it is still good shows when the client joins",
        )
    if not plan.enrolled and not (plan.site_home / "site.key").exists():
        return grey(ENROLMENT, "not checked: this site has no key yet, the client makes it")
    return check_admitted(plan.site_home, plan.address, plan.trust, timeout)


def _known_by(plan: Plan) -> str:
    if isinstance(plan.trust, JoinCode):
        return ", by its join code"
    return ", by its enrolment" if plan.enrolled else ""


def _read_authority(asked: Asked) -> bytes:
    """Read the authority's certificate that the client would wait for."""
    path = asked.ca or asked.local_ca
    try:
        data = path.read_bytes()
        fingerprint(data)
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else "not a certificate in PEM form"
        raise SettingError(
            f"the certificate of the study's authority cannot be read: {what}",
            place=Place(file=path, setting="--ca"),
            next_step="enrol with --join CODE, or give --ca ca.pem from the server's home",
        ) from None
    return data
