"""The whole report about a site's rows: every check, in one pass over the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medhive.data.faults import Fault
from medhive.data.progress import Reading
from medhive.data.recode import Plan, plan
from medhive.data.site import require_allowed
from medhive.data.sitefile import Limits, SiteFile
from medhive.data.sources import Source, open_source, site_file_of
from medhive.datacheck.examine import Examination, examine
from medhive.datacheck.features import Summary, check_feature, summarise
from medhive.datacheck.finding import LEVELS, Finding, Level, counted
from medhive.datacheck.identifiers import check_identifier
from medhive.datacheck.outcome import OutcomeSummary, check_outcome, summarise_outcome
from medhive.datacheck.rows import (
    Pattern,
    RowCounts,
    check_duplicates,
    check_rows,
    count_rows,
    missing_patterns,
)
from medhive.datacheck.unitfit import check_unit
from medhive.errors import Place, RefusalError
from medhive.study import Study
from medhive.tomlfile import close_to

_MOST_WORDS = 6
_MOST_NAMES = 12


@dataclass(frozen=True)
class Report:
    """What a data manager reads. It holds the hospital's own figures, and stays there.

    Parameters
    ----------
    study : Study
    source : str
        The file, or the database's address without its password.
    rows : RowCounts
    features : tuple of Summary
    outcome : OutcomeSummary
    patterns : tuple of Pattern
    findings : tuple of Finding
        The gravest first.
    notes : tuple of str
        How the file was read.
    allow_drop : bool
    """

    study: Study
    source: str
    rows: RowCounts
    features: tuple[Summary, ...]
    outcome: OutcomeSummary
    patterns: tuple[Pattern, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    allow_drop: bool

    def count(self, level: Level) -> int:
        """Return how many findings have a level."""
        return sum(finding.level == level for finding in self.findings)

    @property
    def fits(self) -> bool:
        """Whether the site can take part."""
        return not self.count("break")

    @property
    def verdict(self) -> str:
        """One line for whoever reads no further."""
        warnings = self.count("warning")
        also = f", and {counted(warnings, 'warning')}" if warnings else ""
        if not self.fits:
            breaks = counted(self.count("break"), "break")
            return f"NOT READY: {breaks} of the contract{also}."
        dropped = ""
        if self.rows.broken:
            rows = counted(self.rows.broken, "row that breaks it is", "rows that break it are")
            dropped = f" once {rows} dropped"
        look = f", with {counted(warnings, 'warning')}" if warnings else ""
        return f"READY{look}: the rows fit the contract{dropped}."

    @property
    def next_step(self) -> str:
        """What to do after reading."""
        if self.fits:
            look = "look at the warnings, then start" if self.count("warning") else "start"
            drop = " with --allow-drop" if self.rows.broken else ""
            return f"{look} medhive client{drop} with the same file"
        step = "correct what is marked BREAK, and check again"
        if self.rows.broken and not self.allow_drop:
            step += "; --allow-drop leaves rows out whose features break the contract"
        return step


def check_data(
    data: Path | SiteFile,
    study: Study,
    *,
    allow_drop: bool = False,
    not_identifiers: frozenset[str] = frozenset(),
) -> Report:
    """Read a site's rows, and report everything about them at once.

    Parameters
    ----------
    data : Path or SiteFile
        A CSV or Parquet file, or a site file (``.toml``).
    study : Study
    allow_drop : bool
        Rows in which a feature breaks the contract are left out, and no break.
    not_identifiers : frozenset of str
        Features that are none, whatever they look like.

    Raises
    ------
    DataError
        If the file cannot be read as a table, with the line.
    SettingError
        If the site file is wrong or does not fit the study or the rows.
    """
    settings = site_file_of(data) if isinstance(data, Path) else data
    limits = Limits() if settings is None else settings.settings.limits
    with Reading() as reading:
        source = open_source(settings or data, reading)
        how = plan(settings, study, source.names)
        found = examine(source, study, how, reading)
    rows = count_rows(found, study, limits)
    outcome = summarise_outcome(found.columns[study.study.outcome.column])
    findings = [
        *_allowed(limits, study),
        *_columns(source, study, how),
        *_broken(found, study, allow_drop),
        *_features(found, study, not_identifiers),
        *check_outcome(found.columns[study.study.outcome.column], outcome),
        *check_rows(rows),
        *check_duplicates(found),
    ]
    return Report(
        study=study,
        source=str(source.file),
        rows=rows,
        features=tuple(summarise(f, found.columns[f.name]) for f in study.features),
        outcome=outcome,
        patterns=missing_patterns(found),
        findings=tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level))),
        notes=(*source.notes, *how.notes),
        allow_drop=allow_drop,
    )


def _allowed(limits: Limits, study: Study) -> Iterator[Finding]:
    try:
        require_allowed(limits, study)
    except RefusalError as error:
        yield Finding("break", "limits", error.cause, error.next_step or "")


def _columns(source: Source, study: Study, how: Plan) -> Iterator[Finding]:
    taken = {recode.column for recode in how.recodes.values()}
    free = [name for name in source.names if name not in taken]
    place = Place(file=source.file, line=source.header_line)
    for name in study.columns:
        column = how.recodes[name].column
        if column not in source.names:
            close = close_to(column, free)
            yield Finding("break", name, "the column is missing", _rename(name, close, how), place)
    unused = [name for name in source.names if name not in how.read]
    if not unused:
        return
    names = ", ".join(unused[:_MOST_NAMES])
    names += f" and {len(unused) - _MOST_NAMES} more" if len(unused) > _MOST_NAMES else ""
    if study.study.extra_columns == "refused":
        yield Finding(
            "break",
            "columns",
            f"the study refuses columns that it does not name: {names}",
            "delete them from the file",
            place,
        )
    else:
        yield Finding("note", "columns", f"not used by the study: {names}")


def _rename(name: str, close: str | None, how: Plan) -> str:
    if close is None:
        return "add it to the file, or say in a site file under [columns] what it is called there"
    if how.has_site_file:
        return f'write {name} = "{close}" under [columns] of the site file, if it is that column'
    return f'rename "{close}" to "{name}", if it is that column'


def _broken(found: Examination, study: Study, allow_drop: bool) -> Iterator[Finding]:
    names: dict[str, list[str]] = {}
    for column in found.columns.values():
        names.setdefault(column.column, []).append(column.name)
    outcome = study.study.outcome.column
    for fault, place, step in found.faults:
        about = names.get(fault.column, [fault.column])
        droppable = allow_drop and fault.column in names and outcome not in about
        yield Finding(
            "warning" if droppable else "break",
            about[0],
            ("dropped: " if droppable else "") + _sentence(fault, found, about[0]),
            step,
            place,
        )


def _sentence(fault: Fault, found: Examination, name: str) -> str:
    column = found.columns.get(name)
    words = column.words if column is not None and "is outside" not in fault.cause else None
    if not words or len(words) < 2:
        return str(fault)
    listed = ", ".join(f"{word} ({n:,})" for word, n in words.most_common(_MOST_WORDS))
    more = ", …" if len(words) > _MOST_WORDS else ""
    return f"{fault}; such values, with their rows: {listed}{more}"


def _features(
    found: Examination, study: Study, not_identifiers: frozenset[str]
) -> Iterator[Finding]:
    for feature in study.features:
        column = found.columns[feature.name]
        if not column.present:
            continue
        yield from check_identifier(feature, column, not_identifiers)
        yield from check_unit(feature, column)
        yield from check_feature(feature, column, study)
