"""From what a data manager typed to a place in a study: address, name, key, authority."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from medhive.data.sitefile import SiteFile
from medhive.errors import IdentityError, Place, SettingError
from medhive.flower.wire import NAME_STEP, SITE_NAME
from medhive.identity.enrolment import Enrolled, enrol
from medhive.identity.joincode import JoinCode, fingerprint
from medhive.identity.keys import site_key

_ADDRESS = re.compile(r"(?:(?:https|tcp)://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})/?")
_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_CA_STEP = "enrol with --join CODE, or give --ca ca.pem from the server's home"


@dataclass(frozen=True)
class Asked:
    """What was typed, checked.

    Parameters
    ----------
    site : str
    site_home : Path
        Folder of the site's key and enrolment.
    server : str or None
        ``host:port``.
    code : JoinCode or None
    ca : Path or None
        The authority's certificate, where it was named.
    local_ca : Path
        Where a server on this machine leaves its certificate.
    has_data : bool
        Whether the site brings rows of its own.
    give_up_after : float or None
        Seconds to wait for a server that does not answer.
    """

    site: str
    site_home: Path
    server: str | None
    code: JoinCode | None
    ca: Path | None
    local_ca: Path
    has_data: bool
    give_up_after: float | None = None


@dataclass(frozen=True)
class StudyPlace:
    """Where and as whom a client connects; None as authority trusts whoever answers."""

    address: str
    site: str
    key: ec.EllipticCurvePrivateKey
    root_certificates: bytes | None


def resolve_site(
    home: Path,
    *,
    join: str | None,
    server: str | None,
    site: str | None,
    data: Path | SiteFile | None,
    ca: Path | None,
    site_home: Path | None,
    give_up_after: float | None = None,
) -> Asked:
    """Check what was typed, and find out which site it means.

    Raises
    ------
    SettingError, IdentityError
        If something is missing, malformed or contradicts something else.
    """
    code = None if join is None else JoinCode.read(join)
    if code is not None and site is not None and site != code.site:
        raise IdentityError(
            f'the join code was made for site "{code.site}", not for "{site}"',
            "another-site",
            place=Place(setting="--id"),
            next_step="leave --id out, or ask for a join code of your own",
        )
    if code is not None and data is None:
        raise SettingError(
            "a site that joins with a code brings its own rows",
            place=Place(setting="--data"),
            next_step="add --data FILE or --site SITE.toml",
        )
    name = code.site if code is not None else site or _only_site(home, site_home)
    if SITE_NAME.fullmatch(name) is None:
        raise SettingError(
            f"{name!r} is not a name for a site", place=Place(setting="--id"), next_step=NAME_STEP
        )
    return Asked(
        site=name,
        site_home=site_home or home / "sites" / name,
        server=None if server is None else check_address(server),
        code=code,
        ca=ca,
        local_ca=home / "server" / "ca.pem",
        has_data=data is not None,
        give_up_after=give_up_after,
    )


def find_place(asked: Asked, say: Callable[[str], None]) -> StudyPlace:
    """Enrol where a new join code is given; otherwise find the enrolment, or do without.

    Raises
    ------
    SettingError, IdentityError
        If the site has no place in a study yet, or its code is refused.
    """
    key = site_key(asked.site_home)
    enrolled = Enrolled.load(asked.site_home)
    if enrolled is not None and enrolled.site != asked.site:
        raise IdentityError(
            f'this folder belongs to site "{enrolled.site}"',
            "another-site",
            place=Place(file=asked.site_home, setting="--id"),
            next_step=f"use --id {enrolled.site}, or another --home",
        )
    # the code that it enrolled with is given again when a container starts again
    if asked.code is not None and (enrolled is None or enrolled.code != asked.code.digest):
        enrolled = enrol(asked.code, key, on_wait=say, give_up_after=asked.give_up_after)
        enrolled.save(asked.site_home)
        say(f"enrolled; from now on this site connects with its key in {asked.site_home}")
    if enrolled is not None and asked.ca is None:
        address = asked.server or enrolled.address
        return StudyPlace(address, asked.site, key, enrolled.root_certificates)
    if asked.server is None:
        raise SettingError(
            "this site is not enrolled in a study",
            place=Place(setting="--join"),
            next_step="give --join CODE, which the study's statistician makes with medhive invite",
        )
    if not asked.has_data and asked.ca is None:
        say(
            "OPEN DEMO: no --data is given, so this client trains on bundled public rows,"
            " and does not check who the server is"
        )
        return StudyPlace(asked.server, asked.site, key, None)
    return StudyPlace(asked.server, asked.site, key, _authority(asked, asked.server, say))


def check_address(text: str) -> str:
    """Return ``host:port``; refuse anything else."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or not 0 < int(match[2]) < 65536:
        raise SettingError(
            f"{text!r} is not HOST:PORT",
            place=Place(setting="--server"),
            next_step="take the address that the server prints, such as 127.0.0.1:9092",
        )
    return f"{match[1]}:{match[2]}"


def _only_site(home: Path, site_home: Path | None) -> str:
    """Return the name of the one site that is enrolled on this machine."""
    folders = [site_home] if site_home is not None else sorted((home / "sites").glob("*"))
    found = [enrolled for folder in folders if (enrolled := Enrolled.load(folder)) is not None]
    if len(found) == 1:
        return found[0].site
    cause = "no site is named"
    if found:
        cause += f", and several are enrolled here: {', '.join(each.site for each in found)}"
    raise SettingError(
        cause,
        place=Place(setting="--id"),
        next_step="give --id SITE, or --join CODE to enrol a new site",
    )


def _authority(asked: Asked, address: str, say: Callable[[str], None]) -> bytes:
    """Read the authority's certificate.

    Without ``--ca`` it is the one that a server on this machine leaves in MedHive's folder; such
    a server may be started later than its clients, so they wait for it.
    """
    path = asked.ca or asked.local_ca
    place = Place(file=path, setting="--ca")
    if asked.ca is None and not path.exists():
        if address.rpartition(":")[0] not in _LOCAL:
            raise SettingError(
                "nothing says which server to trust", place=place, next_step=_CA_STEP
            )
        say(f"waiting for a server on this machine (it will leave {path})")
        while not path.exists():
            time.sleep(0.2)
    try:
        data = path.read_bytes()
        fingerprint(data)
    except OSError as error:
        raise SettingError(
            f"the certificate of the study's authority cannot be read ({error.strerror})",
            place=place,
            next_step=_CA_STEP,
        ) from None
    except ValueError:
        raise SettingError(
            "not a certificate in PEM form", place=place, next_step=_CA_STEP
        ) from None
    return data
