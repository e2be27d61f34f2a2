"""Rules for the column names of every source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medhive.errors import DataError, Place


def require_clean_names(place: Place, names: Sequence[str]) -> None:
    """Raise for a column without a name and for two columns of one name.

    Raises
    ------
    DataError
    """
    for position, name in enumerate(names, start=1):
        if not name:
            raise DataError(
                f"column {position} of {len(names)} has no name",
                place=place,
                next_step="name the column, or delete it (row numbers and trailing separators "
                "make such columns)",
            )
        if name in names[: position - 1]:
            first = names.index(name) + 1
            raise DataError(
                f"columns {first} and {position} have the same name",
                place=replace(place, column=name),
                next_step="rename or delete one of them",
            )
