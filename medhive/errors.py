"""What can go wrong, in one tree; each kind has an exit code and a documentation anchor.

::

    MedHiveError              1   something failed inside MedHive
    ├── InputError            2   what a person gave cannot be used
    │   ├── StudyError            the study file
    │   ├── DataError             a site's rows
    │   ├── SettingError          an option, an address, a port, a file of MedHive's own
    │   └── IdentityError         a join code or a key that the other side does not accept
    ├── ProtocolError         3   a message from the other side does not follow the protocol
    ├── RefusalError          4   a site said no
    └── FederationError       5   the federation could not finish: too few sites, a deadline passed
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Place:
    """Where an error is: any part may be unknown.

    Parameters
    ----------
    file : str, optional
        The file as the user named it.
    line : int, optional
        Line in `file`, from 1.
    column : str, optional
        Name of the data column.
    setting : str, optional
        Dotted name of a setting or an option, such as ``run.penalty``.
    row : int, optional
        Row of a table that has no lines, from 1.
    """

    file: str | Path | None = None
    line: int | None = None
    column: str | None = None
    setting: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        parts = [
            str(self.file) if self.file is not None else "",
            f"line {self.line}" if self.line is not None else "",
            f"row {self.row}" if self.row is not None else "",
            f'column "{self.column}"' if self.column is not None else "",
            self.setting or "",
        ]
        return ", ".join(part for part in parts if part)


class MedHiveError(Exception):
    """Base of every error that MedHive raises on purpose.

    Parameters
    ----------
    cause : str
        What is wrong, one sentence without a full stop.
    place : Place, optional
        Where it is.
    next_step : str, optional
        What the person can do now.

    Attributes
    ----------
    exit_code : int
        Exit code of the command that ends with this error.
    anchor : str
        Heading in ``docs/reference/errors.md``.
    """

    exit_code: ClassVar[int] = 1
    anchor: ClassVar[str] = "internal"

    def __init__(
        self, cause: str, *, place: Place | None = None, next_step: str | None = None
    ) -> None:
        self.cause = cause
        self.place = place or Place()
        self.next_step = next_step
        where = str(self.place)
        super().__init__(f"{where}: {cause}" if where else cause)


class InputError(MedHiveError):
    """What a person gave cannot be used."""

    exit_code = 2
    anchor = "input"


class StudyError(InputError):
    """The study file is not a valid contract."""

    anchor = "study"


class DataError(InputError):
    """A site's rows cannot be read or break the contract."""

    anchor = "data"


class SettingError(InputError):
    """An option, an address, a port or one of MedHive's own files cannot be used."""

    anchor = "setting"


class IdentityError(InputError):
    """A join code or a key that the other side does not accept.

    Attributes
    ----------
    reason : str
        One word for logs and counters, such as ``used-code``.
    """

    anchor = "identity"

    def __init__(
        self,
        cause: str,
        reason: str,
        *,
        place: Place | None = None,
        next_step: str | None = None,
    ) -> None:
        self.reason = reason
        super().__init__(cause, place=place, next_step=next_step)


class ProtocolError(MedHiveError):
    """A message from the other side does not follow the protocol."""

    exit_code = 3
    anchor = "protocol"


class RefusalError(MedHiveError):
    """A site said no; the reason discloses nothing about its data."""

    exit_code = 4
    anchor = "refusal"


class FederationError(MedHiveError):
    """The federation could not finish: too few sites, or a deadline passed."""

    exit_code = 5
    anchor = "federation"
