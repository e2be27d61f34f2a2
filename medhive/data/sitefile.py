"""``site.toml``: a hospital's own data source, coding and limits."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from medhive.data.rowfilter import FilterError, parse_filter
from medhive.errors import Place, SettingError
from medhive.study import Integer, Number, Strategy, code
from medhive.tomlfile import Keys, Kind, dotted, explain, line_of, parse_toml, read_text

PARQUET = (".parquet", ".pq")
"""Suffixes of Parquet files; any other file is text."""

_PASSWORDS = re.compile(r"(?i)pass(word|wd)?$|pwd$|secret|token")
_INLINE = re.compile(r"(?i)\b(pwd|password)\s*=")


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
        allow_inf_nan=False,
    )


def _fault(setting: str, message: str, step: str) -> PydanticCustomError:
    return PydanticCustomError(
        "setting", "{message}", {"message": message, "setting": [setting], "step": step}
    )


def _codes(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError("should be a list, such as [-9, 'NA']")
    if any(isinstance(item, bool) or not isinstance(item, str | int | float) for item in value):
        raise ValueError("holds something that is neither a number nor a text")
    return tuple(code(item) for item in value)


def _levels(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError("should be a table of file value = study code")
    if any(not isinstance(item, str | int | float) for item in value.values()):
        raise ValueError("should give one code for each value of the file")
    return {code(key): _code_of(item) for key, item in value.items()}


def _code_of(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else code(value)


def _unit(value: Any) -> Any:
    return {"unit": value} if isinstance(value, str) else value


Codes = Annotated[tuple[str, ...], BeforeValidator(_codes)]
Levels = Annotated[dict[str, str], BeforeValidator(_levels)]
Name = Annotated[StrictStr, Field(min_length=1)]


class DataSource(_Section):
    """``[data]``: a file, or a query to a database."""

    file: Name | None = Field(None, description="CSV or Parquet file, relative to the site file")
    delimiter: StrictStr | None = Field(
        None, description="what separates the columns of a text file; found where it is absent"
    )
    encoding: Name | None = Field(
        None, description="encoding of a text file; found where it is absent"
    )
    decimal: Literal[".", ","] | None = Field(
        None, description="decimal sign of a text file; a point where it is absent"
    )
    url: Name | None = Field(None, description="SQLAlchemy URL of a database, without a password")
    query: Name | None = Field(None, description="SQL query that gives one row a patient")
    query_file: Name | None = Field(None, description="file with the query")
    password_env: Name | None = Field(
        None, description="environment variable that holds the database's password"
    )
    password_file: Name | None = Field(
        None, description="file that holds the database's password and nothing else"
    )
    filter: Name | None = Field(None, description="which rows take part")
    missing: Codes = Field((), description="values that mean missing in every column")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.url is None):
            both = self.file is not None
            raise _fault(
                "url" if both else "file",
                "both file and url are given" if both else "there is no file and no url",
                "remove one of them" if both else 'write file = "…", or url = "…" and query = "…"',
            )
        text = self.file is not None and not self.file.casefold().endswith(PARQUET)
        for key in ("delimiter", "encoding", "decimal"):
            if getattr(self, key) is not None and not text:
                raise _fault(key, f"{key} has no effect: only text files have one", "remove it")
        for key in ("query", "query_file", "password_env", "password_file"):
            if getattr(self, key) is not None and self.url is None:
                name = key.replace("_", "-")
                raise _fault(name, f"{name} has no effect without url", "remove it, or add url")
        for first, second in (("query", "query_file"), ("password_env", "password_file")):
            if getattr(self, first) is not None and getattr(self, second) is not None:
                one, other = first.replace("_", "-"), second.replace("_", "-")
                raise _fault(other, f"both {one} and {other} are given", "remove one of them")
        if self.url is not None and self.query is None and self.query_file is None:
            raise _fault(
                "url", "there is a url but no query", 'add query = "…" or query-file = "…"'
            )
        return self

    @model_validator(mode="after")
    def _readable_text(self) -> Self:
        if self.delimiter is not None and not _separates(self.delimiter):
            raise _fault(
                "delimiter",
                f"{self.delimiter!r} cannot separate columns",
                r'write one character that is no letter, digit or quote, such as ";" or "\t"',
            )
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
                "".encode(self.encoding)
            except (LookupError, UnicodeError, ValueError):
                raise _fault(
                    "encoding",
                    f"{self.encoding!r} is no encoding of text",
                    'write "utf-8", "windows-1252", "iso-8859-15" or "utf-16", for instance',
                ) from None
        return self

    @model_validator(mode="after")
    def _clean_filter(self) -> Self:
        if self.filter is not None:
            try:
                parse_filter(self.filter)
            except FilterError as error:
                raise _fault(
                    "filter",
                    f"not a filter: {error}",
                    "write it like: AGE >= 18 and SEX in ('F', 'M') and CHOL is not missing",
                ) from None
        return self

    @model_validator(mode="after")
    def _clean_url(self) -> Self:
        """Refuse a URL that cannot be read or holds a password; no message repeats it."""
        if self.url is None:
            return self
        # a third of a second to import, and only sites with a database need it
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            url = make_url(self.url)
        except (ArgumentError, ValueError):
            raise _fault(
                "url",
                "this is not an address of a database",
                "write it like postgresql+psycopg://user@host/database or sqlite:///clinic.db",
            ) from None
        values = [
            v
            for value in url.query.values()
            for v in ([value] if isinstance(value, str) else value)
        ]
        if (
            url.password is not None
            or any(_PASSWORDS.search(key) for key in url.query)
            or any(_INLINE.search(value) for value in values)
        ):
            raise _fault(
                "url",
                "the address holds a password",
                "take it out, and name where it is: password-env = "
                '"CLINIC_PASSWORD" or password-file = "…"',
            )
        return self


class UnitEntry(_Section):
    """An entry of ``[units]``."""

    unit: Name = Field(description="unit in the file")
    analyte: Name | None = Field(None, description="what is measured, for its molar mass")
    molar_mass: Number | None = Field(None, gt=0, description="molar mass in g/mol")

    @model_validator(mode="after")
    def _one_mass(self) -> Self:
        if self.analyte is not None and self.molar_mass is not None:
            raise _fault(
                "molar-mass", "both analyte and molar-mass are given", "remove one of them"
            )
        return self


class Limits(_Section):
    """``[limits]``: what this hospital allows, whatever a study asks for."""

    min_rows: Integer | None = Field(
        None, ge=1, description="training rows below which the site takes no part"
    )
    strategies: Annotated[tuple[Strategy, ...], Field(min_length=1)] | None = Field(
        None, description="strategies that it takes part in"
    )
    max_rounds: Integer | None = Field(None, ge=1, description="most rounds that it answers")
    site_tables: StrictBool = Field(
        False, description="whether medhive describe may show a table of this site on its own"
    )
    min_cell: Integer | None = Field(
        None, ge=5, description="smallest count, but zero, that it shows in such a table"
    )


class SiteSettings(_Section):
    """A whole site file."""

    data: DataSource
    columns: dict[StrictStr, Name] = {}
    units: dict[StrictStr, Annotated[UnitEntry, BeforeValidator(_unit)]] = {}
    levels: dict[StrictStr, Levels] = {}
    missing: dict[StrictStr, Codes] = {}
    limits: Limits = Limits()


def _words(path: Keys, fault: str) -> tuple[str, str] | None:
    if len(path) == 2 and path[0] == "columns" and fault == "string_type":
        return "should be the name of a column in the file", 'write chol = "CHOL", for instance'
    if len(path) == 2 and path[0] == "units" and fault.startswith("model"):
        return "should be a unit", 'write "mmol/l", or { unit = "mmol/l", analyte = "glucose" }'
    if path[:1] == ["levels"] and fault == "value_error":
        return (
            "should be a table that gives one study code for each value of the file",
            "write the heading [levels.COLUMN], and under it M = 1, for instance",
        )
    if "missing" in path and fault == "value_error":
        return "should be a list of numbers and texts", 'write [-9, "NA"], for instance'
    return None


SITE_FILE = Kind(
    noun="site file",
    error=SettingError,
    model=SiteSettings,
    sections={"data": DataSource, "limits": Limits, "units.*": UnitEntry},
    words=_words,
    secret=frozenset({"data.url"}),
)


@dataclass(frozen=True)
class SiteFile:
    """A site file that was read.

    Parameters
    ----------
    path : Path
        Paths inside it are relative to its folder.
    settings : SiteSettings
    text : str
        As it is on the disk, to find the line of a setting.
    """

    path: Path
    settings: SiteSettings
    text: str

    def beside(self, name: str) -> Path:
        """Return the path of a file that a setting names."""
        return self.path.parent / Path(name).expanduser()

    def place(self, *keys: str) -> Place:
        """Return where a setting stands."""
        return Place(file=self.path, line=line_of(self.text, keys, SITE_FILE), setting=dotted(keys))

    def fault(self, keys: Sequence[str], cause: str, step: str) -> SettingError:
        """Make the error about a setting that does not fit the study or the file."""
        return SettingError(cause, place=self.place(*keys), next_step=step)


def read_site_file(path: Path) -> SiteFile:
    """Read and validate a site file.

    Raises
    ------
    SettingError
        With file, line and setting of everything that is wrong; it never repeats ``data.url``.
    """
    text = read_text(path, SITE_FILE)
    data = parse_toml(text, path, SITE_FILE)
    try:
        settings = SiteSettings.model_validate(data)
    except ValidationError as error:
        raise explain(error, text, path, SITE_FILE) from None
    return SiteFile(path, settings, text)


def _separates(delimiter: str) -> bool:
    return (
        len(delimiter) == 1
        and delimiter.isascii()
        and not delimiter.isalnum()
        and delimiter not in "\"'\r\n\0.+- "
    )
