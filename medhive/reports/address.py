"""Addresses of MLflow: is it one, and does anybody answer there. Imports no MLflow."""

from __future__ import annotations

import http.client
import os
import ssl
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from medhive.errors import Place, SettingError

_SQLITE = "sqlite:///"
_SQLITE_MAGIC = b"SQLite format 3\x00"
_NEXT = "give http://host:port, https://host, or sqlite:///path/to/mlflow.db"


def check_uri(uri: str) -> str:
    """Return a well-formed address of MLflow, without a slash at the end.

    Parameters
    ----------
    uri : str
        ``http://``, ``https://`` or ``sqlite:///``.

    Raises
    ------
    SettingError
        If it is anything else.
    """
    text = uri.strip()
    if text.startswith(_SQLITE):
        if not text[len(_SQLITE) :] or text.endswith("/"):
            raise _error(uri, "names no database file")
        return text
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _error(uri, f"is not an address ({error})") from None
    if parts.scheme not in ("http", "https"):
        raise _error(uri, "is not an address of MLflow")
    if not parts.hostname or port == 0 or any(letter.isspace() for letter in text):
        raise _error(uri, "names no host")
    if parts.query or parts.fragment:
        raise _error(uri, "has a part after ? or #, like the address of a page")
    return text.rstrip("/")


def check_reachable(uri: str, timeout: float = 5.0) -> None:
    """Make sure that MLflow answers at an address.

    Parameters
    ----------
    uri : str
    timeout : float
        Seconds.

    Raises
    ------
    SettingError
        If nobody answers, something else than MLflow does, or a local database cannot be used.
    """
    address = check_uri(uri)
    if address.startswith(_SQLITE):
        _check_database(address)
        return
    parts = urlsplit(address)
    try:
        status, body = _get(parts, parts.path + "/health", timeout)
    except (OSError, http.client.HTTPException) as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
        raise _error(
            without_password(address),
            f"cannot be reached ({reason or type(error).__name__})",
            "start MLflow there, or correct the address",
        ) from None
    if status != 200 or body.strip() != b"OK":
        raise _error(
            without_password(address),
            f"answers, but not as MLflow does (HTTP {status} for /health)",
            "correct the address",
        )


def database(uri: str) -> Path | None:
    """Return the file of a ``sqlite:///`` address, else None."""
    return Path(uri[len(_SQLITE) :]).resolve() if uri.startswith(_SQLITE) else None


def without_password(uri: str) -> str:
    """Return an address without user name and password, fit to be shown."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else uri


def _get(parts: SplitResult, path: str, timeout: float) -> tuple[int, bytes]:
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port, timeout=timeout, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(1024)
    finally:
        connection.close()


def _check_database(address: str) -> None:
    path = database(address)
    if path is None:
        return
    if not path.parent.is_dir():
        raise _error(address, f"is in a folder that does not exist ({path.parent})", "make it")
    if not path.exists():
        if not os.access(path.parent, os.W_OK):
            raise _error(address, "is in a folder that cannot be written", "choose another")
        return
    if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
        raise _error(address, "is not a file that can be written", "choose another")
    with path.open("rb") as file:
        start = file.read(len(_SQLITE_MAGIC))
    if start not in (b"", _SQLITE_MAGIC):
        raise _error(address, "is a file of another kind, not an SQLite database")


def _error(uri: str, cause: str, next_step: str = _NEXT) -> SettingError:
    return SettingError(f"{uri} {cause}", place=Place(setting="--mlflow"), next_step=next_step)
