"""Reading a study file, with errors that name file, line and setting."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from medhive.errors import Place, StudyError
from medhive.study import Feature, Header, Outcome, Privacy, Run, Study

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*(\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+)\s*[=.]")
_SECTIONS: Mapping[str, type[BaseModel]] = {
    "study": Header,
    "study.outcome": Outcome,
    "run": Run,
    "privacy": Privacy,
    "features": Feature,
}


_TABLE = ("should be a table of keys and values", "see the example of a study file")
_PLAIN: Mapping[str, tuple[str, str]] = {
    "bool_type": ("should be true or false", "write true or false, without quotes"),
    "int_type": ("should be a whole number", "write a whole number, without quotes"),
    "float_type": ("should be a number", "write a number, without quotes"),
    "string_type": ("should be a text", "put it in quotes"),
    "tuple_type": ("should be a list", "write a list: [ …, … ]"),
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "too_short": ("the list is too short", "add what is missing"),
    "too_long": ("the list is too long", "remove what is too much"),
}
"""Pydantic's types of fault in plain words, each with the next step."""


def read_study(path: Path, run_config: Mapping[str, Any] | None = None) -> Study:
    """Read and validate a study file.

    Parameters
    ----------
    path : Path
        A TOML file.
    run_config : mapping, optional
        ``[run]`` keys that override the file's.

    Raises
    ------
    StudyError
        With file, line and setting of everything that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(
            "there is no such study file", place=Place(file=path), next_step="check the path"
        ) from None
    except IsADirectoryError:
        raise StudyError(
            "this is a folder, not a study file",
            place=Place(file=path),
            next_step="name the .toml file inside it",
        ) from None
    except UnicodeDecodeError as error:
        raise StudyError(
            f"not UTF-8 text (byte {error.start})",
            place=Place(file=path),
            next_step="save the file as UTF-8",
        ) from None
    except OSError as error:
        raise StudyError(
            f"cannot be read: {error.strerror}",
            place=Place(file=path),
            next_step="check the file and its permissions",
        ) from None
    return parse_study(text, file=path, run_config=run_config)


def parse_study(
    text: str, *, file: Path | str, run_config: Mapping[str, Any] | None = None
) -> Study:
    """Validate the text of a study file; `file` is named in errors."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise StudyError(
            f"not valid TOML: {str(error).split(' (at ')[0]}",
            place=Place(file=file, line=int(line[1]) if line else len(text.splitlines())),
            next_step="give a key once"
            if "overwrite" in str(error)
            else "quote text values and close every bracket",
        ) from None
    overrides = dict(run_config or {})
    if overrides:
        data["run"] = {**_table(data.get("run")), **overrides}
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        raise _explain(error, text, file, overrides) from None


def with_run_config(study: Study, run_config: Mapping[str, Any]) -> Study:
    """Return the study with some ``[run]`` keys overridden."""
    data = study.model_dump(mode="json", by_alias=True, exclude_none=True)
    run = data["run"]
    if "strategy" in run_config or "penalty" in run_config:
        # the tuning keys belong to the strategy that was replaced
        keep = Study.model_validate({**data, "run": {}}).run.model_dump(by_alias=True)
        run = {key: value for key, value in run.items() if keep.get(key) is not None}
    try:
        return Study.model_validate({**data, "run": {**run, **run_config}})
    except ValidationError as error:
        raise _explain(error, "", study.study.name, dict(run_config)) from None


def _table(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _explain(
    error: ValidationError, text: str, file: Path | str, overrides: Mapping[str, Any]
) -> StudyError:
    """Turn pydantic's report into one error that says every fault with its line."""
    faults: list[tuple[str, Place, str | None]] = []
    # an unknown key is often the cause of a missing one, so it is told first
    for item in sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden"):
        path = [part for part in item["loc"] if not _is_union_branch(part)]
        if item["type"] == "setting":
            keys = str(item["ctx"]["setting"]).split(".")
            path += [int(key) if key.isdigit() else key for key in keys]
        message, step = _words(item, path)
        setting = _dotted(path)
        if len(path) > 1 and path[0] == "run" and path[1] in overrides:
            place = Place(file="--run-config", setting=str(path[1]))
        else:
            place = Place(file=file, line=_line(text, path), setting=setting or None)
        fault = (message, place, step)
        if fault not in faults:
            faults.append(fault)
    message, place, step = faults[0]
    if len(faults) > 1:
        more = "; ".join(f"{p}: {m}" for m, p, _ in faults[1:])
        message = f"{message}. Also {more}"
    return StudyError(message, place=place, next_step=step)


def _is_union_branch(part: int | str) -> bool:
    # pydantic names the branch of a union that it tried, as in ('event', 'bool')
    return isinstance(part, str) and (part in {"bool", "int", "str", "float"} or "[" in part)


def _dotted(path: Sequence[int | str]) -> str:
    words: list[str] = []
    for part in path:
        if isinstance(part, int) and words:
            words[-1] += f"[{part + 1}]"
        else:
            words.append(str(part))
    return ".".join(words)


def _words(item: Any, path: Sequence[int | str]) -> tuple[str, str | None]:
    """Say one fault in plain words, with the next step where there is one."""
    kind, given = item["type"], item["input"]
    if kind == "extra_forbidden":
        key = str(path[-1])
        known = _known_keys(path[:-1])
        close = difflib.get_close_matches(key, known, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"known keys: {', '.join(known)}"
        return f'unknown key "{key}"', hint
    if kind == "missing" and isinstance(path[-1], int):
        return "too few values in the list", f"give at least {path[-1] + 1}"
    if kind == "missing":
        return f'"{path[-1]}" is missing', "add it"
    if kind == "literal_error":
        allowed = [word.strip("'") for word in re.findall(r"'[^']*'", item["ctx"]["expected"])]
        close = difflib.get_close_matches(str(given), allowed, n=1)
        step = f'did you mean "{close[0]}"?' if close else "choose one of them"
        return f"{given!r} is not one of {', '.join(allowed)}", step
    if kind == "setting":
        return item["ctx"]["message"], item["ctx"]["step"]
    message, step = _PLAIN.get(
        kind, (item["msg"].removeprefix("Value error, "), "correct the value")
    )
    message = message.replace("Input should be", "should be").replace("String should", "should")
    if path[:2] == ["study", "outcome"] and path[-1] == "event":
        message, step = "should be a value or a comparison", 'write 1, "M" or "> 0", for instance'
    elif path == ["study", "name"] and kind == "string_pattern_mismatch":
        message = "has other characters than lower-case letters, digits and . _ -"
        step = "choose a short name such as heart-disease"
    if isinstance(given, str | int | float) and not isinstance(given, bool) and path:
        return f"{given!r}: {message}", step
    return message, step


def _known_keys(section: Sequence[int | str]) -> list[str]:
    name = ".".join(str(part) for part in section if isinstance(part, str))
    model = _SECTIONS.get(name, Study)
    return [field.alias or key for key, field in model.model_fields.items()]


def _line(text: str, path: Sequence[int | str]) -> int | None:
    """Find the line of a setting in TOML text; the closest enclosing line where it is absent."""
    names = [str(part) for part in path if isinstance(part, str)]
    index = next((part for part in path if isinstance(part, int)), 0)
    section, seen, best, depth = "", -1, None, 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = header[2].replace('"', "").replace(" ", "")
            seen += header[1] == "[[" and section == names[:1][0] if names else 0
            inside = section.split(".") == names[: section.count(".") + 1]
            if inside and (header[1] == "[" or seen == index) and section.count(".") + 1 > depth:
                best, depth = number, section.count(".") + 1
            continue
        key = _KEY.match(line)
        if key is None or (section == "features" and seen != index):
            continue
        full = [*([part for part in section.split(".") if part]), key[1].strip("\"'")]
        if full == names[: len(full)] and len(full) > depth:
            best, depth = number, len(full)
    return best
