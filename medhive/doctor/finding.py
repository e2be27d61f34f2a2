"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from medhive.errors import MedHiveError


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Parameters
    ----------
    name : str
        What was checked.
    ok : bool or None
        None where it could not or need not be checked.
    detail : str
        What was found.
    next_step : str, optional
        What the person can do about it.
    ticket : str, optional
        What a support ticket says instead of `detail` and `next_step`, where these may hold
        values of patients.
    """

    name: str
    ok: bool | None
    detail: str
    next_step: str | None = None
    ticket: str | None = None


def green(name: str, detail: str, ticket: str | None = None) -> Finding:
    """Return what is in order."""
    return Finding(name, True, detail, ticket=ticket)


def red(name: str, detail: str, next_step: str) -> Finding:
    """Return a fault."""
    return Finding(name, False, detail, next_step)


def grey(name: str, why: str) -> Finding:
    """Return what was not checked."""
    return Finding(name, None, why)


def red_of(name: str, error: MedHiveError) -> Finding:
    """Return the fault that an error of MedHive describes."""
    return red(name, str(error), error.next_step or "ask the study's statistician")


def skipped(names: Iterable[str], fault: str) -> Iterator[Finding]:
    """Yield what cannot be checked before another fault is mended."""
    for name in names:
        yield grey(name, f'not checked: mend "{fault}" first')
