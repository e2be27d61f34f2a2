"""A Table 1 in the terminal, 100 columns wide."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from medhive.reports.table1 import Column, Difference, Table1
from medhive.reports.table1_lines import HIDDEN, NOTHING, blocks, lines
from medhive.reports.table1_notes import compared, notes

WIDTH = 100
_SITES = 4
_DIM = (HIDDEN, NOTHING)


def show_table1(table: Table1, console: Console) -> None:
    """Print the table, the sites' tables, the harmonisation report and the notes."""
    width = min(WIDTH, console.width) if console.is_terminal else WIDTH
    page = Console(file=console.file, width=width, force_terminal=console.is_terminal)
    groups = [column for column in table.columns if not column.site]
    _print(page, _grid(table, groups, table.title))
    for number, columns in enumerate(blocks(table.columns, _SITES)):
        _print(page, _grid(table, columns, "By site" if not number else ""))
    _print(page, "[bold]Harmonisation[/bold]")
    page.print(Padding(_findings(table.harmonisation), (0, 0, 1, 0)))
    for note in [compared(table), *notes(table)]:
        page.print(Padding(f"[dim]{escape(note)}[/dim]", (0, 0, 0, 2)))


def _grid(table: Table1, columns: Sequence[Column], title: str) -> Table:
    grid = Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        header_style="bold",
        padding=(0, 0, 0, 0),
        pad_edge=False,
        expand=True,
    )
    grid.add_column("", ratio=5, overflow="fold")
    grid.add_column("", width=11, no_wrap=True, style="dim")
    for column in columns:
        grid.add_column(
            escape(column.name),
            justify="right",
            ratio=2 if len(columns) > 3 else 3,
            overflow="fold",
        )
    for line in lines(table, columns):
        label = escape(line.label)
        cells = [f"[dim]{cell}[/dim]" if cell in _DIM else escape(cell) for cell in line.cells]
        grid.add_row(label if line.head else f"  {label}", line.note, *cells)
    return grid


def _findings(found: Sequence[Difference]) -> RenderableType:
    if not found:
        return "  no difference was found"
    grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0), expand=True)
    grid.add_column(overflow="fold", max_width=20)
    grid.add_column(overflow="fold", max_width=24)
    grid.add_column(ratio=1, overflow="fold")
    before = ""
    for each in found:
        name = escape(each.feature) if each.feature != before else ""
        before = each.feature
        grid.add_row(f"  {name}", escape(each.site), escape(each.text))
    return grid


def _print(page: Console, what: RenderableType) -> None:
    page.print(what)
    if isinstance(what, Table):
        page.print()
