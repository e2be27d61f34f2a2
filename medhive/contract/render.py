"""Writing a draft as the TOML that a person likes to read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from medhive.contract.candidate import Candidate
from medhive.contract.draft import Draft
from medhive.contract.outcome import Event
from medhive.contract.propose import FEWEST_ROWS
from medhive.errors import Place, SettingError
from medhive.reports.files import write_atomically
from medhive.study import Privacy, Run
from medhive.studyfile import parse_study

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_WIDTH = 96
_SHOWN_RUN = (
    "strategy",
    "num_server_rounds",
    "local_epochs",
    "penalty",
    "C",
    "min_available_clients",
    "standardise",
    "missing",
    "test_fraction",
    "seed",
)

_FROM_DATA = f"""\
# Drafted from the columns of one site's file. Every line is a proposal: please read them all.
# No patient's value is in this file. Ranges are rounded outward, never a patient's own extreme;
# level codes are listed only where {FEWEST_ROWS} or more rows share them.
"""
_FROM_CODEBOOK = """\
# Drafted from a codebook, without any data. Every line is a proposal: please read them all.
"""


def check_target(path: Path, *, force: bool) -> None:
    """Make sure, before anything is asked, that the study file can be written.

    Raises
    ------
    SettingError
        If it exists and must stay, or its folder cannot be used.
    """
    if path.is_dir():
        cause, step = "this is a folder", "name a file in it, such as study.toml"
    elif not path.parent.is_dir():
        cause, step = f"there is no folder {path.parent}", "make it, or choose another"
    elif path.exists() and not force:
        cause, step = "the file exists already", "choose another name, or add --force"
    else:
        return
    raise SettingError(cause, place=Place(file=path), next_step=step)


def write(draft: Draft, path: Path, *, force: bool) -> None:
    """Write a draft, once it is known to be a valid study.

    Raises
    ------
    SettingError
        If the file cannot be written.
    """
    text = render(draft)
    parse_study(text, file=path)
    check_target(path, force=force)
    try:
        write_atomically(path, text)
    except OSError as error:
        raise SettingError(
            f"cannot be written: {error.strerror}",
            place=Place(file=path),
            next_step="choose another place for the study file",
        ) from None


def render(draft: Draft) -> str:
    """Return the text of the study file."""
    event = draft.event
    outcome = f"{{ column = {_text(draft.outcome.name)}, event = {_value(event)} }}"
    lines = [
        _FROM_DATA if draft.from_data else _FROM_CODEBOOK,
        "[study]",
        f"name = {_text(draft.name)}",
        f"title = {_text(draft.title)}" + ("" if draft.title else "   # title?"),
        f"outcome = {outcome}",
        "",
        "[run]",
        *(f"{Run.model_fields[key].alias} = {_value(getattr(Run(), key))}" for key in _SHOWN_RUN),
        "",
        "[privacy]",
        f"min-rows = {Privacy().min_rows}",
    ]
    for feature in draft.features:
        lines += ["", *_feature(feature)]
    if draft.left_out:
        lines += ["", "# Left out of the model:"]
        lines += [f"#   {_comment(each.name)}: {_comment(each.reason)}" for each in draft.left_out]
    return "\n".join(lines) + "\n"


def _feature(feature: Candidate) -> Iterator[str]:
    yield "[[features]]"
    yield f"name = {_text(feature.name)}" + (
        f"   # {_comment(feature.label)}" if feature.label else ""
    )
    yield f"kind = {_text(str(feature.kind))}"
    if feature.kind == "continuous":
        yield f"unit = {_text(feature.unit)}" if feature.unit else "# unit?"
        if feature.range is None:
            yield "# range = [smallest, largest]?"
        else:
            # a range that is wider than the data falls below zero where a value is zero
            hint = "   # can it be below 0?" if feature.range[0] < 0 else ""
            yield f"range = [{', '.join(map(_number, feature.range))}]{hint}"
    elif feature.kind == "binary":
        if feature.levels:
            yield f"levels = {_table(feature.levels)}"
        else:
            yield '# levels = { 0 = "no", 1 = "yes" }?'
    else:
        yield from _categories(feature)
    if feature.doubtful:
        yield f"# {_comment(feature.reason)}"


def _categories(feature: Candidate) -> Iterator[str]:
    if any(label for _, label in feature.levels):
        yield f"levels = {_table(feature.levels)}"
    else:
        codes = [_code(code) for code, _ in feature.levels]
        line = f"levels = [{', '.join(codes)}]"
        if len(line) <= _WIDTH:
            yield line
        else:
            yield "levels = ["
            yield from (f"    {code}," for code in codes)
            yield "]"
        if all(_INTEGER.fullmatch(code) for code, _ in feature.levels):
            yield f'# labels? levels = {{ {feature.levels[0][0]} = "…", … }}'
    yield f"reference = {_code(feature.reference or feature.levels[0][0])}" + (
        "   # the most frequent" if feature.counts else ""
    )
    if feature.rare:
        values, are = ("value", "is") if feature.rare == 1 else ("values", "are")
        yield (
            f"# {feature.rare} further {values} that fewer than {FEWEST_ROWS} rows have {are} not"
            " listed: add every level that may occur"
        )


def _table(levels: tuple[tuple[str, str], ...]) -> str:
    pairs = [
        f"{code if _BARE_KEY.fullmatch(code) else _text(code)} = {_text(label or code)}"
        for code, label in levels
    ]
    return f"{{ {', '.join(pairs)} }}"


def _code(code: str) -> str:
    return code if _INTEGER.fullmatch(code) and code != "-0" else _text(code)


def _value(value: Event | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _text(value) if isinstance(value, str) else str(value)


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _text(text: str) -> str:
    # TOML's basic strings are JSON's, but for this one character
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _comment(text: str) -> str:
    plain = "".join(mark if mark.isprintable() else " " for mark in text)
    return plain if len(plain) <= _WIDTH else plain[: _WIDTH - 1] + "…"
