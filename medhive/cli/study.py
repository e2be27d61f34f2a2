"""``medhive study new``, ``check`` and ``show``: before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from medhive.cli.options import RunConfig, StudyFile, parse_run_config

app = typer.Typer(
    help="Draft a study file, check and explain it, and say what would leave a site.",
    no_args_is_help=True,
)


@app.command()
def new(
    study: Annotated[
        Path,
        typer.Argument(metavar="STUDY.toml", help="The study file to write.", show_default=False),
    ],
    from_data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="One site's rows. They are read here; no patient's value is written.",
            show_default=False,
        ),
    ] = None,
    from_codebook: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A codebook: CSV with name, kind, unit, min, max, levels, label; or REDCap's data"
            " dictionary.",
            show_default=False,
        ),
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The outcome's column.", show_default="proposed"),
    ] = None,
    event: Annotated[
        str | None,
        typer.Option(
            metavar="EVENT",
            help="The event: a value (1, M) or a comparison ('> 0').",
            show_default="proposed",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Short name of the study.", show_default="from the file's name"),
    ] = None,
    title: Annotated[str, typer.Option(help="Title, for people.", show_default=False)] = "",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: take every proposal.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Draft a study file from one site's data or from a codebook.

    Asks for the outcome, the event and every doubtful column; with --yes, or without a terminal,
    it takes the proposals. Units, labels and ranges are for you to complete.
    """
    from rich.console import Console

    from medhive.cli.asking import ask
    from medhive.contract.draft import (
        check_name,
        choose_outcome,
        compose,
        name_from,
        read_candidates,
    )
    from medhive.contract.render import check_target, write
    from medhive.contract.show import show_draft

    check_target(study, force=force)
    called = name_from(study) if name is None else check_name(name)
    candidates = read_candidates(from_data, from_codebook)
    if not yes and sys.stdin.isatty():
        candidates, column, chosen = ask(candidates, outcome, event)
    else:
        column, chosen = choose_outcome(candidates, outcome, event)
    draft = compose(
        candidates,
        column,
        chosen,
        name=called,
        title=title,
        source=from_data or from_codebook or study,
        from_data=from_data is not None,
    )
    write(draft, study, force=force)
    show_draft(draft, study, Console())


@app.command()
def check(study: StudyFile, run_config: RunConfig = "") -> None:
    """Validate a study file and explain it in plain words."""
    from rich.console import Console

    from medhive.contract.show import show_explanation
    from medhive.studyfile import read_study

    show_explanation(read_study(study, parse_run_config(run_config)), Console())


@app.command()
def show(study: StudyFile, run_config: RunConfig = "") -> None:
    """Say what would leave a site: which sums, how many numbers, how often, and who sees them."""
    from rich.console import Console

    from medhive.contract.show import show_departures
    from medhive.studyfile import read_study

    show_departures(read_study(study, parse_run_config(run_config)), Console())
