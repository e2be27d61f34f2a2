"""Asking a person at a terminal about a draft."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import typer
from rich.console import Console
from rich.text import Text

from medhive.contract.candidate import Candidate
from medhive.contract.draft import as_kind
from medhive.contract.outcome import Event, check_event, find, propose_event, propose_outcome
from medhive.errors import SettingError
from medhive.study import Kind

STOPPED = 130
OUT = "leave out"

_T = TypeVar("_T")


def ask(
    candidates: Sequence[Candidate], outcome: str | None, event: str | None
) -> tuple[tuple[Candidate, ...], Candidate, Event]:
    """Ask for the outcome, the event and every doubtful column that the options leave open.

    Raises
    ------
    SettingError
        If an option does not fit the columns.
    """
    try:
        column = _outcome(candidates, outcome)
        chosen = _event(column, event)
        settled = tuple(
            _kind(each) if each.doubtful and each.name != column.name else each
            for each in candidates
        )
    except typer.Abort:
        raise typer.Exit(STOPPED) from None
    return settled, column, chosen


def _outcome(candidates: Sequence[Candidate], given: str | None) -> Candidate:
    if given is not None:
        return find(candidates, given)
    _say(f"The columns are: {', '.join(each.name for each in candidates)}")
    return _until_right(
        "Which one is the outcome?",
        propose_outcome(candidates),
        lambda answer: find(candidates, answer),
    )


def _event(column: Candidate, given: str | None) -> Event:
    if given is not None:
        return check_event(column, given)
    proposed = propose_event(column)
    return _until_right(
        f'Which value of "{column.name}" is the event, or which comparison, such as > 0?',
        None if proposed is None else str(proposed),
        lambda answer: check_event(column, answer),
    )


def _kind(candidate: Candidate) -> Candidate:
    _say(f"\n{candidate.name}: {candidate.reason}")
    choices: dict[str, Kind | None] = {kind: kind for kind in candidate.choices}
    choices[OUT] = None

    def read(answer: str) -> Candidate:
        if answer.casefold() not in choices:
            raise SettingError("that is none of them", next_step=f"type {_or(choices)}")
        return as_kind(candidate, choices[answer.casefold()])

    return _until_right(f"Is it {_or(choices)}?", candidate.kind or OUT, read)


def _or(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"


def _say(text: str) -> None:
    Console().print(Text(text))


def _until_right(question: str, proposal: str | None, read: Callable[[str], _T]) -> _T:
    """Ask until the answer can be used."""
    while True:
        answer = typer.prompt(question, default=proposal)
        try:
            return read(str(answer).strip())
        except SettingError as error:
            _say(f"{error.cause}; {error.next_step}")
