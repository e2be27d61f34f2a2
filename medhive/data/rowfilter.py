"""The language of ``filter``: which rows of the site's file take part.

::

    filter  = any ("or" any)*
    all     = not ("and" not)*
    not     = "not" not | "(" filter ")" | test
    test    = COLUMN ( "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) VALUE
            | COLUMN ["not"] "in" "(" VALUE ("," VALUE)* ")"
            | COLUMN "is" ["not"] "missing"

A column whose name is not a plain word stands in backticks; a text stands in single or double
quotes. A comparison with a missing value is neither true nor false, as in SQL, and a row takes part
only if the whole is true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

MOST_NESTED = 40
LONGEST = 4000

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?(?![\w.]))
    | (?P<text>'[^']*'|"[^"]*")
    | (?P<column>`[^`]+`)
    | (?P<sign><=|>=|!=|<>|==|=|<|>|\(|\)|,)
    | (?P<word>[^\W\d][\w.]*)
    )""",
    re.VERBOSE,
)
_KEYWORDS = frozenset({"and", "or", "not", "in", "is", "missing"})
_SIGNS = {"=": "==", "<>": "!="}

Sign = Literal["==", "!=", "<", "<=", ">", ">="]
Literal_ = float | str


class FilterError(ValueError):
    """Not a filter; `position` counts characters from 1."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (character {position})")
        self.position = position


@dataclass(frozen=True)
class Compare:
    """A column compared with one value."""

    column: str
    sign: Sign
    value: Literal_


@dataclass(frozen=True)
class OneOf:
    """A column equal to one of some values."""

    column: str
    values: tuple[Literal_, ...]


@dataclass(frozen=True)
class IsMissing:
    """A column without a value."""

    column: str


@dataclass(frozen=True)
class Not:
    """The opposite."""

    part: Filter


@dataclass(frozen=True)
class All:
    """Every part holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class AnyOf:
    """One part at least holds."""

    parts: tuple[Filter, ...]


Filter = Compare | OneOf | IsMissing | Not | All | AnyOf


def parse_filter(text: str) -> Filter:
    """Parse a filter.

    Raises
    ------
    FilterError
        If it does not follow the grammar, is too long or is nested too deep.
    """
    return _Parser(text).parse()


def columns_of(part: Filter) -> frozenset[str]:
    """Return the columns of the file that a filter reads."""
    match part:
        case Compare(column) | OneOf(column) | IsMissing(column):
            return frozenset({column})
        case Not(inner):
            return columns_of(inner)
        case All(parts) | AnyOf(parts):
            return frozenset().union(*(columns_of(each) for each in parts))


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


def _tokens(text: str) -> Iterator[_Token]:
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            at = position + len(text[position:]) - len(text[position:].lstrip())
            quote = text[at] in "'\"`"
            what = "a quote that is not closed" if quote else f"{text[at]!r} has no meaning here"
            raise FilterError(what, at + 1)
        kind = str(match.lastgroup)
        word = match[kind]
        start = match.start(kind) + 1
        if kind == "word" and word.casefold() in _KEYWORDS:
            kind, word = "keyword", word.casefold()
        elif kind == "word":
            kind = "column"
        elif kind in ("text", "column"):
            word = word[1:-1]
        yield _Token(kind, word, start)
        position = match.end()
    yield _Token("end", "", end + 1)


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise FilterError(f"longer than {LONGEST} characters", LONGEST)
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0

    def parse(self) -> Filter:
        whole = self._any()
        if self._seen.kind != "end":
            raise self._expected("and, or, or the end")
        return whole

    @property
    def _seen(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *texts: str) -> bool:
        token = self._seen
        if token.kind not in ("keyword", "sign") or token.text not in texts:
            return False
        self._next += 1
        return True

    def _require(self, text: str) -> None:
        if not self._take(text):
            raise self._expected(text)

    def _expected(self, what: str) -> FilterError:
        token = self._seen
        found = "the end" if token.kind == "end" else f'"{token.text}"'
        return FilterError(f"expected {what}, found {found}", token.position)

    def _any(self) -> Filter:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all(self) -> Filter:
        parts = [self._not()]
        while self._take("and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _not(self) -> Filter:
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise FilterError(f"nested deeper than {MOST_NESTED} levels", self._seen.position)
        try:
            if self._take("not"):
                return Not(self._not())
            if self._take("("):
                inner = self._any()
                self._require(")")
                return inner
            return self._test()
        finally:
            self._depth -= 1

    def _test(self) -> Filter:
        token = self._seen
        if token.kind != "column":
            raise self._expected("a column")
        self._next += 1
        column = token.text
        if self._take("is"):
            negated = self._take("not")
            self._require("missing")
            return Not(IsMissing(column)) if negated else IsMissing(column)
        if self._take("not"):
            self._require("in")
            return Not(self._one_of(column))
        if self._take("in"):
            return self._one_of(column)
        sign = self._seen
        if not self._take("=", "==", "!=", "<>", "<", "<=", ">", ">="):
            raise self._expected("a comparison, in (…), or is missing")
        value = self._value()
        text = _SIGNS.get(sign.text, sign.text)
        if isinstance(value, str) and text not in ("==", "!="):
            raise FilterError(f"{sign.text} compares with a number, not with a text", sign.position)
        return Compare(column, text, value)  # type: ignore[arg-type]

    def _one_of(self, column: str) -> OneOf:
        self._require("(")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._require(")")
        return OneOf(column, tuple(values))

    def _value(self) -> Literal_:
        token = self._seen
        if token.kind == "number":
            self._next += 1
            return float(token.text)
        if token.kind == "text":
            self._next += 1
            return token.text
        raise self._expected("a number or a text in quotes")
