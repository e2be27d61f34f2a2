"""Reading a TOML file that people write, with errors that name file, line and setting."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from medhive.errors import InputError, Place

Keys = Sequence[int | str]
"""Keys from the top of a file down to a setting; a number counts the entries of a list."""

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*(\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+)\s*[=.]")
_PLAIN: Mapping[str, tuple[str, str]] = {
    "bool_type": ("should be true or false", "write true or false, without quotes"),
    "int_type": ("should be a whole number", "write a whole number, without quotes"),
    "float_type": ("should be a number", "write a number, without quotes"),
    "string_type": ("should be a text", "put it in quotes"),
    "tuple_type": ("should be a list", "write a list: [ …, … ]"),
    "dict_type": ("should be a table of keys and values", "write key = value under its heading"),
    "too_short": ("the list is too short", "add what is missing"),
    "too_long": ("the list is too long", "remove what is too much"),
}
"""Pydantic's types of fault in plain words, each with the next step."""


@dataclass(frozen=True)
class Kind:
    """One kind of file: what it is called and how its settings are explained.

    Parameters
    ----------
    noun : str
        Such as "study file".
    error : type of InputError
        What a fault in such a file is.
    model : type of BaseModel
        The whole file.
    sections : mapping of str to type of BaseModel
        The model of every table, by its dotted name; ``units.*`` are all tables in ``units``.
    words : callable
        Says a fault of one setting in the file's own words, from the setting's keys and
        pydantic's type of fault; None where the general words will do.
    listed : str
        The section whose entries are a list of tables.
    secret : frozenset of str
        Settings whose values no error repeats.
    """

    noun: str
    error: type[InputError]
    model: type[BaseModel]
    sections: Mapping[str, type[BaseModel]]
    words: Callable[[Keys, str], tuple[str, str] | None] = lambda _path, _kind: None
    listed: str = ""
    secret: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Overrides:
    """Keys of one section that were given elsewhere than in the file."""

    section: str = ""
    option: str = ""
    keys: frozenset[str] = field(default_factory=frozenset)


NO_OVERRIDES = Overrides()


def read_text(path: Path, kind: Kind) -> str:
    """Return the text of a file.

    Raises
    ------
    InputError
        Of the kind's type, if the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        cause, step = f"there is no such {kind.noun}", "check the path"
    except IsADirectoryError:
        cause, step = f"this is a folder, not a {kind.noun}", "name the .toml file inside it"
    except UnicodeDecodeError as error:
        cause, step = f"not UTF-8 text (byte {error.start})", "save the file as UTF-8"
    except OSError as error:
        cause, step = f"cannot be read: {error.strerror}", "check the file and its permissions"
    raise kind.error(cause, place=Place(file=path), next_step=step)


def parse_toml(text: str, file: Path | str, kind: Kind) -> dict[str, Any]:
    """Parse TOML; `file` is named in errors."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise kind.error(
            f"not valid TOML: {str(error).split(' (at ')[0]}",
            place=Place(file=file, line=int(line[1]) if line else len(text.splitlines())),
            next_step="give a key once"
            if "overwrite" in str(error)
            else "quote text values and close every bracket",
        ) from None


def explain(
    error: ValidationError,
    text: str,
    file: Path | str,
    kind: Kind,
    overrides: Overrides = NO_OVERRIDES,
) -> InputError:
    """Turn pydantic's report into one error that says every fault with its line."""
    faults: list[tuple[str, Place, str | None]] = []
    # an unknown key is often the cause of a missing one, so it is told first
    for item in sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden"):
        path = [part for part in item["loc"] if not _is_union_branch(part)]
        if item["type"] == "setting":
            path += _keys(item["ctx"]["setting"])
        message, step = _words(item, path, kind)
        setting = dotted(path)
        if len(path) > 1 and path[0] == overrides.section and path[1] in overrides.keys:
            place = Place(file=overrides.option, setting=str(path[1]))
        else:
            place = Place(file=file, line=line_of(text, path, kind), setting=setting or None)
        fault = (message, place, step)
        if fault not in faults:
            faults.append(fault)
    message, place, step = faults[0]
    if len(faults) > 1:
        more = "; ".join(f"{p}: {m}" for m, p, _ in faults[1:])
        message = f"{message}. Also {more}"
    return kind.error(message, place=place, next_step=step)


def dotted(path: Keys) -> str:
    """Write the keys of a setting as one name, list entries counted from 1."""
    words: list[str] = []
    for part in path:
        if isinstance(part, int) and words:
            words[-1] += f"[{part + 1}]"
        else:
            words.append(str(part))
    return ".".join(words)


def line_of(text: str, path: Keys, kind: Kind) -> int | None:
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
        if key is None or (section == kind.listed and section and seen != index):
            continue
        full = [*([part for part in section.split(".") if part]), key[1].strip("\"'")]
        if full == names[: len(full)] and len(full) > depth:
            best, depth = number, len(full)
    return best


def close_to(word: str, known: Sequence[str]) -> str | None:
    """Return the known word that was probably meant."""
    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(word.casefold(), folded, n=1)
    return folded[close[0]] if close else None


def _is_union_branch(part: int | str) -> bool:
    # pydantic names the branch of a union that it tried, as in ('event', 'bool')
    return isinstance(part, str) and (part in {"bool", "int", "str", "float"} or "[" in part)


def _keys(setting: str | Sequence[str]) -> list[int | str]:
    if not isinstance(setting, str):
        return list(setting)
    return [int(key) if key.isdigit() else key for key in setting.split(".")]


def _words(item: Any, path: Keys, kind: Kind) -> tuple[str, str | None]:
    """Say one fault in plain words, with the next step where there is one."""
    fault, given = item["type"], item["input"]
    if fault == "extra_forbidden":
        key = str(path[-1])
        known = _known_keys(path[:-1], kind)
        close = difflib.get_close_matches(key, known, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"known keys: {', '.join(known)}"
        return f'unknown key "{key}"', hint
    if fault == "missing" and isinstance(path[-1], int):
        return "too few values in the list", f"give at least {path[-1] + 1}"
    if fault == "missing":
        return f'"{path[-1]}" is missing', "add it"
    if fault == "literal_error":
        allowed = [word.strip("'") for word in re.findall(r"'[^']*'", item["ctx"]["expected"])]
        close = difflib.get_close_matches(str(given), allowed, n=1)
        step = f'did you mean "{close[0]}"?' if close else "choose one of them"
        return f"{given!r} is not one of {', '.join(allowed)}", step
    if fault == "setting":
        return item["ctx"]["message"], item["ctx"]["step"]
    message, step = kind.words(path, fault) or _general_words(item, kind)
    shown = isinstance(given, str | int | float) and not isinstance(given, bool) and path
    if shown and dotted(path) not in kind.secret:
        return f"{given!r}: {message}", step
    return message, step


def _general_words(item: Any, kind: Kind) -> tuple[str, str]:
    if item["type"] in ("model_type", "model_attributes_type"):
        return "should be a table of keys and values", f"see the example of a {kind.noun}"
    message = item["msg"].removeprefix("Value error, ")
    message, step = _PLAIN.get(item["type"], (message, "correct the value"))
    message = message.replace("Input should be", "should be").replace("String should", "should")
    return message, step


def _known_keys(section: Keys, kind: Kind) -> list[str]:
    name = ".".join(str(part) for part in section if isinstance(part, str))
    head = name.partition(".")[0]
    model = kind.sections.get(name) or kind.sections.get(f"{head}.*", kind.model)
    return [field.alias or key for key, field in model.model_fields.items()]
