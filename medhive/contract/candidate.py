"""A column that could be in the study, whether it comes from data or from a codebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medhive.study import INTERCEPT, Kind

LONGEST_NAME = 200


@dataclass(frozen=True)
class Candidate:
    """What is proposed for one column.

    Parameters
    ----------
    name : str
    kind : {"continuous", "binary", "categorical"}, optional
        None leaves the column out.
    reason : str
        Why, as a phrase for the person who decides.
    choices : tuple of str
        Kinds that the column could have; more than one, or a column left out that has any, where
        the person is asked.
    doubtful : bool
        Whether the person should be asked.
    unit, label : str
        Empty where unknown.
    range : (float, float), optional
    levels : tuple of (str, str)
        Code and label; an empty label is unknown.
    reference : str, optional
    rare : int
        Values that are not among the levels, because too few rows have them.
    counts : mapping of str to int
        Rows a code. Stays in memory: it says what the outcome could be.
    low, high : float, optional
        Smallest and largest number, where every value is one. Stay in memory.
    """

    name: str
    kind: Kind | None
    reason: str = ""
    choices: tuple[Kind, ...] = ()
    doubtful: bool = False
    unit: str = ""
    label: str = ""
    range: tuple[float, float] | None = None
    levels: tuple[tuple[str, str], ...] = ()
    reference: str | None = None
    rare: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None

    @property
    def codes(self) -> tuple[str, ...]:
        """Every code that is known to occur, those of the codebook first."""
        listed = [code for code, _ in self.levels]
        return (*listed, *(code for code in self.counts if code not in listed))


def unfit_name(name: str) -> str | None:
    """Say why a column's name cannot be a feature's, if it cannot."""
    if len(name) > LONGEST_NAME:
        return f"its name is longer than {LONGEST_NAME} characters"
    if not name.isprintable() or name != name.strip():
        return "its name holds characters that cannot be printed"
    if name == INTERCEPT:
        return f"{INTERCEPT} is the model's own name"
    return None
