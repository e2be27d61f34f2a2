"""A draft proposes what a person would, and holds no patient's value."""

from __future__ import annotations

import random
import re
import tomllib
from pathlib import Path

import pytest

from medhive.contract.candidate import Candidate
from medhive.contract.draft import choose_outcome, compose, read_candidates
from medhive.contract.outcome import check_event, propose_event, propose_outcome
from medhive.contract.propose import outward
from medhive.contract.render import render
from medhive.data.site import load_site
from medhive.errors import SettingError
from medhive.study import Study
from medhive.studyfile import parse_study
from support import HEART_SITES

ROWS = 60
DRAW = random.Random(5)
TABLE: dict[str, list[object]] = {
    "patient_id": [f"P{i:05d}" for i in range(ROWS)],
    "MRN": [DRAW.randrange(10**6, 10**7) for _ in range(ROWS)],
    "row": list(range(1, ROWS + 1)),
    "surname": [DRAW.choice(["Ito", "Rossi", "Novak"]) for _ in range(ROWS)],
    "date_of_birth": [f"19{DRAW.randrange(30, 99)}-01-02" for _ in range(ROWS)],
    "admitted": [f"{1 + i % 28:02d}.03.2021" for i in range(ROWS)],
    "birth_weight": [DRAW.randrange(1200, 4600) for _ in range(ROWS)],
    "age": [DRAW.randrange(31, 88) for _ in range(ROWS)],
    "crp": [round(DRAW.uniform(0.3, 250), 1) for _ in range(ROWS)],
    "comma": [f"{i},5" for i in range(ROWS)],
    "mixed": [*range(ROWS - 2), "<1", "high"],
    "flag": [i % 2 for i in range(ROWS)],
    "flag_float": [f"{i % 2}.0" for i in range(ROWS)],
    "nyha": [1 + i % 4 for i in range(ROWS)],
    "code": [(3, 6, 7)[i % 3] for i in range(ROWS)],
    "sex": ["F" if i % 3 else "M" for i in range(ROWS)],
    "ward": ["A"] * 30 + ["B"] * 28 + ["rare ward"] * 2,
    "note": [f"came at {i} with {'pain ' * (i % 9)}" for i in range(ROWS)],
    "empty": [""] * ROWS,
    "nearly": [3.5 if i % 10 == 0 else "NA" for i in range(ROWS)],
    "same": [7] * ROWS,
    "dead": ["yes" if i % 5 == 0 else "no" for i in range(ROWS)],
}


def written(folder: Path, table: dict[str, list[object]]) -> Path:
    file = folder / "site.csv"
    rows = zip(*table.values(), strict=True)
    lines = [";".join(table), *(";".join(map(str, row)) for row in rows)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Candidate]:
    file = written(tmp_path_factory.mktemp("draft"), TABLE)
    return {each.name: each for each in read_candidates(file, None)}


def drafted(file: Path, outcome: str | None = None, event: str | None = None) -> str:
    found = read_candidates(file, None)
    column, chosen = choose_outcome(found, outcome, event)
    draft = compose(found, column, chosen, name="s", title="", source=file, from_data=True)
    return render(draft)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("patient_id", None, "identifier"),
        ("MRN", None, "identifier"),
        ("row", None, "identifier"),
        ("surname", None, "a name"),
        ("date_of_birth", None, "date of birth"),
        ("admitted", None, "dates"),
        ("birth_weight", "continuous", "numbers"),
        ("age", "continuous", "numbers"),
        ("crp", "continuous", "numbers"),
        ("comma", None, "decimal commas"),
        ("mixed", None, "some rows hold a text"),
        ("flag", "binary", "0 and 1"),
        ("flag_float", "binary", "0 and 1"),
        ("nyha", "categorical", "grades in order"),
        ("code", "categorical", "3 different whole numbers"),
        ("sex", "categorical", "2 different texts"),
        ("ward", "categorical", "3 different texts"),
        ("note", None, "free text"),
        ("empty", None, "empty"),
        ("nearly", None, "nearly empty"),
        ("same", None, "the same value"),
        ("dead", "categorical", "2 different texts"),
    ],
)
def test_columns_are_what_they_look_like(
    candidates: dict[str, Candidate], name: str, kind: str | None, reason: str
) -> None:
    """Each kind of column is recognised, and the reason says why."""
    assert candidates[name].kind == kind
    assert reason in candidates[name].reason


def test_levels_are_those_that_rows_share(candidates: dict[str, Candidate]) -> None:
    """Codes of fewer than five rows are counted and not listed; the commonest is the reference."""
    ward = candidates["ward"]
    assert (ward.levels, ward.reference, ward.rare) == ((("A", ""), ("B", "")), "A", 1)
    assert ward.doubtful
    assert candidates["sex"].reference == "F"
    assert [level for level, _ in candidates["code"].levels] == ["3", "6", "7"]


def test_outcome_and_event_are_proposed(candidates: dict[str, Candidate]) -> None:
    """The outcome is found by its name, and the event by its value."""
    assert propose_outcome(list(candidates.values())) == "dead"
    assert propose_event(candidates["dead"]) == "yes"
    assert propose_event(candidates["flag"]) == 1
    assert propose_event(candidates["sex"]) == "M"  # the rarer one
    assert propose_event(candidates["age"]) is None


def test_the_draft_holds_no_value_of_a_patient(tmp_path: Path) -> None:
    """No value of any column is in the file, but shared level codes and small whole numbers."""
    text = drafted(written(tmp_path, TABLE))
    body = text.split("[[features]]", 1)[1]
    secret = {
        str(value)
        for name, values in TABLE.items()
        if name not in ("sex", "flag", "flag_float", "nyha", "code", "ward", "row", "mixed", "dead")
        for value in values
    } - {"", "NA", "7"}
    words = set(re.findall(r"[\w.,-]+", body))
    assert {word for word in words if word in secret} == set()
    assert "rare ward" not in text
    study = tomllib.loads(text)
    for feature in study["features"]:
        if "range" in feature:
            values = [float(str(value)) for value in TABLE[feature["name"]]]
            low, high = feature["range"]
            assert low < min(values) <= max(values) < high, feature["name"]


@pytest.mark.parametrize("name", HEART_SITES)
def test_a_real_site_gives_a_study(name: str) -> None:
    """Every bundled centre gives a valid study whose outcome is the right one."""
    study = parse_study(drafted(HEART_SITES[name]), file="s")
    # this centre has the grades 0 and 1 only
    event = 1 if name == "hungarian" else "> 0"
    assert (study.study.outcome.column, study.study.outcome.event) == ("num", event)


def test_the_site_itself_fits_its_draft(tmp_path: Path) -> None:
    """A file without rare levels passes the check of the study that was drafted from it."""
    table = {key: TABLE[key] for key in ("age", "crp", "flag", "nyha", "sex", "code", "dead")}
    file = written(tmp_path, table)
    study = parse_study(drafted(file), file="s")
    assert [feature.name for feature in study.features] == list(table)[:-1]
    data = load_site(file, study, "here")
    assert len(data.train) == ROWS
    assert data.train.y.sum() == ROWS / 5


@pytest.mark.parametrize(
    ("low", "high"),
    [(29, 77), (0, 6.2), (-3, -1), (0.0012, 0.0047), (120, 148), (1990, 2021), (-1, 1e9), (1, 2)],
)
def test_ranges_are_rounded_outward(low: float, high: float) -> None:
    """A range is wider than the data by about a tenth, and shows neither end."""
    found = outward(low, high)
    assert found is not None
    assert found[0] < low
    assert found[1] > high
    assert low < 0 or found[0] >= 0 or low == 0
    assert all(float(f"{end:.1e}") == end for end in found)


def test_a_range_that_cannot_be_is_left_out() -> None:
    """Where doubles end, no range is proposed rather than a false one."""
    assert outward(-1.7e308, 1.7e308) is None
    assert outward(5e-324, 1e-323) is None


@pytest.mark.parametrize(
    ("column", "event", "words"),
    [
        ("dead", "maybe", 'no value is "maybe"; there are no, yes'),
        ("nyha", "4", "3 other values"),
        ("sex", "> 0", "holds texts"),
        ("crp", "60", "many different numbers"),
        ("age", "60", "other values"),
        ("age", "> old", "not a number"),
        ("dead", "", "event is empty"),
    ],
)
def test_an_event_that_cannot_be_is_refused(
    candidates: dict[str, Candidate], column: str, event: str, words: str
) -> None:
    """An event that does not fit the column is refused with what would."""
    with pytest.raises(SettingError) as caught:
        check_event(candidates[column], event)
    assert words in str(caught.value)
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("column", "event", "found"),
    [("dead", "no", "no"), ("nyha", ">= 3", ">= 3"), ("flag", "1.0", 1), ("age", "> 60", "> 60")],
)
def test_an_event_is_a_value_or_a_comparison(
    candidates: dict[str, Candidate], column: str, event: str, found: object
) -> None:
    """Both ways of naming the event are taken."""
    assert check_event(candidates[column], event) == found


def test_strange_names_and_levels_are_quoted(tmp_path: Path) -> None:
    """Names and codes that TOML would take for something else come back unchanged."""
    names = ['a "b"', "c\\d", "e.f", "é = 1", "#g"]
    table: dict[str, list[object]] = {
        name: ["x, y", "007", "1.5", "true"] * 10 if n % 2 else [1, 0] * 20
        for n, name in enumerate(names)
    }
    file = tmp_path / "strange.csv"
    header = ";".join('"' + name.replace('"', '""') + '"' for name in names) + ";y"
    rows = [";".join(str(table[name][i]) for name in names) + f";{i % 2}" for i in range(40)]
    file.write_text("\n".join([header, *rows]), encoding="utf-8")
    study: Study = parse_study(drafted(file), file="s")
    assert [feature.name for feature in study.features] == names
    assert set(study.features[1].codes) == {"x, y", "7", "1.5", "true"}
    assert len(load_site(file, study, "here").train) == 40
