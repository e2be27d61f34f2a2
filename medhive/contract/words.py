"""What a column's name, or a value's, gives away."""

from __future__ import annotations

import re


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


IDENTIFIERS = _set(
    "id ids pid uid uuid guid mrn nhs ssn nr no patient patientid subject subjectid record"
    " recordid case caseid participant"
)
PERSONAL = _set(
    "name surname lastname firstname forename vorname nachname address street phone tel telephone"
    " mobile email mail fax postcode zip zipcode plz initials"
)
BIRTH = _set("dob birthdate birthday dateofbirth birth born geburtsdatum")
BIRTH_PARTS = _set("of date day month year yr dt at")
EVENTS = _set(
    "yes y true t positive pos dead died death deceased event case cases malignant disease ill sick"
    " relapse recurrence readmitted failure ja oui si"
)
"""Words for a value that is the event, where the other one is none."""

OUTCOMES = _set(
    "outcome event death dead died mortality deceased status diagnosis target response label class"
    " endpoint disease relapse recurrence readmission readmitted survived survival num y"
)
"""Words in the name of a column that is the outcome."""


def words_of(name: str) -> list[str]:
    """Split a name into lower-case words: ``patientID_2`` gives patient, id, 2."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word.casefold() for word in re.split(r"[\W_]+", spaced) if word]


def looks_like_identifier(name: str) -> bool:
    """Say whether a name is an identifier's: ``patient_id``, ``MRN``, ``record``."""
    words = words_of(name)
    return bool(IDENTIFIERS & set(words[:1] + words[-1:]))


def looks_personal(name: str) -> str | None:
    """Say what a name gives away of a person: contact data or a date of birth."""
    words = set(words_of(name))
    if PERSONAL & words:
        return "looks like a name, an address or contact data"
    if BIRTH & words and not words - BIRTH - BIRTH_PARTS:
        return "looks like a date of birth; use the age"
    return None
