"""A Table 1 as one HTML file that needs nothing else, and prints on A4."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from medhive.reports.files import write_atomically
from medhive.reports.table1 import Table1
from medhive.reports.table1_lines import HIDDEN, NOTHING, blocks, lines
from medhive.reports.table1_notes import compared, notes

_SITES = 5
"""Sites beside each other on an A4 page."""


def write_html(table: Table1, path: Path) -> None:
    """Write ``table1.html`` atomically."""
    write_atomically(path, render(table))


def render(table: Table1) -> str:
    """Return the page; every text is escaped."""
    source = resources.files("medhive.reports") / "table1.html.jinja"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(source.read_text(encoding="utf-8"))
    groups = [column for column in table.columns if not column.site]
    sites = [(columns, list(lines(table, columns))) for columns in blocks(table.columns, _SITES)]
    return template.render(
        table=table,
        columns=groups,
        lines=list(lines(table, groups)),
        sites=sites,
        quiet=(HIDDEN, NOTHING),
        compared=compared(table),
        notes=notes(table),
    )
