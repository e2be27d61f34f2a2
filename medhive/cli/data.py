"""``medhive data check``: what a data manager reads before anything connects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medhive.errors import InputError, Place, SettingError

app = typer.Typer(help="Look at this site's rows before anything connects.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Look at this site's rows before anything connects."""


@app.command()
def check(
    study: Annotated[
        Path,
        typer.Option(
            envvar="MEDHIVE_STUDY",
            metavar="STUDY.toml",
            help="The study that the rows are held against.",
            show_default=False,
        ),
    ],
    site_file: Annotated[
        Path | None,
        typer.Option(
            "--site",
            envvar="MEDHIVE_SITE_FILE",
            metavar="SITE.toml",
            help="The hospital's own file, which says where the rows are and how they are coded.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="MEDHIVE_DATA",
            metavar="FILE",
            help="In place of --site: the rows, a CSV or Parquet file.",
            show_default=False,
        ),
    ] = None,
    allow_drop: Annotated[
        bool,
        typer.Option(
            "--allow-drop",
            envvar="MEDHIVE_ALLOW_DROP",
            help="Count rows in which a feature breaks the contract as dropped, as medhive client"
            " does with the same option.",
        ),
    ] = False,
    not_an_identifier: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A feature that looks like an identifier and is none. May be given more than"
            " once.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the report as a page too.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON: patients' values are in it.")
    ] = False,
) -> None:
    """Report what is in this site's rows and what does not fit the study; nothing is sent.

    Ends with exit code 2 if the contract is broken; warnings do not change it.
    """
    from rich.console import Console

    from medhive.data.sitefile import read_site_file
    from medhive.datacheck.page import as_json as to_json
    from medhive.datacheck.page import require_writable, write_page
    from medhive.datacheck.report import check_data
    from medhive.datacheck.show import show
    from medhive.studyfile import read_study

    if (data is None) == (site_file is None):
        both = data is not None
        raise SettingError(
            "both --data and --site say where the rows are" if both else "no rows are named",
            place=Place(setting="--site"),
            next_step="leave one out (MEDHIVE_DATA and MEDHIVE_SITE_FILE count as well)"
            if both
            else "add --site SITE.toml or --data FILE",
        )
    contract = read_study(study)
    named = frozenset(not_an_identifier or ())
    features = [feature.name for feature in contract.features]
    if unknown := sorted(named - set(features)):
        raise SettingError(
            f'"{unknown[0]}" is not a feature of the study',
            place=Place(setting="--not-an-identifier"),
            next_step=f"its features: {', '.join(features)}",
        )
    if html is not None:
        require_writable(html)
    rows = read_site_file(site_file) if site_file is not None else data
    assert rows is not None  # noqa: S101
    report = check_data(rows, contract, allow_drop=allow_drop, not_identifiers=named)
    if html is not None:
        write_page(report, html)
    if as_json:
        typer.echo(to_json(report))
    else:
        show(report, Console(highlight=False))
        if html is not None:
            typer.echo(f"page: {html}")
    if not report.fits:
        raise typer.Exit(InputError.exit_code)
