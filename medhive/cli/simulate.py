"""``medhive simulate``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medhive.cli.options import (
    RunConfig,
    StudyFile,
    check_output_file,
    parse_run_config,
    parse_sites,
)

if TYPE_CHECKING:
    from medhive.reports.result import Result


class Backend(StrEnum):
    """What runs the sites."""

    INLINE = "inline"
    RAY = "ray"


def simulate(
    study: StudyFile,
    site: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=FILE",
            help="A site and its rows. Give one for every site.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write result.json.", show_default=False),
    ] = None,
    run_config: RunConfig = "",
    backend: Annotated[
        Backend,
        typer.Option(
            help="inline: in this process. ray: on Flower's simulation engine"
            " (needs pip install 'medhive\\[ray]')."
        ),
    ] = Backend.INLINE,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="A Ray cluster that runs already.",
            show_default="a local one",
        ),
    ] = None,
) -> None:
    """Run a study over files on this machine: the same sums as between hospitals, no sockets.

    For trying out a study file. The person who runs it sees the rows of every site.
    """
    from rich.console import Console

    from medhive.errors import Place, SettingError
    from medhive.reports.result import now, write_result
    from medhive.server.conduct import summarise
    from medhive.server.console import ConsoleProgress
    from medhive.studyfile import read_study

    if ray_address is not None and backend is not Backend.RAY:
        raise SettingError(
            "--ray-address has no effect without --backend ray",
            place=Place(setting="--ray-address"),
            next_step="add --backend ray",
        )
    contract = read_study(study, parse_run_config(run_config))
    files = parse_sites(site)
    if output is not None:
        check_output_file(output)
    console = Console(stderr=True)
    if contract.privacy.secure_aggregation:
        console.print(
            "note: secure-aggregation = true has no effect in a simulation, where no sum leaves"
            " this machine; medhive server does not run this study yet",
            highlight=False,
            soft_wrap=True,
        )
    progress = ConsoleProgress(console, contract.run.num_server_rounds)
    started = now()
    if backend is Backend.RAY:
        from medhive.simulation.engine import run_on_ray

        fit = run_on_ray(contract, files, progress, ray_address)
    else:
        from medhive.simulation.inline import run_inline

        fit = run_inline(contract, files, progress)
    result = summarise(contract, fit, started, now())
    if output is not None:
        write_result(result, output)
        console.print(f"result: {output}", highlight=False, soft_wrap=True)
    _show(result)


def _show(result: Result) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=result.title or result.study, title_justify="left", title_style="bold")
    table.add_column("term")
    table.add_column("estimate", justify="right")
    table.add_column("per standard deviation", justify="right")
    for name, term in result.terms.items():
        standardised = result.standardised_terms[name].estimate
        table.add_row(name.replace("[", r"\["), _number(term.estimate), _number(standardised))
    console = Console()
    console.print(table)
    numbers = (f"{name} {_number(value)}" for name, value in result.metrics.items())
    console.print(f"on {result.evaluated_on}: {', '.join(numbers)}", highlight=False)
    for warning in result.warnings:
        console.print(f"note: {warning}", highlight=False, markup=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
