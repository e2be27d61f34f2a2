"""Every unusable study file is refused with line, setting and what to do about it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from medhive.errors import StudyError
from medhive.study import Study
from medhive.studyfile import parse_study, read_study, with_run_config

STUDY = """\
[study]
name = "s"
outcome = { column = "y", event = 1 }
"""
FEATURE = """\
[[features]]
name = "age"
kind = "continuous"
"""
CP = """\
[[features]]
name = "cp"
kind = "categorical"
levels = { 1 = "a", 2 = "b" }
"""
GOOD = STUDY + FEATURE


class Bad(NamedTuple):
    text: str
    line: int | None
    setting: str | None
    words: str
    step: str


CASES = {
    "empty file": Bad("", None, "study", '"study" is missing', "add"),
    "no features": Bad(STUDY, None, "features", "missing", "add"),
    "empty list of features": Bad("features = []\n" + STUDY, 1, "features", "short", "add"),
    "no outcome": Bad('[study]\nname = "s"\n' + FEATURE, 1, "study.outcome", "missing", "add"),
    "no event": Bad(
        '[study]\nname = "s"\noutcome = { column = "y" }\n' + FEATURE,
        3,
        "study.outcome.event",
        "missing",
        "add",
    ),
    "invalid TOML": Bad(GOOD + "unit = years\n", 7, None, "not valid TOML", "quote"),
    "open bracket": Bad("[study\n" + GOOD, 1, None, "not valid TOML", "bracket"),
    "key twice": Bad(GOOD + 'kind = "binary"\n', 7, None, "not valid TOML", "once"),
    "unknown section": Bad(GOOD + "[runs]\nC = 1\n", 7, "runs", 'key "runs"', '"run"'),
    "misspelt features": Bad(STUDY + "[[feature]]\n", 4, "feature", 'key "feature"', '"features"'),
    "unknown key of run": Bad(
        GOOD + "[run]\nnum-server-round = 3\n",
        8,
        "run.num-server-round",
        "unknown key",
        'did you mean "num-server-rounds"?',
    ),
    "underscores for dashes": Bad(
        GOOD + "[run]\nlocal_epoch = 3\n", 8, "run.local_epoch", "unknown key", '"local-epochs"'
    ),
    "strange key of run": Bad(
        GOOD + "[run]\nworkers = 3\n", 8, "run.workers", "unknown key", "known keys: strategy"
    ),
    "unknown key of a feature": Bad(
        GOOD + "rang = [1, 2]\n", 7, "features[1].rang", "unknown key", '"range"'
    ),
    "unknown key of the outcome": Bad(
        '[study]\nname = "s"\n[study.outcome]\ncolum = "y"\nevent = 1\n' + FEATURE,
        4,
        "study.outcome.colum",
        "unknown key",
        '"column"',
    ),
    "unknown key of privacy": Bad(
        GOOD + "[privacy]\nmin-row = 5\n", 8, "privacy.min-row", "unknown key", '"min-rows"'
    ),
    "unknown strategy": Bad(
        GOOD + '[run]\nstrategy = "fedag"\n', 8, "run.strategy", "fedprox", '"fedavg"'
    ),
    "unknown penalty": Bad(
        GOOD + '[run]\npenalty = "ridge"\n', 8, "run.penalty", "elasticnet", "choose"
    ),
    "no rounds": Bad(
        GOOD + "[run]\nC = 2.0\nnum-server-rounds = 0\n",
        9,
        "run.num-server-rounds",
        "^0: .*greater",
        "correct",
    ),
    "rounds as text": Bad(
        GOOD + '[run]\nnum-server-rounds = "5"\n', 8, "run.num-server-rounds", "whole", "quotes"
    ),
    "half a round": Bad(
        GOOD + "[run]\nnum-server-rounds = 2.5\n", 8, "run.num-server-rounds", "whole", "whole"
    ),
    "C of nought": Bad(GOOD + "[run]\nC = 0\n", 8, "run.C", "greater than 0", "correct"),
    "C not finite": Bad(GOOD + "[run]\nC = inf\n", 8, "run.C", "finite", "correct"),
    "everything held out": Bad(
        GOOD + "[run]\ntest-fraction = 1.0\n", 8, "run.test-fraction", "less than 1", "correct"
    ),
    "flag as text": Bad(
        GOOD + '[run]\nstandardise = "yes"\n', 8, "run.standardise", "true or false", "quotes"
    ),
    "flag as number": Bad(
        GOOD + "[privacy]\nsecure-aggregation = 1\n",
        8,
        "privacy.secure-aggregation",
        "true or false",
        "quotes",
    ),
    "proximal-mu with fedavg": Bad(
        GOOD + '[run]\nstrategy = "fedavg"\nproximal-mu = 0.1\n',
        9,
        "run.proximal-mu",
        "no effect.*belongs to fedprox",
        "remove",
    ),
    "tau with fedavgm": Bad(
        GOOD + '[run]\ntau = 0.1\nstrategy = "fedavgm"\n', 8, "run.tau", "no effect", "remove"
    ),
    "l1-ratio with l2": Bad(
        GOOD + "[run]\nl1-ratio = 0.1\n", 8, "run.l1-ratio", "no effect", "elasticnet"
    ),
    "name with spaces": Bad(
        GOOD.replace('"s"', '"My study"'), 2, "study.name", "My study", "short name"
    ),
    "event that is a list": Bad(
        GOOD.replace("event = 1", "event = [1]"), 3, "study.outcome.event", "value", '"> 0"'
    ),
    "event that is empty": Bad(
        GOOD.replace("event = 1", 'event = ""'), 3, "study.outcome.event", "empty", '"> 0"'
    ),
    "event that compares with text": Bad(
        GOOD.replace("event = 1", 'event = "> high"'), 3, "study.outcome.event", "> high", '"> 0"'
    ),
    "event that compares with infinity": Bad(
        GOOD.replace("event = 1", 'event = "< inf"'), 3, "study.outcome.event", "inf", '"> 0"'
    ),
    "outcome as text": Bad(
        '[study]\nname = "s"\noutcome = "y"\n' + FEATURE, 3, "study.outcome", "table", "example"
    ),
    "feature named twice": Bad(
        GOOD + CP + FEATURE, 12, "features[3].name", '"age".*another', "remove one"
    ),
    "feature that is the outcome": Bad(
        GOOD + CP.replace("cp", "y"), 8, "features[2].name", '"y".*outcome', "remove one"
    ),
    "feature named as a term": Bad(
        GOOD + CP + '[[features]]\nname = "cp[2]"\nkind = "binary"\n',
        12,
        "features[3].name",
        r"cp\[2\]",
        "rename",
    ),
    "feature named as the intercept": Bad(
        GOOD.replace("age", "(Intercept)"), 5, "features[1].name", "model's own", "correct"
    ),
    "feature without name": Bad(
        GOOD + '[[features]]\nkind = "binary"\n', 7, "features[2].name", "missing", "add"
    ),
    "unknown kind": Bad(
        GOOD.replace("continuous", "binarry"), 6, "features[1].kind", "binarry", '"binary"'
    ),
    "range reversed": Bad(
        GOOD + 'unit = "years"\nrange = [9, 1]\n', 8, "features[1].range", "smallest", "swap"
    ),
    "range of one number": Bad(GOOD + "range = [9]\n", 7, "features[1].range[2]", "few", "2"),
    "range of text": Bad(
        GOOD + 'range = ["a", 9]\n', 7, "features[1].range[1]", "number", "without quotes"
    ),
    "range of a category": Bad(
        GOOD + CP + "range = [1, 2]\n", 11, "features[2].range", "has no range", "remove"
    ),
    "unit of a flag": Bad(
        GOOD.replace("continuous", "binary") + 'unit = "mm"\n',
        7,
        "features[1].unit",
        "has no unit",
        "remove",
    ),
    "levels of a number": Bad(
        GOOD + 'levels = ["a", "b"]\n', 7, "features[1].levels", "no levels", "remove"
    ),
    "one level": Bad(
        GOOD + CP.replace(', 2 = "b"', ""), 10, "features[2].levels", "at least two", "list"
    ),
    "no levels": Bad(
        GOOD + '[[features]]\nname = "cp"\nkind = "categorical"\n',
        7,
        "features[2].levels",
        "at least two",
        "list every level",
    ),
    "level twice": Bad(
        GOOD + CP.replace('{ 1 = "a", 2 = "b" }', '["1", 1.0]'),
        10,
        "features[2].levels",
        "listed twice",
        "remove",
    ),
    "reference not a level": Bad(
        GOOD + CP + "reference = 3\n", 11, "features[2].reference", "reference 3", "one of 1, 2"
    ),
    "flag coded in words": Bad(
        GOOD.replace("continuous", "binary") + 'levels = ["no", "yes"]\n',
        7,
        "features[1].levels",
        "0 and 1",
        "categorical",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_bad_study_is_refused_with_line_and_next_step(case: Bad) -> None:
    """Cause, line, setting and next step are named."""
    with pytest.raises(StudyError) as caught:
        parse_study(case.text, file="study.toml")
    error = caught.value
    assert (error.place.file, error.place.line, error.place.setting) == (
        "study.toml",
        case.line,
        case.setting,
    )
    assert re.search(case.words, error.cause), error.cause
    assert error.next_step is not None
    assert case.step in error.next_step
    assert error.exit_code == 2


def test_every_fault_is_told_at_once() -> None:
    """Faults beside the first are named with their own line."""
    with pytest.raises(StudyError) as caught:
        parse_study(GOOD + "[run]\nC = -1\nseed = -1\n", file="study.toml")
    assert caught.value.place.line == 8
    assert "Also study.toml, line 9, run.seed: -1" in caught.value.cause


@pytest.mark.parametrize(
    ("override", "words"),
    [({"C": -1.0}, "greater"), ({"tau": 0.1}, "no effect"), ({"rounds": 3}, "unknown key")],
)
def test_a_bad_override_is_placed_on_the_command_line(
    override: dict[str, float], words: str
) -> None:
    """What --run-config got wrong is not blamed on the file."""
    study = parse_study(GOOD, file="study.toml")
    changes: list[Callable[[], Study]] = [
        lambda: parse_study(GOOD, file="study.toml", run_config=override),
        lambda: with_run_config(study, override),
    ]
    for change in changes:
        with pytest.raises(StudyError, match=words) as caught:
            change()
        assert caught.value.place.file == "--run-config"
        assert caught.value.place.setting == next(iter(override))


def test_a_strategy_can_be_overridden_without_the_old_ones_keys() -> None:
    """Tuning keys of the replaced strategy leave with it, those of the new one get defaults."""
    study = parse_study(GOOD, file="study.toml", run_config={"strategy": "fedprox"})
    assert study.run.proximal_mu == 0.01
    changed = with_run_config(study, {"strategy": "fedavgm", "num-server-rounds": 9})
    assert changed.run.proximal_mu is None
    assert (changed.run.server_momentum, changed.run.num_server_rounds) == (0.9, 9)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such study file"), ("folder", "folder"), (b"title = '\xe9'", "not UTF-8")],
)
def test_an_unreadable_study_file_is_named(
    content: bytes | str | None, words: str, tmp_path: Path
) -> None:
    """Missing file, folder and other encodings are told apart."""
    file = tmp_path / "study.toml"
    if content == "folder":
        file.mkdir()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    with pytest.raises(StudyError, match=words) as caught:
        read_study(file)
    assert caught.value.place.file == file
    assert caught.value.next_step is not None


def test_a_canonical_study_reads_back_as_itself() -> None:
    """What is hashed and sent holds the whole contract."""
    study = parse_study(GOOD + 'unit = "years"\nrange = [1, 2.5]\n' + CP, file="study.toml")
    again = Study.model_validate_json(study.canonical)
    assert again == study
    assert again.sha256 == study.sha256
