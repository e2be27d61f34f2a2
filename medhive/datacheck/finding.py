"""What a check of a site's rows found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medhive.errors import Place

Level = Literal["break", "warning", "note", "ok"]
LEVELS: tuple[Level, ...] = ("break", "warning", "note", "ok")
"""The gravest first."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check found. It may quote patients' values, and stays at the site.

    Parameters
    ----------
    level : {"break", "warning", "note", "ok"}
        A break of the contract keeps the site from taking part; nothing else does.
    about : str
        The column, or what else it is about, such as ``rows``.
    sentence : str
    next_step : str
        Empty where nothing needs to be done.
    place : Place, optional
        Of the first row that it is about.
    """

    level: Level
    about: str
    sentence: str
    next_step: str = ""
    place: Place | None = None

    @property
    def where(self) -> str:
        """Line or row of the file; empty where it has none."""
        if self.place is None:
            return ""
        if self.place.line is not None:
            return f"line {self.place.line}"
        return "" if self.place.row is None else f"row {self.place.row}"


def counted(n: int, one: str, many: str = "") -> str:
    """Return a number and its noun: ``1 row``, ``1,200 rows``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def share(part: int, whole: int) -> str:
    """Return a share in per cent, never rounded to all or to nothing."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.1f} %" if 0 < percent < 100 else f"{percent:.0f} %"
