"""The outcome: how often the event occurred."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medhive.datacheck.examine import Examined
from medhive.datacheck.finding import Finding, counted, share

FEW_EVENTS = 10


@dataclass(frozen=True)
class OutcomeSummary:
    """Rows with the event, without it, without an outcome, and with one that cannot be read."""

    column: str
    events: int
    others: int
    n_missing: int
    n_broken: int


def summarise_outcome(found: Examined) -> OutcomeSummary:
    """Count the events."""
    events = int(found.valid.sum())
    return OutcomeSummary(
        column=found.column,
        events=events,
        others=len(found.valid) - events,
        n_missing=int(found.missing.sum()) if found.present else 0,
        n_broken=int(found.invalid.sum()),
    )


def check_outcome(found: Examined, counts: OutcomeSummary) -> Iterator[Finding]:
    """Say how often the event occurred, and whether that is odd."""
    known = counts.events + counts.others
    if not len(found.values):
        return
    if not known:
        if not counts.n_broken:
            yield Finding("break", found.name, "the outcome is missing in every row", "fill it in")
        return
    sentence = f"{counted(counts.events, 'event')} in {counted(known, 'row')}"
    sentence += f" ({share(counts.events, known)})"
    fewer = min(counts.events, counts.others)
    if not fewer:
        yield Finding(
            "warning",
            found.name,
            f"{sentence}: the outcome is the same in every row",
            "is the event coded as in the study? this site alone says nothing about the effects",
        )
    elif fewer < FEW_EVENTS:
        yield Finding("warning", found.name, f"{sentence}: very few in one of the two groups")
    else:
        yield Finding("ok", found.name, sentence)
