"""The report on a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medhive.datacheck.finding import Finding, Level, counted
from medhive.datacheck.report import Report
from medhive.datacheck.words import (
    LEVEL_WORDS,
    STAYS,
    level_counts,
    missing,
    outcome_line,
    printable,
    row_lines,
    values,
)

WIDTH = 100
_STYLES: Mapping[Level, str] = {
    "break": "bold red",
    "warning": "bold yellow",
    "note": "cyan",
    "ok": "green",
}


def show(report: Report, console: Console) -> None:
    """Print a report, at most `WIDTH` columns wide; the verdict is the last line but one."""
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    study = report.study.study
    title = f"{study.name}: {study.title}" if study.title else study.name
    _line(console, f"Study {title}", style="bold")
    _line(console, f"Rows {report.source}", style="bold")
    for note in report.notes:
        _line(console, note)
    _heading(console, "Rows")
    console.print(_rows(report, console))
    _heading(console, f"Outcome: {report.outcome.column}")
    _line(console, outcome_line(report))
    _heading(console, "Features")
    console.print(_features(report, console))
    if report.patterns:
        _heading(console, "Missing together")
        console.print(_patterns(report, console))
    _heading(console, "Findings")
    _findings(report, console)
    console.print()
    _line(console, STAYS, style="dim")
    console.print()
    style = "bold green" if report.fits else "bold red"
    _line(console, report.verdict, style=style)
    _line(console, f"next: {report.next_step}")


def _rows(report: Report, console: Console) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for words, n in row_lines(report):
        table.add_row(_text(console, words), f"{n:,}", style="bold" if words == "kept" else "")
    return table


def _features(report: Report, console: Console) -> Table:
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    table.add_column("feature", overflow="fold", max_width=22)
    table.add_column("contract", overflow="fold", max_width=34)
    for heading in ("fit", "missing", "broken", "min", "median", "max"):
        table.add_column(heading, justify="right", no_wrap=heading != "missing")
    for each in report.features:
        name, contract = _text(console, each.name), _text(console, each.contract)
        if not each.present:
            table.add_row(name, contract, "no column", style="red")
            continue
        cells = (name, contract, f"{each.n:,}", missing(each), f"{each.n_broken:,}")
        table.add_row(*cells, *values(each), style="red" if each.n_broken else "")
        if each.levels:
            table.add_row("", Text(_fit(console, level_counts(each)), style="dim"))
    return table


def _patterns(report: Report, console: Console) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for pattern in report.patterns:
        table.add_row(counted(pattern.n_rows, "row"), _text(console, ", ".join(pattern.columns)))
    return table


def _findings(report: Report, console: Console) -> None:
    for finding in report.findings:
        if not console.is_terminal:
            # one line stays one line for other programs
            console.print(_plain(finding, console), soft_wrap=True, markup=False)
            continue
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=7)
        grid.add_column(overflow="fold")
        word = Text(LEVEL_WORDS[finding.level], style=_STYLES[finding.level])
        grid.add_row(word, _text(console, _sentence(finding)))
        if finding.next_step:
            step = _text(console, finding.next_step)
            grid.add_row("", Text.assemble(("next: ", "bold"), step))
        console.print(grid)


def _plain(finding: Finding, console: Console) -> str:
    line = f"{LEVEL_WORDS[finding.level]:7} {_sentence(finding)}"
    if finding.next_step:
        line += f" \N{RIGHTWARDS ARROW} {finding.next_step}"
    return _fit(console, line)


def _sentence(finding: Finding) -> str:
    where = f"{finding.about}, {finding.where}" if finding.where else finding.about
    return f"{where}: {finding.sentence}"


def _heading(console: Console, text: str) -> None:
    console.print()
    _line(console, text, style="bold underline" if console.is_terminal else "")


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(_text(console, text), style=style)


def _text(console: Console, text: str) -> Text:
    return Text(_fit(console, text))


def _fit(console: Console, text: str) -> str:
    """Replace what the terminal's encoding does not have, and what could steer it."""
    return printable(text).encode(console.encoding, "replace").decode(console.encoding)
