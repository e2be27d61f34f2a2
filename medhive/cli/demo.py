"""``medhive demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medhive.cli.options import Output, RunConfig, parse_run_config


def demo(
    dataset: Annotated[
        str,
        typer.Option(help="heart-disease: four real centres. wdbc: breast cancer, cut into sites."),
    ] = "heart-disease",
    sites: Annotated[
        int | None,
        typer.Option(help="Number of sites that wdbc is cut into.", show_default="4"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the run and of the cut.")] = 1,
    run_config: RunConfig = "",
    output: Output = Path("medhive-output"),
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave MLflow running, to look at the run.")
    ] = False,
) -> None:
    """Show a federation of hospitals on this machine: real processes, real connections, TLS.

    Starts MLflow, a server and one client a hospital, follows the run, compares the model with
    each hospital's own and with the pooled fit, and ends everything.
    """
    from rich.console import Console

    from medhive.demo.run import DemoSettings, run_demo

    settings = DemoSettings(
        dataset=dataset,
        sites=sites,
        seed=seed,
        run_config=parse_run_config(run_config),
        output=output,
        keep=keep,
    )
    run_demo(settings, Console())
