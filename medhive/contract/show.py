"""Printing an explained study, a draft, and what leaves a site."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medhive.contract import explain
from medhive.contract.candidate import Candidate
from medhive.contract.draft import Draft
from medhive.contract.leaving import (
    BYTES_A_NUMBER,
    HEAD_BYTES,
    Departure,
    departures,
    descriptions,
)
from medhive.contract.propose import FEWEST_ROWS
from medhive.study import Outcome, Study


def show_explanation(study: Study, console: Console) -> None:
    """Print a study in plain words."""
    _title(study, console)
    _section(explain.question(study), console)
    table = _table("feature", "kind", "values")
    for line in explain.features(study):
        table.add_row(Text(line.name), line.kind, Text(line.values))
    console.print()
    console.print(table)
    for section in (explain.terms, explain.training, explain.privacy, explain.identity):
        _section(section(study), console)
    _section(explain.Section("Worth a thought", explain.notes(study)), console)
    console.print()
    console.print("The study file is valid.", style="bold green")


def show_departures(study: Study, console: Console) -> None:
    """Print what would leave a site, in sentences and a table."""
    leaving = departures(study)
    _title(study, console)
    _section(
        explain.Section(
            "What leaves a site",
            (
                "Sums over its rows, and nothing else about its patients. Each question of the"
                " server is answered by one list of numbers:",
            ),
        ),
        console,
    )
    for departure in leaving:
        _parts(departure, console)
    _counted(leaving, console)
    numbers = sum(each.numbers * each.times for each in leaving)
    replies = sum(each.times for each in leaving)
    _section(
        explain.Section(
            "In all",
            (
                f"At most {numbers:,} numbers, {numbers * BYTES_A_NUMBER:,} bytes, in {replies:,}"
                f" replies. Beside its numbers a reply names the site, the study, the question and"
                f" the site's number of training rows: fewer than {HEAD_BYTES} bytes, also in the"
                " first reply, with which the site joins and which holds no sums.",
                "If a site drops out and too few are left, a question is put again: the same sums"
                " leave once more.",
                "A site that takes no part sends the reason, without any value of its data.",
            ),
        ),
        console,
    )
    _described(study, console)
    _section(explain.Section("What never leaves", _never(study)), console)
    _section(explain.Section("Who sees it", _who(study)), console)


def _parts(departure: Departure, console: Console) -> None:
    console.print()
    console.print(Text(f"{_phase(departure)}, {_times(departure)}", style="bold"))
    for part in departure.parts:
        _item(f"{_numbers(part.numbers, departure)}: {part.words}", console)


def _counted(leaving: Sequence[Departure], console: Console) -> None:
    table = _table("question", "numbers", "bytes", "times", "numbers in all")
    for column in table.columns[1:]:
        column.justify = "right"
    for departure in leaving:
        most = "≤ " if departure.at_most else ""
        table.add_row(
            departure.phase,
            f"{most}{departure.numbers:,}",
            f"{most}{departure.bytes:,}",
            f"{most}{departure.times:,}",
            f"{most}{departure.numbers * departure.times:,}",
        )
    numbers = sum(each.numbers * each.times for each in leaving)
    replies = sum(each.times for each in leaving)
    table.add_row("in all", "", "", f"≤ {replies:,}", f"≤ {numbers:,}", style="bold")
    console.print()
    console.print(table)


def _described(study: Study, console: Console) -> None:
    low = study.privacy.min_cell
    _section(
        explain.Section(
            "What leaves if the rows are described (medhive describe)",
            (
                "A description (Table 1) is asked for apart from a run, over all rows whose outcome"
                " is known. The server sees these sums too, one site at a time:",
            ),
        ),
        console,
    )
    for departure in descriptions(study):
        _parts(departure, console)
    _counted(descriptions(study), console)
    _section(
        explain.Section(
            "About a description",
            (
                "The intervals get narrow around the quartiles, so that single values can be read"
                " there, without saying whose.",
                "A site shows a table of its own only where it has allowed that; if not, these"
                " numbers say so, and which columns it lacks. Counts below"
                f" {low} (min-cell) are hidden.",
            ),
        ),
        console,
    )


def _never(study: Study) -> tuple[str, ...]:
    return (
        "Rows, files, and columns that the study does not name.",
        f"In a run, any sum of a site with fewer than {study.privacy.min_rows} training rows"
        " (min-rows).",
    )


def _who(study: Study) -> tuple[str, ...]:
    sees = (
        "This study promises masking, which this version cannot do: its server and clients refuse"
        " to run it."
        if study.privacy.secure_aggregation
        else "The server sees each site's sums one by one: in this version they travel unmasked,"
        " inside TLS. Other sites see none of them."
    )
    return (
        sees,
        "So the server could work out a site's means and standard deviations, how many of its"
        " patients have each level, even if it is one, and the model that its rows alone lead to.",
        "The intervals of the AUC are laid where the scores are. Unless there are many thousands"
        " of rows, most intervals hold one row or none: they show nearly every row's predicted"
        " score and outcome, without saying whose it is.",
        "Everybody who gets the result sees what comes of the totals: coefficients, means, standard"
        " deviations, metrics, and each site's name, number of training rows, and missing values of"
        f" each column, counts below {study.privacy.min_cell} (min-cell) hidden.",
    )


def show_draft(draft: Draft, path: Path, console: Console) -> None:
    """Print what was drafted and why."""
    table = _table("column", "in the study as", "why")
    table.add_row(Text(draft.outcome.name), "outcome", Text(_event(draft)))
    for each in draft.features:
        table.add_row(Text(each.name), str(each.kind), Text(_reason(each)))
    if draft.left_out:
        table.add_section()
    for each in draft.left_out:
        table.add_row(Text(each.name), "left out", Text(each.reason), style="dim")
    console.print(table)
    sentences = ["Every line is a proposal: please read the file, and complete the lines with a ?."]
    if draft.from_data:
        sentences.append(
            "It holds no patient's value: ranges are wider than the data and rounded, and only"
            f" level codes that {FEWEST_ROWS} or more rows share are listed. Look at these codes"
            " before you send the file to anybody."
        )
    console.print()
    for sentence in sentences:
        console.print(Text(sentence))
    console.print()
    console.print(Text(f"written: {path}", style="bold"))
    console.print(Text(f"next: medhive study check {path}"))


def _event(draft: Draft) -> str:
    outcome = Outcome(column=draft.outcome.name, event=draft.event)
    quoted = isinstance(draft.event, str) and outcome.comparison is None
    event = f'"{draft.event}"' if quoted else draft.event
    return f"the event is {event}"


def _reason(candidate: Candidate) -> str:
    rare = f"; {candidate.rare} rare not listed" if candidate.rare else ""
    if candidate.kind == "continuous" and candidate.range is not None:
        low, high = candidate.range
        return f"{candidate.reason}; range {low:g} to {high:g}"
    if candidate.kind == "categorical" and candidate.levels:
        return f"{candidate.reason}{rare}; reference {candidate.reference}"
    return candidate.reason


def _phase(departure: Departure) -> str:
    return departure.phase[0].upper() + departure.phase[1:]


def _times(departure: Departure) -> str:
    if departure.at_most:
        return f"up to {departure.times} times"
    if departure.times == 1:
        return "once"
    return f"{departure.times} times, once a round"


def _numbers(n: int, departure: Departure) -> str:
    most = "up to " if departure.at_most else ""
    return f"{most}{n:,} {'number' if n == 1 else 'numbers'}"


def _title(study: Study, console: Console) -> None:
    name = study.study.title or study.study.name
    console.print(Text(f"{name} ({study.study.name})" if study.study.title else name, style="bold"))


def _section(section: explain.Section, console: Console) -> None:
    console.print()
    console.print(Text(section.heading, style="bold"))
    for sentence in section.sentences:
        _item(sentence, console)


def _item(sentence: str, console: Console) -> None:
    # a hanging indent, so that every sentence begins where one sees it
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row("-", Text(sentence))
    console.print(Padding(grid, (0, 0, 0, 2), expand=False))


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
