"""The server's process when a study is described: listen, ask, write, show."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid
from rich.console import Console

from medhive.flower.exchange import GridExchange
from medhive.flower.link import Link
from medhive.flower.wire import JOIN_TO_DESCRIBE
from medhive.learning.disclosed import Description
from medhive.reports.result import now
from medhive.reports.table1 import build, write_table1
from medhive.reports.table1_csv import write_csv
from medhive.reports.table1_html import write_html
from medhive.reports.table1_terminal import show_table1
from medhive.server.app import server_app
from medhive.server.conduct import new_folder
from medhive.server.console import ConsoleProgress, print_line
from medhive.server.description import describe
from medhive.server.listen import ListenSettings, listening
from medhive.server.serve import FOLDER_LINE
from medhive.study import Study


@dataclass
class DescriptionProgress(ConsoleProgress):
    """Prints one line an event, and no site's number of rows: the table may hide it."""

    rounds: int = field(default=0)
    _told: set[str] = field(default_factory=set)

    def phase(self, name: str) -> None:
        """Say, once, which part begins."""
        words = {
            "counts": "counting",
            "spread": "computing means and standard deviations",
            "quantiles": "narrowing medians and quartiles down",
            "site tables": "collecting the sites' own tables",
        }
        if name in words and name not in self._told:
            self._told.add(name)
            self._line(f"[dim]{words[name]}[/dim]")

    def joined(self, site: str, n_samples: int) -> None:
        """Say that a site takes part."""
        self._line(f"[green]+[/green] {site} joined")


def serve_description(
    listen: ListenSettings, study_text: str, output: Path, join_timeout: float, console: Console
) -> None:
    """Listen until the sites of a study have described their rows, and write the table.

    Raises
    ------
    SettingError
        If the port is busy, a folder cannot be written, or the tunnel cannot be opened.
    FederationError
        If too few sites took part in time.
    """
    with listening(listen, "description, no model", console) as link:
        found, folder = _ask(link, listen.study, output, join_timeout, console)
    leave_results(listen.study, study_text, found, folder, console)


def leave_results(
    study: Study, study_text: str, found: Description, folder: Path, console: Console
) -> None:
    """Write ``table1.json``, ``.csv`` and ``.html`` beside the study, and show the table."""
    (folder / "study.toml").write_text(study_text, encoding="utf-8")
    (folder / "contract.json").write_text(study.canonical + "\n", encoding="utf-8")
    table = build(study, found, now())
    write_table1(table, folder / "table1.json")
    write_csv(table, folder / "table1.csv")
    write_html(table, folder / "table1.html")
    console.print()
    show_table1(table, console)
    console.print()
    print_line(console, "table1.html, table1.csv and table1.json are in the folder of this run")
    print_line(console, f"{FOLDER_LINE} {folder}")


def _ask(
    link: Link, study: Study, output: Path, join_timeout: float, console: Console
) -> tuple[Description, Path]:
    grid, context = link.start_run()
    folder = new_folder(output, study, now().astimezone())
    progress = DescriptionProgress(console)
    found: list[Description] = []

    def main(grid: Grid, context: Context) -> None:
        exchange = GridExchange(grid, study, progress, join_timeout, JOIN_TO_DESCRIBE)
        try:
            found.append(describe(study, exchange, progress))
        except BaseException:
            exchange.finish("the server ended before the study was described", completed=False)
            raise
        exchange.finish("the study is described; the table is at the server")

    try:
        server_app(main)(grid, context)
    finally:
        link.finish_run(grid)
    return found[0], folder
