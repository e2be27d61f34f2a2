"""Which column could be the outcome, and which of its values the event."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from pydantic import ValidationError

from medhive.contract.candidate import Candidate
from medhive.contract.propose import FEWEST_ROWS
from medhive.contract.words import EVENTS, OUTCOMES, words_of
from medhive.errors import Place, SettingError
from medhive.study import Outcome, code

Event = int | float | str

_MOST_GRADES = 10


def propose_outcome(candidates: Sequence[Candidate]) -> str | None:
    """Return the column that is most likely the outcome: by its name, else the last that may be."""
    able = [each.name for each in candidates if propose_event(each) is not None]
    named = [name for name in able if OUTCOMES & set(words_of(name))]
    # what is measured comes first in most files, and what became of it last
    if named:
        return named[-1]
    return candidates[-1].name if able and able[-1] == candidates[-1].name else None


def propose_event(candidate: Candidate) -> Event | None:
    """Return the value or comparison that most likely is the event, if there is one."""
    codes = candidate.codes
    if set(codes) == {"0", "1"} or candidate.kind == "binary":
        return 1
    if len(codes) == 2:
        labels = {level: label or level for level, label in candidate.levels}
        likely = [level for level in codes if EVENTS & set(words_of(labels.get(level, level)))]
        if len(likely) == 1:
            return literal(likely[0])
        shared = [level for level in codes if candidate.counts.get(level, 0) >= FEWEST_ROWS]
        if len(shared) == 2:
            return literal(min(shared, key=lambda level: candidate.counts[level]))
        return None
    grades = [level for level in codes if level.isdecimal()]
    return "> 0" if "0" in codes and len(grades) == len(codes) <= _MOST_GRADES else None


def literal(text: str) -> Event:
    """Return a value as the study file writes it: a number without quotes, else text."""
    text = text.strip()
    if code(text) != text:
        text = code(text)
    try:
        return int(text)
    except ValueError:
        return text


def find(candidates: Sequence[Candidate], name: str) -> Candidate:
    """Return the column of a name.

    Raises
    ------
    SettingError
        If there is none.
    """
    for each in candidates:
        if each.name == name:
            return each
    folded = {each.name.casefold(): each.name for each in candidates}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    raise SettingError(
        f'there is no column "{name}"',
        place=Place(setting="--outcome"),
        next_step=f'did you mean "{folded[close[0]]}"?'
        if close
        else f"choose one of {', '.join(each.name for each in candidates)}",
    )


def check_event(candidate: Candidate, text: str) -> Event:
    """Return the event that a person named for an outcome.

    Raises
    ------
    SettingError
        If it cannot be the event of that column.
    """
    event = literal(text)
    place = Place(column=candidate.name, setting="--event")
    try:
        outcome = Outcome(column=candidate.name, event=event)
    except ValidationError as error:
        cause = str(error.errors()[0]["msg"])
        step = 'write a value, such as 1 or "M", or a comparison, such as "> 0"'
        raise SettingError(cause, place=place, next_step=step) from None
    if outcome.comparison is not None:
        if candidate.counts and candidate.low is None:
            raise SettingError(
                f'"{text}" compares numbers, and this column holds texts',
                place=place,
                next_step="name one of its values",
            )
        return event
    others = [level for level in candidate.codes if level != code(event)]
    shown = ", ".join(
        level
        for level in candidate.codes
        if not candidate.counts or candidate.counts.get(level, 0) >= FEWEST_ROWS
    )
    if len(others) > 1:
        known = len(others) < len(candidate.codes)
        raise SettingError(
            f"the column has {len(others)} other values, and it may have one"
            if known
            else f'no value is "{text}"; there are {shown or "others"}',
            place=place,
            next_step='write a comparison, such as "> 0", or recode the column to two values'
            if known
            else "name one of them, or a comparison",
        )
    if not candidate.codes and candidate.low is not None:
        raise SettingError(
            "the column holds many different numbers, so one value cannot be the event",
            place=place,
            next_step='write a comparison, such as "> 5"',
        )
    return event
