"""The server's roster: which sites were invited, enrolled, seen and revoked.

One SQLite file, so that ``medhive invite`` and ``medhive revoke`` can change it while a server
runs, and so that a join code is used once even if two clients bring it at the same moment.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from medhive.errors import IdentityError, Place, SettingError

_SCHEMA = """
create table if not exists sites (
    name text primary key,
    public_key blob unique,
    enrolled_at text,
    revoked_at text,
    last_seen text
);
create table if not exists invites (
    secret_sha256 blob primary key,
    site text not null,
    expires_at text not null,
    used_at text
);
create table if not exists refusals (
    reason text primary key,
    count integer not null,
    last text not null
);
"""
VERSION = 1
CONNECTED = timedelta(seconds=30)
"""A site that was seen within this time counts as connected."""


@dataclass(frozen=True)
class SiteEntry:
    """One site of the roster.

    Parameters
    ----------
    name : str
    status : str
        ``invited``, ``invitation expired``, ``enrolled`` or ``revoked``.
    public_key : bytes or None
        PEM.
    last_seen : datetime or None
    connected : bool
    """

    name: str
    status: str
    public_key: bytes | None
    last_seen: datetime | None
    connected: bool


class Roster:
    """The roster file of a server.

    Parameters
    ----------
    path : Path
        Made with mode 0600 where there is none.

    Raises
    ------
    SettingError
        If the file is not a roster, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.touch(mode=0o600, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None
        with self._connect() as db:
            found = db.execute("pragma user_version").fetchone()[0]
            if found not in (0, VERSION):
                raise SettingError(
                    f"a roster of version {found}, this MedHive writes version {VERSION}",
                    place=Place(file=path),
                    next_step="use the MedHive version that wrote it, or a newer one",
                )
            if found == 0:
                db.executescript(_SCHEMA)
                db.execute(f"pragma user_version = {VERSION}")

    def invite(self, site: str, secret: bytes, expires: datetime) -> None:
        """Let a site enrol once with `secret` until `expires`."""
        with self._connect() as db:
            db.execute("insert or ignore into sites (name) values (?)", (site,))
            db.execute(
                "insert into invites (secret_sha256, site, expires_at) values (?, ?, ?)",
                (_digest(secret), site, expires.astimezone(UTC).isoformat()),
            )

    def enrol(self, site: str, secret: bytes, public_key: bytes, now: datetime) -> None:
        """Use an invitation: bind the site's name to its key.

        A site that did not get the answer may ask again with the same key, which changes nothing.

        Raises
        ------
        IdentityError
            If the secret is unknown, used, expired, or was given to another site; the reason
            is in ``reason``.
        """
        with self._connect() as db:
            db.execute("begin immediate")
            row = db.execute(
                "select site, expires_at, used_at from invites where secret_sha256 = ?",
                (_digest(secret),),
            ).fetchone()
            if row is None:
                raise IdentityError("the join code is not known to this server", "unknown-code")
            invited, expires_at, used_at = row
            if invited != site:
                raise IdentityError("the join code was made for another site", "another-site")
            if used_at is not None:
                bound = db.execute(
                    "select 1 from sites where name = ? and public_key = ? and revoked_at is null",
                    (site, public_key),
                ).fetchone()
                if bound is not None:
                    return
                raise IdentityError("the join code was used before", "used-code")
            if datetime.fromisoformat(expires_at) < now:
                raise IdentityError("the join code has expired", "expired-code")
            taken = db.execute(
                "select name from sites where public_key = ? and name <> ?", (public_key, site)
            ).fetchone()
            if taken is not None:
                raise IdentityError("the key belongs to another site", "another-site")
            stamp = now.astimezone(UTC).isoformat()
            db.execute(
                "update invites set used_at = ? where secret_sha256 = ?", (stamp, _digest(secret))
            )
            db.execute(
                "update sites set public_key = ?, enrolled_at = ?, revoked_at = null"
                " where name = ?",
                (public_key, stamp, site),
            )

    def revoke(self, site: str, now: datetime) -> None:
        """Take a site's right to connect, and void its unused invitations.

        Raises
        ------
        IdentityError
            If the roster has no such site.
        """
        with self._connect() as db:
            stamp = now.astimezone(UTC).isoformat()
            changed = db.execute(
                "update sites set revoked_at = ? where name = ?", (stamp, site)
            ).rowcount
            if not changed:
                raise IdentityError(
                    f'there is no site "{site}" in the roster',
                    "unknown-site",
                    next_step="medhive sites lists those there are",
                )
            db.execute(
                "update invites set used_at = ? where site = ? and used_at is null", (stamp, site)
            )

    def sites(self, now: datetime) -> list[SiteEntry]:
        """Return every site, by name."""
        with self._connect() as db:
            rows = db.execute(
                "select name, public_key, revoked_at, last_seen,"
                " (select max(expires_at) from invites where site = name and used_at is null)"
                " from sites order by name"
            ).fetchall()
        return [_entry(row, now) for row in rows]

    def keys(self) -> dict[bytes, tuple[str, bool]]:
        """Return site and revocation of every key."""
        with self._connect() as db:
            rows = db.execute(
                "select public_key, name, revoked_at from sites where public_key is not null"
            ).fetchall()
        return {key: (name, revoked is not None) for key, name, revoked in rows}

    def saw(self, sites: list[str], now: datetime) -> None:
        """Note that sites are connected."""
        with self._connect() as db:
            stamp = now.astimezone(UTC).isoformat()
            db.executemany(
                "update sites set last_seen = ? where name = ?", [(stamp, site) for site in sites]
            )

    def count_refusals(self, counts: dict[str, int], now: datetime) -> None:
        """Add to the numbers of refused requests."""
        with self._connect() as db:
            stamp = now.astimezone(UTC).isoformat()
            db.executemany(
                "insert into refusals (reason, count, last) values (?, ?, ?) on conflict (reason)"
                " do update set count = count + excluded.count, last = excluded.last",
                [(reason, count, stamp) for reason, count in counts.items()],
            )

    def refusals(self) -> dict[str, int]:
        """Return the numbers of refused requests by reason."""
        with self._connect() as db:
            return dict(db.execute("select reason, count from refusals order by reason").fetchall())

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        # a roster that was deleted is not made anew, empty, by whoever looks into it
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=10)) as db, db:
                yield db
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> SettingError:
        return SettingError(
            f"the roster cannot be used: {error}",
            place=Place(file=self.path),
            next_step="restore the file from a backup, or start a new home with medhive init",
        )


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(b"medhive-join-secret" + secret).digest()


def _entry(
    row: tuple[str, bytes | None, str | None, str | None, str | None], now: datetime
) -> SiteEntry:
    name, key, revoked_at, seen, invited_until = row
    last_seen = None if seen is None else datetime.fromisoformat(seen)
    open_invitation = invited_until is not None and datetime.fromisoformat(invited_until) >= now
    if revoked_at is not None and not open_invitation:
        status = "revoked"
    elif key is not None and revoked_at is None:
        status = "enrolled"
    else:
        status = "invited" if open_invitation else "invitation expired"
    connected = status == "enrolled" and last_seen is not None and now - last_seen < CONNECTED
    return SiteEntry(name, status, key, last_seen, connected)
