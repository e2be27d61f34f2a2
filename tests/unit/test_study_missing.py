"""How a contract treats missing values."""

from __future__ import annotations

import pytest

from medhive.contract.explain import notes, terms, training
from medhive.errors import StudyError
from medhive.study import Study
from medhive.studyfile import parse_study

STUDY = """\
[study]
name = "s"
outcome = { column = "y", event = 1 }
[run]
missing = "indicator"
[[features]]
name = "age"
kind = "continuous"
[[features]]
name = "cp"
kind = "categorical"
levels = ["a", "b", "c"]
"""


def study(mode: str) -> Study:
    return parse_study(STUDY, file="s.toml", run_config={"missing": mode})


def names(mode: str) -> list[str]:
    return [term.name for term in study(mode).terms]


def test_an_indicator_follows_the_terms_of_its_feature() -> None:
    """With "indicator" each feature has one more term, after its own; otherwise none."""
    assert names("drop") == names("mean") == ["age", "cp[b]", "cp[c]"]
    assert names("indicator") == ["age", "age[missing]", "cp[b]", "cp[c]", "cp[missing]"]


@pytest.mark.parametrize(
    ("old", "new", "setting", "step"),
    [
        ('"c"', '"missing"', "features[2].name", "another code"),
        ('"cp"', '"age[missing]"', None, None),
        ('name = "age"', 'name = "cp[missing]"', "features[2].name", "rename"),
    ],
)
def test_a_term_has_its_name_to_itself(
    old: str, new: str, setting: str | None, step: str | None
) -> None:
    """A level or a column that is called as an indicator would be is refused, with what to do."""
    text = STUDY.replace(old, new)
    if setting is None:
        text = text.replace('kind = "categorical"\nlevels = ["a", "b", "c"]', 'kind = "binary"')
        setting, step = "features[2].name", "rename"
    with pytest.raises(StudyError, match="two model terms have the name") as caught:
        parse_study(text, file="s.toml")
    assert caught.value.place.setting == setting
    assert step is not None
    assert step in str(caught.value.next_step)
    parse_study(text, file="s.toml", run_config={"missing": "mean"})


def test_the_reference_level_may_be_called_missing() -> None:
    """The reference has no term, so its code clashes with nothing."""
    parse_study(STUDY.replace('"a"', '"missing"'), file="s.toml")


@pytest.mark.parametrize(
    ("mode", "told", "noted"),
    [
        ("drop", "is empty is left out", None),
        ("mean", "filled with the column's mean", "more certain"),
        ("indicator", "one more term", "used to predict"),
    ],
)
def test_the_check_says_what_happens_to_missing_values(
    mode: str, told: str, noted: str | None
) -> None:
    """The explanation names the mode and its consequence, and warns where there is a reason."""
    contract = study(mode)
    (sentence,) = [each for each in training(contract).sentences if each.startswith("missing = ")]
    assert sentence.startswith(f"missing = {mode}: ")
    assert told in sentence
    warned = [each for each in notes(contract) if each.startswith("missing = ")]
    assert len(warned) == (noted is not None)
    assert noted is None or noted in warned[0]
    assert ("age[missing] compares" in " ".join(terms(contract).sentences)) == (mode == "indicator")
