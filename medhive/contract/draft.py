"""A drafted study: the columns that are in it, and those that are not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from medhive.contract.candidate import Candidate
from medhive.contract.codebook import read_codebook
from medhive.contract.columns import read_columns
from medhive.contract.outcome import Event, check_event, find, propose_event, propose_outcome
from medhive.contract.propose import propose
from medhive.errors import DataError, Place, SettingError
from medhive.study import Header, Kind, Outcome


@dataclass(frozen=True)
class Draft:
    """What is known about a study before it is written.

    Parameters
    ----------
    name, title : str
    outcome : Candidate
    event : int, float or str
    features : tuple of Candidate
    left_out : tuple of Candidate
    from_data : bool
        Whether a site's rows, not a codebook, were read.
    """

    name: str
    title: str
    outcome: Candidate
    event: Event
    features: tuple[Candidate, ...]
    left_out: tuple[Candidate, ...]
    from_data: bool


def read_candidates(data: Path | None, codebook: Path | None) -> tuple[Candidate, ...]:
    """Propose for every column of a site's file, or every variable of a codebook.

    Raises
    ------
    SettingError
        If not exactly one of the two is given.
    DataError
        If the file cannot be used.
    """
    if (data is None) == (codebook is None):
        raise SettingError(
            "a draft starts from one site's data or from a codebook, one of the two",
            place=Place(setting="--from-data"),
            next_step="give --from-data FILE or --from-codebook FILE",
        )
    if codebook is not None:
        return read_codebook(codebook)
    return tuple(propose(column) for column in read_columns(Path(str(data))))


def choose_outcome(
    candidates: Sequence[Candidate], outcome: str | None, event: str | None
) -> tuple[Candidate, Event]:
    """Settle outcome and event from what was named, and from proposals for the rest.

    Raises
    ------
    SettingError
        If nothing can be proposed, or what was named does not fit.
    """
    name = outcome or propose_outcome(candidates)
    if name is None:
        raise SettingError(
            "no column is clearly the outcome",
            place=Place(setting="--outcome"),
            next_step="add --outcome COLUMN and --event EVENT",
        )
    column = find(candidates, name)
    if event is not None:
        return column, check_event(column, event)
    proposed = propose_event(column)
    if proposed is None:
        raise SettingError(
            "it is not clear which of its values is the event",
            place=Place(column=name, setting="--event"),
            next_step='add --event with a value, such as 1 or "M", or a comparison, such as "> 0"',
        )
    return column, proposed


def as_kind(candidate: Candidate, kind: Kind | None) -> Candidate:
    """Return a column as the person wants it; None leaves it out."""
    if kind is None:
        return replace(candidate, kind=None, reason="left out by choice")
    return replace(candidate, kind=kind, doubtful=False)


def compose(
    candidates: Sequence[Candidate],
    outcome: Candidate,
    event: Event,
    *,
    name: str,
    title: str,
    source: Path,
    from_data: bool,
) -> Draft:
    """Put a draft together.

    Raises
    ------
    DataError
        If no column is left for the model.
    """
    features: list[Candidate] = []
    left_out: list[Candidate] = []
    taken: set[str] = set()
    for each in candidates:
        if each.name == outcome.name:
            continue
        terms = {each.name}
        if each.kind == "categorical":
            terms = {f"{each.name}[{code}]" for code in each.codes}
        if each.kind is None:
            left_out.append(each)
        elif terms & taken:
            left_out.append(replace(each, kind=None, reason="its name is another column's term"))
        else:
            taken |= terms
            features.append(each)
    if not features:
        raise DataError(
            "no column is left that the model could use",
            place=Place(file=source),
            next_step="see why each was left out: "
            + "; ".join(f"{each.name}: {each.reason}" for each in left_out[:6])
            if left_out
            else "the outcome needs at least one other column",
        )
    return Draft(name, title, outcome, event, tuple(features), tuple(left_out), from_data)


def check_name(name: str) -> str:
    """Return a study's name if it is one.

    Raises
    ------
    SettingError
        If it is not.
    """
    try:
        Header(name=name, outcome=Outcome(column="y", event=1))
    except ValidationError:
        raise SettingError(
            f"{name!r} is not a name for a study",
            place=Place(setting="--name"),
            next_step="use lower-case letters, digits and . _ -, such as heart-disease",
        ) from None
    return name


def name_from(path: Path) -> str:
    """Make a study's name from its file's."""
    stem = re.sub(r"[^a-z0-9._-]+", "-", path.stem.casefold()).strip("-._")
    return stem[:64] or "study"
