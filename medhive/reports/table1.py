"""``table1.json``: a study's Table 1 and harmonisation report, for people and programs to read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from medhive.learning.cells import (
    INVALID_VALUE,
    LEVEL,
    MISSING,
    OBSERVED,
    ROWS,
    Cell,
    cells,
    continuous,
    levels,
)
from medhive.learning.disclosed import Description
from medhive.learning.harmonise import Finding, Kind, harmonise
from medhive.reports.files import write_atomically
from medhive.reports.result import versions
from medhive.rows import Array
from medhive.study import Feature, Study
from medhive.study import Kind as FeatureKind

_UNLIKE = 1.5
"""Ratio of two means from which on their units are doubted."""

ALL, NO_EVENT, EVENT = "all", "no event", "event"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Column(_Part):
    """One group of rows: all of them, those without or with the event, or one site's."""

    id: str = Field(description="Its name in this file: all, no event, event or site:NAME.")
    name: str
    site: bool


class Count(_Part):
    """How many rows, and their share; null where that is hidden."""

    n: int | None
    percent: float | None = Field(
        default=None, description="Of the rows with a value for a level, else of all rows."
    )


class Figures(_Part):
    """A continuous feature in one group; null where it is hidden or no row has a value."""

    mean: float | None
    sd: float | None = Field(description="With ddof 1.")
    q1: float | None = None
    median: float | None = None
    q3: float | None = None
    error_bound: float | None = Field(
        default=None, description="How far the median and the quartiles can be off."
    )


class Level(_Part):
    """One level of a feature."""

    code: str
    label: str
    counts: dict[str, Count]


class Summary(_Part):
    """One feature; every mapping is by the id of a column."""

    name: str
    kind: FeatureKind
    unit: str
    observed: dict[str, Count]
    missing: dict[str, Count]
    invalid: dict[str, Count] = Field(description="Values that the contract does not allow.")
    levels: list[Level] = []
    figures: dict[str, Figures] = {}


class Difference(_Part):
    """One finding of the harmonisation report."""

    kind: Kind
    site: str
    feature: str
    level: str = ""
    standardised_difference: float | None = None
    text: str


class Table1(_Part):
    """A whole ``table1.json``."""

    schema_version: Literal[1] = 1
    study: str
    title: str
    study_sha256: str
    outcome: str
    versions: dict[str, str]
    created: AwareDatetime
    floor: int = Field(description="Counts above zero and below it are hidden.")
    sites: list[str] = Field(description="All sites that took part.")
    without_table: dict[str, str] = Field(
        description="Sites that show no table of their own, and why."
    )
    columns: list[Column]
    rows: dict[str, Count]
    outcome_by_site: dict[str, dict[str, Count]] = Field(
        description="For each site's column, its rows without and with the event."
    )
    features: list[Summary]
    harmonisation: list[Difference]


def build(study: Study, found: Description, created: datetime) -> Table1:
    """Put a description into the form of ``table1.json``."""
    columns = [
        Column(id=ALL, name="All", site=False),
        Column(id=NO_EVENT, name="No event", site=False),
        Column(id=EVENT, name="Event", site=False),
        *(Column(id=f"site:{name}", name=name, site=True) for name in found.sites),
    ]
    n = len(found.sites)
    order = [n + 2, n, n + 1, *range(n)]
    table = {cell: found.counts[order, i] for i, cell in enumerate(cells(study))}
    ids = [column.id for column in columns]
    rows = table[Cell(ROWS)]
    event = study.study.outcome.event
    compared = study.study.outcome.comparison is not None
    return Table1(
        study=study.study.name,
        title=study.study.title or study.study.name,
        study_sha256=study.sha256,
        outcome=f"{study.study.outcome.column} {event if compared else f'= {event}'}",
        versions=versions(),
        created=created,
        floor=found.floor,
        sites=sorted(found.absent),
        without_table=dict(found.withheld),
        columns=columns,
        rows=_counts(ids, rows, rows[0]),
        outcome_by_site={
            f"site:{name}": _counts([NO_EVENT, EVENT], found.outcome[i], rows[3 + i])
            for i, name in enumerate(found.sites)
        },
        features=[_summary(study, found, feature, ids, order, table) for feature in study.features],
        harmonisation=[_difference(study, each) for each in harmonise(study, found)],
    )


def write_table1(table: Table1, path: Path) -> None:
    """Write ``table1.json`` atomically."""
    text = json.dumps(table.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, text + "\n")


def _summary(
    study: Study,
    found: Description,
    feature: Feature,
    ids: list[str],
    order: list[int],
    table: Mapping[Cell, Array],
) -> Summary:
    name = feature.name
    rows, observed = table[Cell(ROWS)], table[Cell(OBSERVED, name)]
    labels = dict(feature.levels)
    return Summary(
        name=name,
        kind=feature.kind,
        unit=feature.unit,
        observed=_counts(ids, observed, rows),
        missing=_counts(ids, table[Cell(MISSING, name)], rows),
        invalid=_counts(ids, table[Cell(INVALID_VALUE, name)], rows),
        levels=[
            Level(
                code=code,
                label=labels.get(code, code),
                counts=_counts(ids, table[Cell(LEVEL, name, code)], observed),
            )
            for code in levels(feature)
        ],
        figures=_figures(study, found, name, ids, order) if feature.kind == "continuous" else {},
    )


def _figures(
    study: Study, found: Description, name: str, ids: list[str], order: list[int]
) -> dict[str, Figures]:
    k = [feature.name for feature in continuous(study)].index(name)
    places = {ALL: 2, NO_EVENT: 0, EVENT: 1}
    figures: dict[str, Figures] = {}
    for column, i in zip(ids, order, strict=True):
        spread = {"mean": _number(found.mean[i, k]), "sd": _number(found.sd[i, k])}
        quartiles: dict[str, float | None] = {}
        if column in places:
            q1, median, q3 = found.quantiles[:, places[column], k]
            quartiles = {"q1": _number(q1), "median": _number(median), "q3": _number(q3)}
            quartiles["error_bound"] = _number(found.errors[:, places[column], k].max())
        figures[column] = Figures(**spread, **quartiles)
    return figures


def _counts(ids: list[str], counts: Array, of: Array | float) -> dict[str, Count]:
    whole = np.broadcast_to(of, counts.shape)
    return {
        column: Count(
            n=None if np.isnan(count) else int(count),
            percent=_number(100.0 * count / total) if total > 0 else None,
        )
        for column, count, total in zip(ids, counts, whole, strict=True)
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _difference(study: Study, finding: Finding) -> Difference:
    return Difference(
        kind=finding.kind,
        site=finding.site,
        feature=finding.feature,
        level=finding.level,
        standardised_difference=(
            None if finding.difference is None else _number(finding.difference)
        ),
        text=_words(study, finding),
    )


def _words(study: Study, found: Finding) -> str:
    """Say in words what a finding is, and what could be behind it."""
    feature = next(each for each in study.features if each.name == found.feature)
    label = dict(feature.levels).get(found.level, "")
    level = f"{found.level} ({label})" if label and label != found.level else found.level
    if found.kind == "absent":
        return "the site has no such column"
    if found.kind == "empty":
        return "the column is there, and no row has a value"
    if found.kind == "unseen":
        return f"no row has the level {level}"
    if found.kind == "invalid":
        wrong = "outside the contract's range, or no number,"
        if feature.kind != "continuous":
            wrong = "other than the contract's levels"
        if found.count is None:
            return f"the number of values {wrong} is hidden; there may be a few"
        return f"{found.count:.0f} values {wrong} count as missing here"
    difference = found.difference or 0.0
    direction = "higher" if difference > 0 else "lower"
    size = f"{abs(difference):.1f} sd {direction}" if math.isfinite(difference) else direction
    here, others = found.here or 0.0, found.others or 0.0
    if feature.kind != "continuous":
        return (
            f"the share of {level} is {size} than at the other sites ({100 * here:.0f} % here,"
            f" {100 * others:.0f} % there): other patients, or another coding?"
        )
    unit = f" {feature.unit}" if feature.unit else ""
    like = here * others > 0 and 1 / _UNLIKE < here / others < _UNLIKE
    return f"{size} than at the other sites (mean {here:.4g} here, {others:.4g}{unit} there): " + (
        "other patients, or another way to measure?"
        if like
        else "another unit, or a code such as 0 for what was not measured?"
    )
