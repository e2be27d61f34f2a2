"""Reading a codebook: a CSV file with a line a variable, REDCap's data dictionaries among them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medhive.contract.candidate import Candidate, unfit_name
from medhive.contract.reading import open_codebook, records_of
from medhive.contract.words import looks_like_identifier, looks_personal
from medhive.errors import DataError, Place
from medhive.study import Kind, code

_HEADINGS: Mapping[str, tuple[str, ...]] = {
    "name": ("name", "variable", "variable / field name", "field_name", "variable name", "column"),
    "kind": ("kind", "type", "field type", "field_type", "data type", "datatype"),
    "unit": ("unit", "units"),
    "min": ("min", "minimum", "lower", "text validation min", "text_validation_min"),
    "max": ("max", "maximum", "upper", "text validation max", "text_validation_max"),
    "levels": (
        "levels",
        "choices",
        "values",
        "codes",
        "categories",
        "choices, calculations, or slider labels",
        "select_choices_or_calculations",
    ),
    "label": ("label", "description", "field label", "field_label", "title"),
    "reference": ("reference", "reference level"),
    "validation": (
        "text validation type or show slider number",
        "text_validation_type_or_show_slider_number",
        "text validation type",
    ),
    "identifier": ("identifier?", "identifier"),
}
"""What the columns of a codebook are called, in lower case, the commonest name first."""

_KINDS: Mapping[str, str] = {
    **dict.fromkeys(
        ("continuous", "numeric", "number", "float", "double", "real", "decimal"), "continuous"
    ),
    **dict.fromkeys(("integer", "int", "slider", "quantitative", "interval"), "continuous"),
    **dict.fromkeys(("binary", "bool", "boolean", "dichotomous", "flag", "0/1"), "binary"),
    **dict.fromkeys(("yesno", "yes/no", "truefalse", "true/false"), "binary"),
    **dict.fromkeys(("categorical", "category", "nominal", "ordinal", "factor"), "categorical"),
    **dict.fromkeys(("enum", "radio", "dropdown", "select"), "categorical"),
    "checkbox": "checkbox",
}
_CODED = frozenset(word for word, kind in _KINDS.items() if kind == "binary")
_NUMERIC_VALIDATION = re.compile(r"(number|integer|float)(_\w+)?")


@dataclass(frozen=True)
class _Line:
    """One variable of the codebook, with where it stands."""

    file: Path
    number: int
    headings: Mapping[str, str]
    cells: Mapping[str, str]

    def __getitem__(self, key: str) -> str:
        return self.cells.get(key, "")

    def fault(self, key: str, cause: str, step: str) -> DataError:
        place = Place(file=self.file, line=self.number, column=self.headings.get(key, key))
        return DataError(cause, place=place, next_step=step)

    def bound(self, key: str) -> float | None:
        text = self[key]
        if not text:
            return None
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self.fault(
                key, f'"{text[:20]}" is not a number', "write a number, or leave it empty"
            )
        return number


def read_codebook(path: Path) -> tuple[Candidate, ...]:
    """Read what each variable could be in a study.

    Raises
    ------
    DataError
        If the file is not a codebook, or a line of it contradicts itself.
    """
    candidates: list[Candidate] = []
    seen: dict[str, int] = {}
    for line in _lines(path):
        for candidate in _candidates(line):
            if candidate.name in seen:
                raise line.fault(
                    "name",
                    f'"{candidate.name}" is already on line {seen[candidate.name]}',
                    "give every variable a name of its own",
                )
            seen[candidate.name] = line.number
            candidates.append(candidate)
    if not candidates:
        raise DataError(
            "no line names a variable",
            place=Place(file=path),
            next_step="write one line a variable, its name in the column for names",
        )
    return tuple(candidates)


def _lines(path: Path) -> Iterator[_Line]:
    table = open_codebook(path)
    folded = {name.casefold(): name for name in table.names}
    headings = {
        key: next(folded[name] for name in names if name in folded)
        for key, names in _HEADINGS.items()
        if any(name in folded for name in names)
    }
    if "name" not in headings or not {"kind", "levels", "min", "max"} & set(headings):
        raise DataError(
            f"this is not a codebook: it has the columns {', '.join(table.names[:8])}",
            place=Place(file=path, line=table.header_line),
            next_step="name the columns name, kind, unit, min, max, levels, label"
            " (a site's rows go with --from-data)",
        )
    for number, fields in records_of(table):
        cells = dict(zip(table.names, fields, strict=False))
        named = {key: cells.get(heading, "") for key, heading in headings.items()}
        yield _Line(path, number, headings, named)


def _candidates(line: _Line) -> Iterator[Candidate]:
    """Yield the columns that a variable has in the data: one, or one a box to tick."""
    name, word = line["name"], line["kind"].casefold()
    label = " ".join(re.sub(r"<[^>]*>", " ", line["label"]).split())
    if not name:
        raise line.fault("name", "a variable without a name", "name it, or delete the line")
    if why := unfit_name(name) or _why_not(line, word):
        yield Candidate(name, None, why, label=label)
        return
    levels = _levels(line)
    if _KINDS.get(word) == "checkbox":
        for level, box in levels:
            yield Candidate(
                f"{name}___{level.lower()}",
                "binary",
                "a box to tick",
                ("binary",),
                label=f"{label}: {box}" if label else box,
                levels=(("0", "not ticked"), ("1", "ticked")),
            )
        return
    yield replace(_candidate(line, word, levels), label=label)


def _why_not(line: _Line, word: str) -> str | None:
    """Say why a variable cannot be in the model, if it cannot."""
    if line["identifier"].casefold() in ("y", "yes", "1", "true"):
        return "marked as an identifier"
    if why := looks_personal(line["name"]):
        return why
    if looks_like_identifier(line["name"]) and not line["levels"] and word not in _CODED:
        return "looks like an identifier"
    validation = line["validation"].casefold()
    if word in _KINDS or (not word and (line["levels"] or line["min"] or line["max"])):
        return None
    if word == "calc" or (word == "text" and _NUMERIC_VALIDATION.fullmatch(validation)):
        return None
    if word in ("text", "string", "character", "char") and line["levels"]:
        return None
    if "date" in validation or "date" in word or "time" in word:
        return "a date or time; the model takes numbers, such as age or days since"
    if word in ("text", "notes", "string", "character", "char"):
        return "free text"
    return f'a "{word[:20]}" is nothing that the model can use' if word else "no kind is given"


def _candidate(line: _Line, word: str, levels: Sequence[tuple[str, str]]) -> Candidate:
    name = line["name"]
    kind = _KINDS.get(word) or ("categorical" if levels and word != "calc" else "continuous")
    if kind == "categorical" and {level for level, _ in levels} == {"0", "1"}:
        kind = "binary"
    if kind == "continuous":
        return Candidate(
            name,
            "continuous",
            "numbers",
            ("continuous",),
            unit=" ".join(line["unit"].split()),
            range=_range(line, word),
        )
    if kind == "binary":
        if levels and {level for level, _ in levels} != {"0", "1"}:
            if len(levels) < 2:
                raise line.fault("levels", "a binary variable has two levels", "list both")
            return _categorical(line, levels, "two levels that are not coded 0 and 1")
        if word in ("yesno", "truefalse", "yes/no", "true/false") and not levels:
            levels = (("0", "no"), ("1", "yes"))
        return Candidate(name, "binary", "0 and 1", ("binary",), levels=tuple(levels))
    if len(levels) < 2:
        raise line.fault(
            "levels",
            "a categorical variable needs at least two levels",
            'list them: "1=typical; 2=atypical"',
        )
    return _categorical(line, levels, f"{len(levels)} levels")


def _categorical(line: _Line, levels: Sequence[tuple[str, str]], reason: str) -> Candidate:
    codes = [level for level, _ in levels]
    reference = code(line["reference"]) if line["reference"] else codes[0]
    if reference not in codes:
        raise line.fault(
            "reference", f'"{reference}" is not one of the levels', f"choose of {', '.join(codes)}"
        )
    kind: Kind = "categorical"
    return Candidate(line["name"], kind, reason, (kind,), levels=tuple(levels), reference=reference)


def _range(line: _Line, word: str) -> tuple[float, float] | None:
    low, high = line.bound("min"), line.bound("max")
    if word == "slider":
        low, high = (0.0 if low is None else low), (100.0 if high is None else high)
    if low is None or high is None:
        return None
    if not low < high:
        raise line.fault("min", f"the smallest value, {low:g}, is not below the largest, {high:g}",
                         "swap or correct them")  # fmt: skip
    return low, high


def _levels(line: _Line) -> tuple[tuple[str, str], ...]:
    """Read ``1=typical; 2=atypical``, ``1, Male | 2, Female`` or ``M, F``."""
    text = line["levels"]
    if not text or line["kind"].casefold() in ("calc", "slider"):
        return ()
    separator = next((mark for mark in ("|", ";", "\n") if mark in text), None)
    if separator is None:
        # "1, Male" alone is one level; "1=a, 2=b" and "M, F" are lists
        separator = "," if "=" in text or not re.match(r"^\s*-?\d+\s*,\s*\D", text) else "|"
    levels: list[tuple[str, str]] = []
    for item in filter(str.strip, text.split(separator)):
        mark = next((m for m in ("=", ",", ":") if m in item and m != separator), None)
        left, _, right = item.partition(mark) if mark else (item, "", "")
        level, label = code(left), " ".join(right.split())
        if not level or not level.isprintable():
            raise line.fault(
                "levels", f'"{item.strip()[:20]}" has no code', 'write "1=typical; 2=atypical"'
            )
        if level in (known for known, _ in levels):
            raise line.fault("levels", f"level {level} is listed twice", "remove one")
        levels.append((level, label))
    return tuple(levels)
