"""An outsider with every file of a description tries to work out the counts that are hidden."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from describing import describe_rows
from medhive.learning import disclosed, sitetable
from medhive.learning.cells import LEVEL, MISSING, ROWS, Cell, cells, count, levels
from medhive.privacy.disclosure import Addition, Mask, primary
from medhive.reports.table1 import Table1, build, write_table1
from medhive.reports.table1_csv import write_csv
from medhive.reports.table1_html import write_html
from medhive.rows import Rows
from medhive.study import Study

FLOOR = 5
GROUPS = {"all": (0, 1), "no event": (0,), "event": (1,)}


def small_study(n_levels: int) -> Study:
    return Study.model_validate(
        {
            "study": {"name": "small", "outcome": {"column": "y", "event": 1}},
            "features": [
                {"name": "group", "kind": "categorical", "levels": list("abcd"[:n_levels])},
                {"name": "sex", "kind": "binary"},
            ],
        }
    )


@dataclass(frozen=True)
class World:
    """The truth, and what is published of it."""

    study: Study
    sites: dict[str, Rows]
    withheld: frozenset[str]
    table: Table1


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Two to four sites whose counts are small, some of which show no table."""
    study = small_study(draw(st.integers(2, 3)))
    names = [f"s{i}" for i in range(draw(st.integers(2, 4)))]
    sites: dict[str, Rows] = {}
    for name in names:
        blocks = []
        for y in (0.0, 1.0):
            for level in (None, *study.features[0].codes):
                for sex in (0.0, 1.0, np.nan):
                    n = draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 6, 8, 12, 30]))
                    if sex != sex or level is None:
                        n = min(n, draw(st.sampled_from([0, 0, 0, 1, 2, 9])))
                    blocks += [(level, sex, y)] * n
        if len(blocks) < FLOOR:
            blocks += [("a", 0.0, 0.0)] * FLOOR
        sites[name] = rows_of(study, blocks)
    withheld = frozenset(draw(st.sets(st.sampled_from(names), max_size=2)))
    return publish(study, sites, withheld)


def rows_of(study: Study, patients: list[tuple[str | None, float, float]]) -> Rows:
    indicators = study.features[0].indicators
    X = [
        [*(np.nan if level is None else float(level == each) for each in indicators), sex]
        for level, sex, _ in patients
    ]
    y = [outcome for _, _, outcome in patients]
    return Rows(np.array(X).reshape(len(patients), len(study.terms)), np.array(y))


def publish(study: Study, sites: dict[str, Rows], withheld: frozenset[str]) -> World:
    found = describe_rows(study, sites, withheld)
    return World(study, sites, withheld, build(study, found, datetime.now(UTC)))


@dataclass
class Attacker:
    """Knows the files, that counts are whole and not negative, and how they add up."""

    study: Study
    names: list[str]
    size: int = 0
    equations: list[tuple[NDArray[np.float64], float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # the unknowns are the finest counts: by site, feature, level or absence, and outcome
        self.kinds = [
            (feature.name, kind)
            for feature in self.study.features
            for kind in (*levels(feature), MISSING, "invalid")
        ]
        self.size = len(self.names) * len(self.kinds) * 2
        first = self.study.features[0].name
        for i in range(len(self.names)):
            for g in (0, 1):
                for feature in self.study.features[1:]:
                    same = self.sum(Cell(ROWS), [i], (g,), first)
                    self.equations.append(
                        (same - self.sum(Cell(ROWS), [i], (g,), feature.name), 0.0)
                    )

    def sum(
        self, cell: Cell, sites: list[int], groups: tuple[int, ...], by: str = ""
    ) -> NDArray[np.float64]:
        """Return which unknowns make up a cell."""
        row = np.zeros((len(self.names), len(self.kinds), 2))
        feature = cell.feature or by or self.study.features[0].name
        for k, (name, kind) in enumerate(self.kinds):
            part_of = {
                ROWS: True,
                "observed": kind not in (MISSING, "invalid"),
                LEVEL: kind == cell.level,
            }
            if name == feature and part_of.get(cell.kind, kind == cell.kind):
                for site in sites:
                    for g in groups:
                        row[site, k, g] = 1.0
        return row.ravel()

    def learn(self, cell: Cell, column: str, n: int, group: str = "") -> None:
        everyone = list(range(len(self.names)))
        if column.startswith("site:"):
            sites = [self.names.index(column.removeprefix("site:"))]
            groups = GROUPS[group] if group else (0, 1)
        else:
            sites, groups = everyone, GROUPS[column]
        self.equations.append((self.sum(cell, sites, groups), float(n)))

    def values(self, row: NDArray[np.float64]) -> tuple[int, int]:
        """Return the smallest and the largest whole value of a sum of unknowns."""
        matrix = np.array([equation for equation, _ in self.equations])
        known = np.array([value for _, value in self.equations])
        ends = []
        for sign in (1.0, -1.0):
            # beyond a few floors it does not matter how large a count can be
            inside = LinearConstraint(np.vstack([matrix, row]), [*known, 0], [*known, 10 * FLOOR])
            unbounded = LinearConstraint(matrix, known, known)
            solved = milp(
                sign * row,
                constraints=inside if sign < 0 else unbounded,
                integrality=np.ones(self.size),
                bounds=Bounds(0, np.inf),
            )
            if solved.x is None:  # no value is that small: it is no secret
                return 10 * FLOOR, 100 * FLOOR
            ends.append(round(float(row @ solved.x)))
        return ends[0], ends[1]


class _Text(HTMLParser):
    """The cells of every table of figures: its columns, and each line's label and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.tables[-1][-1][-1] += data


def read_files(world: World, folder: Path) -> Attacker:
    """Write the files, and let the attacker read each of them."""
    write_table1(world.table, folder / "table1.json")
    write_csv(world.table, folder / "table1.csv")
    write_html(world.table, folder / "table1.html")
    attacker = Attacker(world.study, list(world.sites))
    for learn in (from_json, from_csv, from_html):
        for cell, column, n, group in learn(world.study, folder):
            attacker.learn(cell, column, n, group)
    return attacker


Fact = tuple[Cell, str, int, str]


def from_json(study: Study, folder: Path) -> Iterator[Fact]:
    data = json.loads((folder / "table1.json").read_text())

    def counts(cell: Cell, table: dict[str, Any], of: dict[str, Any] | None) -> Iterator[Fact]:
        for column, each in table.items():
            n = each["n"]
            if n is not None:
                yield cell, column, n, ""
            elif each["percent"] is not None:
                raise AssertionError("a hidden count has a share")
            whole = None if of is None else of[column]["n"]
            if n is not None and whole is None and of is not None:
                assert each["percent"] is None, "a share of a hidden count"

    yield from counts(Cell(ROWS), data["rows"], None)
    for column, table in data["outcome_by_site"].items():
        for group, each in table.items():
            if each["n"] is not None:
                yield Cell(ROWS), column, each["n"], group
    for feature in data["features"]:
        name = feature["name"]
        for kind in ("observed", "missing", "invalid"):
            yield from counts(Cell(kind, name), feature[kind], data["rows"])
        for level in feature["levels"]:
            cell = Cell(LEVEL, name, level["code"])
            yield from counts(cell, level["counts"], feature["observed"])


def from_csv(study: Study, folder: Path) -> Iterator[Fact]:
    with (folder / "table1.csv").open(encoding="utf-8-sig", newline="") as stream:
        shares: dict[tuple[str, str, str], float] = {}
        observed: dict[tuple[str, str], int] = {}
        for row in csv.DictReader(stream):
            head = [row.pop(key) for key in ("feature", "level", "label", "unit", "statistic")]
            feature, level, label, _, statistic = head
            for column, text in row.items():
                if text in ("", "hidden"):
                    continue
                if statistic == "percent":
                    shares[feature, level, column] = float(text)
                elif feature == "":
                    group = label.removeprefix("patients").removeprefix(", ")
                    yield Cell(ROWS), column, int(text), group
                else:
                    kind = LEVEL if level else statistic
                    yield Cell(kind, feature, level), column, int(text), ""
                    if statistic == "observed":
                        observed[feature, column] = int(text)
        for (feature, level, column), share in shares.items():
            n = share * observed[feature, column] / 100
            assert abs(n - round(n)) < 1e-6
            yield Cell(LEVEL, feature, level), column, round(n), ""


def from_html(study: Study, folder: Path) -> Iterator[Fact]:
    page = _Text()
    page.feed((folder / "table1.html").read_text(encoding="utf-8"))
    names = {"All": "all", "No event": "no event", "Event": "event"}
    for head, *lines in page.tables:
        if head[0] != "feature":
            continue
        columns = [names.get(each, f"site:{each}") for each in head[1:]]
        feature = ""
        for label, *texts in lines:
            label = re.sub(r"(n \(%\)|mean \(sd\))$", "", label)
            if label in ("group", "sex"):
                feature = label
            cell, group = {
                "Patients": (Cell(ROWS), ""),
                "with y = 1": (Cell(ROWS), "event"),
                "sex": (Cell(LEVEL, "sex", "1"), ""),
                "missing": (Cell(MISSING, feature), ""),
                "not allowed": (Cell("invalid", feature), ""),
            }.get(label, (Cell(LEVEL, feature, label), ""))
            for column, text in zip(columns, texts, strict=True):
                if number := re.match(r"\d+", text):
                    yield cell, column, int(number[0]), group


def secrets(world: World, attacker: Attacker) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield every true count from 1 to 4: of sites, of groups, of sites by outcome."""
    truth = np.array([count(rows, world.study) for rows in world.sites.values()])
    names = list(world.sites)
    everyone = list(range(len(names)))
    for c, cell in enumerate(cells(world.study)):
        parts = [(f"{cell} {name}", [i], (0, 1)) for i, name in enumerate(names)]
        parts += [(f"{cell} {name} {g}", [i], (g,)) for i, name in enumerate(names) for g in (0, 1)]
        parts += [(f"{cell} {name}", everyone, groups) for name, groups in GROUPS.items()]
        for what, sites, groups in parts:
            n = truth[np.ix_(sites, [c], groups)].sum()
            if 0 < n < FLOOR:
                yield what, attacker.sum(cell, sites, groups)


def disclosures(world: World) -> list[str]:
    """Return what an attacker can narrow down to fewer than five values."""
    with TemporaryDirectory() as folder:
        attacker = read_files(world, Path(folder))
    found = []
    for what, row in secrets(world, attacker):
        low, high = attacker.values(row)
        if high - low + 1 < FLOOR:
            found.append(f"{what} is {low} to {high}")
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(worlds())
def test_no_small_count_can_be_worked_out(world: World) -> None:
    """From all files, every true count from 1 to 4 keeps at least five possible values."""
    assert disclosures(world) == []


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(worlds())
def test_every_file_says_the_same(world: World) -> None:
    """The attacker reads the same counts in JSON and CSV, and none in HTML that is not there."""
    with TemporaryDirectory() as folder:
        read_files(world, Path(folder))
        told = {
            read: set(read(world.study, Path(folder))) for read in (from_json, from_csv, from_html)
        }
    # a group of all sites has its number of patients on two lines of the CSV file
    assert {(*fact[:3], "") for fact in told[from_csv] if fact[1] in GROUPS} == {
        fact for fact in told[from_json] if fact[1] in GROUPS
    }
    assert told[from_html] <= told[from_json]


def _example() -> tuple[Study, dict[str, Rows]]:
    study = small_study(2)
    big = [(level, sex, y) for level in "ab" for sex in (0.0, 1.0) for y in (0.0, 1.0)] * 10
    rare = [*big, *[(None, 1.0, 1.0)] * 2]
    return study, {"x": rows_of(study, big), "y": rows_of(study, rare), "z": rows_of(study, big)}


def _only_small(counts: NDArray[np.float64], sums: list[Addition], floor: int = FLOOR) -> Mask:
    return np.isnan(counts) | primary(counts, floor)


def test_without_hiding_more_the_attack_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only small counts themselves are hidden, the attack finds them; else it does not."""
    study, sites = _example()
    assert disclosures(publish(study, sites, frozenset())) == []
    monkeypatch.setattr(sitetable, "suppress", _only_small)
    monkeypatch.setattr(disclosed, "suppress", _only_small)
    assert disclosures(publish(study, sites, frozenset())) != []


def test_without_the_servers_part_the_attack_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is safe at its site is given away by totals, were it not for the server."""
    study, sites = _example()
    monkeypatch.setattr(disclosed, "suppress", _only_small)
    assert disclosures(publish(study, sites, frozenset())) != []


def test_a_single_site_without_a_table_gets_company() -> None:
    """All sites but one would show the one that allows no table by subtraction."""
    study, sites = _example()
    world = publish(study, sites, frozenset({"z"}))
    assert set(world.table.without_table) == {"z", "x"}
    assert [column.name for column in world.table.columns if column.site] == ["y"]
