"""Keeping secrets out of what a tunnel's program prints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

HIDDEN = "***"
SHORTEST = 6
"""Characters of the shortest value taken for a secret; hiding "1" would hide everything."""

_NAME = r"(?:auth[_-]?)?token|secret|passw(?:or)?d|passphrase|api[_-]?key|credentials?"
_NAMED = re.compile(rf"(?i)((?:{_NAME})\"?\s*[=:]\s*\"?|-[\w-]*(?:{_NAME})\s+)([^\s\"',;]+)")
_IN_URL = re.compile(r"(?<=://)[^\s/@]+(?=@)")
_SECRET_NAME = re.compile(rf"(?i){_NAME}|_key$")


class Redactor:
    """Replaces secrets in a text.

    Parameters
    ----------
    secrets : iterable of str
        Exact values; those of fewer than six characters are left alone.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        # the longest first: a secret may contain another one
        self._secrets = sorted({s for s in secrets if len(s) >= SHORTEST}, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """Return `text` without known secrets, passwords in URLs and values named as secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _IN_URL.sub(HIDDEN, _NAMED.sub(rf"\1{HIDDEN}", text))


def secrets_of(arguments: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Return the values in a command line and an environment that are named as secrets."""
    found = [value for name, value in environment.items() if _SECRET_NAME.search(name)]
    named = False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if named:
            found.append(argument)
        named = bool(_SECRET_NAME.search(name)) and name.startswith("-") and not equals
        if equals and _SECRET_NAME.search(name):
            found.append(value)
    return found
