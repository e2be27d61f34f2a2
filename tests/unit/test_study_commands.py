"""`medhive study new`, `check` and `show`: what they print, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from medhive.cli.main import app
from medhive.errors import MedHiveError
from medhive.studyfile import read_study
from support import HEART_SITES, HEART_STUDY

VA = str(HEART_SITES["va"])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["study", *map(str, arguments)], env={"COLUMNS": "80"})


def words(result: Result) -> str:
    return " ".join(result.output.split())


def test_a_draft_can_be_checked_and_shown(tmp_path: Path) -> None:
    """Without a terminal the proposals are taken; what is written passes check and show."""
    file = tmp_path / "Heart Study 1.toml"
    done = run("new", file, "--from-data", VA, "--title", "VA, a try")
    assert done.exit_code == 0, done.output
    assert "left out" not in done.output or "nearly empty" in done.output
    study = read_study(file)
    assert (study.study.name, study.study.title) == ("heart-study-1", "VA, a try")
    assert run("check", file).exit_code == 0
    assert run("show", file).exit_code == 0


def test_force_replaces_a_file(tmp_path: Path) -> None:
    """A file that exists stays, unless --force is given; no other file is left behind."""
    file = tmp_path / "s.toml"
    file.write_text("mine", encoding="utf-8")
    assert run("new", file, "--from-data", VA).exit_code != 0
    assert file.read_text(encoding="utf-8") == "mine"
    assert run("new", file, "--from-data", VA, "--force").exit_code == 0
    assert read_study(file).study.name == "s"
    assert list(tmp_path.iterdir()) == [file]


def test_outcome_and_event_can_be_named(tmp_path: Path) -> None:
    """--outcome, --event and --name win over the proposals."""
    file = tmp_path / "s.toml"
    done = run(
        "new", file, "--from-data", VA, "--outcome", "age", "--event", "> 65", "--name", "old"
    )
    assert done.exit_code == 0, done.output
    study = read_study(file)
    assert (study.study.outcome.column, study.study.outcome.event) == ("age", "> 65")
    assert study.study.name == "old"
    assert "num" in {feature.name for feature in study.features}


def test_check_explains_the_bundled_study() -> None:
    """Question, features, terms, numbers and identity are told in words."""
    text = words(run("check", HEART_STUDY))
    for expected in [
        'The outcome is the column "num". The event is a number above 0',
        "18 to 110 years",
        "1 = typical angina (reference)",
        "The intercept and 13 coefficients: age, sex, cp[2]",
        'cp[2] compares 2 ("atypical angina") with the reference, 1 ("typical angina")',
        "in each of 5 rounds",
        "a site with fewer than 20 training rows",
        read_study(HEART_STUDY).sha256,
        "13 coefficients need about 130 rows with the event",
        "min-available-clients = 2: with two sites, each can subtract",
        "The study file is valid.",
    ]:
        assert expected in text


@pytest.mark.parametrize(
    ("run_config", "told"),
    [
        ("test-fraction=0", "judged on the rows that it was trained on"),
        ("penalty=none C=2.0", 'C has no effect with penalty = "none"'),
        ("min-available-clients=1", "a run may go on with one site"),
        ("standardise=false", "the penalty depends on the units"),
        ("strategy=fedprox proximal-mu=0", "it is fedavg"),
        ("strategy=fedavgm server-learning-rate=1 server-momentum=0", "momentum 0 is fedavg"),
    ],
)
def test_what_is_worth_a_thought_is_told(run_config: str, told: str) -> None:
    """What is allowed and may surprise is told, and only where it holds."""
    assert told in words(run("check", HEART_STUDY, "--run-config", run_config))
    quiet = "test-fraction=0.2 min-available-clients=3 strategy=fedprox"
    assert told not in words(run("check", HEART_STUDY, "--run-config", quiet))


def test_missing_units_ranges_and_labels_are_told(tmp_path: Path) -> None:
    """A draft's open ends are listed by check."""
    file = tmp_path / "s.toml"
    file.write_text(
        '[study]\nname = "s"\noutcome = { column = "y", event = 1 }\n[privacy]\nmin-rows = 3\n'
        '[[features]]\nname = "age"\nkind = "continuous"\n'
        '[[features]]\nname = "sex"\nkind = "binary"\n',
        encoding="utf-8",
    )
    text = words(run("check", file))
    for told in ["No unit: age", "No range: age", "No labels: sex", "min-rows = 3: sums over so"]:
        assert told in text


@pytest.mark.parametrize("strategy", ["fedadam", "fedyogi", "fedadagrad", "fedavgm", "fedprox"])
def test_every_strategy_explains_its_numbers(strategy: str) -> None:
    """Each of a strategy's own keys is there with its value and meaning."""
    from medhive.study import TUNING

    text = words(run("check", HEART_STUDY, "-c", f"strategy={strategy}"))
    for key, value in TUNING[strategy].items():
        assert f"{key.replace('_', '-')} = {value:g}: " in text


def _text(content: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        file = folder / "input"
        file.write_text(content, encoding="utf-8")
        return file

    return write


GOOD_STUDY = HEART_STUDY.read_text(encoding="utf-8")
BAD: dict[str, tuple[list[object], str]] = {
    "check, no such file": (["check", "{folder}/none.toml"], "no such study file"),
    "check, a folder": (["check", "{folder}"], "a folder"),
    "check, not TOML": (["check", _text("a = = 1")], "not valid TOML"),
    "check, a table": (["check", VA], "not valid TOML"),
    "check, an unknown key": (
        ["check", _text(GOOD_STUDY.replace("min-rows", "min-row"))],
        'unknown key "min-row"',
    ),
    "check, a bad override": (["check", HEART_STUDY, "-c", "num-server-rounds=0"], "--run-config"),
    "check, no override": (["check", HEART_STUDY, "-c", "rounds"], "not KEY=VALUE"),
    "show, no such file": (["show", "{folder}/none.toml"], "no such study file"),
    "show, an unknown strategy": (["show", HEART_STUDY, "-c", "strategy=fedag"], "fedag"),
    "new, from nothing": (["new", "{folder}/s.toml"], "--from-data"),
    "new, from both": (
        ["new", "{folder}/s.toml", "--from-data", VA, "--from-codebook", VA],
        "one of the two",
    ),
    "new, the file exists": (["new", HEART_STUDY, "--from-data", VA], "exists already"),
    "new, a folder": (["new", "{folder}", "--from-data", VA], "this is a folder"),
    "new, no folder": (["new", "{folder}/a/s.toml", "--from-data", VA], "there is no folder"),
    "new, no such data": (["new", "{folder}/s.toml", "--from-data", "none.csv"], "no such file"),
    "new, empty data": (["new", "{folder}/s.toml", "--from-data", _text("")], "empty"),
    "new, one column": (
        ["new", "{folder}/s.toml", "--outcome", "a", "--from-data", _text("a\n1\n0\n")],
        "no column is left",
    ),
    "new, no such outcome": (
        ["new", "{folder}/s.toml", "--from-data", VA, "--outcome", "numb"],
        'no column "numb"',
    ),
    "new, no clear outcome": (
        ["new", "{folder}/s.toml", "--from-data", _text("a,b\n1.5,2.5\n2.5,3.5\n")],
        "no column is clearly the outcome",
    ),
    "new, no clear event": (
        ["new", "{folder}/s.toml", "--from-data", VA, "--outcome", "age"],
        "not clear which of its values",
    ),
    "new, no such event": (
        ["new", "{folder}/s.toml", "--from-data", VA, "--outcome", "sex", "--event", "M"],
        'no value is "M"',
    ),
    "new, a bad name": (
        ["new", "{folder}/s.toml", "--from-data", VA, "--name", "My study"],
        "not a name for a study",
    ),
    "new, data as a codebook": (
        ["new", "{folder}/s.toml", "--from-codebook", VA],
        "not a codebook",
    ),
    "new, nothing but identifiers": (
        [
            "new",
            "{folder}/s.toml",
            "--from-data",
            _text("surname,dead\n" + "".join(f"n{i},{i % 2}\n" for i in range(20))),
        ],
        "no column is left",
    ),
}


@pytest.mark.parametrize(("arguments", "cause"), BAD.values(), ids=BAD)
def test_bad_input_is_explained(arguments: list[object], cause: str, tmp_path: Path) -> None:
    """Each refusal has exit code 2, says cause and next step, and writes no file."""
    filled = [
        part(tmp_path) if callable(part) else str(part).replace("{folder}", str(tmp_path))
        for part in arguments
    ]
    before = sorted(tmp_path.iterdir())
    done = run(*filled)
    assert isinstance(done.exception, MedHiveError), done.output
    assert done.exception.exit_code == 2
    assert cause in str(done.exception)
    assert done.exception.next_step
    assert sorted(tmp_path.iterdir()) == before
