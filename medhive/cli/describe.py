"""``medhive describe``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medhive.cli.listening import (
    Dataset,
    Host,
    JoinTimeout,
    Names,
    OpenDemo,
    OptionalStudy,
    Port,
    Tunnel,
    TunnelAddress,
    TunnelChoice,
    TunnelCommand,
    TunnelPattern,
    TunnelTimeout,
    listen_settings,
    read_contract,
    tunnel_settings,
)
from medhive.cli.options import Output, RunConfig, ServerHome, parse_sites
from medhive.errors import Place, SettingError

if TYPE_CHECKING:
    from medhive.study import Study

_WITHOUT_LISTENING = frozenset({"study", "dataset", "site", "run_config", "output"})


def describe(
    context: typer.Context,
    study: OptionalStudy = None,
    site: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Describe files on this machine instead of waiting for hospitals; give one for"
            " every site. For trying out.",
            show_default=False,
        ),
    ] = None,
    dataset: Dataset = None,
    host: Host = "127.0.0.1",
    port: Port = 9092,
    name: Names = None,
    run_config: RunConfig = "",
    output: Output = Path("medhive-output"),
    server_home: ServerHome = None,
    join_timeout: JoinTimeout = 86_400.0,
    open_demo: OpenDemo = False,
    tunnel: Tunnel = TunnelChoice.NONE,
    tunnel_address: TunnelAddress = None,
    tunnel_command: TunnelCommand = None,
    tunnel_pattern: TunnelPattern = None,
    tunnel_timeout: TunnelTimeout = 30.0,
) -> None:
    """Describe the patients of a study before any model: its Table 1, and how sites differ.

    Waits for the sites as medhive server does; they join with medhive client. Small counts are
    hidden, and whatever would give them away.
    """
    from rich.console import Console

    from medhive.server.describing import serve_description

    contract, text = read_contract(study, dataset, run_config, "describe")
    if site:
        _require_no_listening(context)
        _describe_files(contract, text, parse_sites(site), output)
        return
    listen = listen_settings(
        contract,
        dataset=dataset,
        host=host,
        port=port,
        name=name,
        server_home=server_home,
        open_demo=open_demo,
        tunnel=tunnel_settings(
            tunnel, tunnel_address, tunnel_command, tunnel_pattern, tunnel_timeout
        ),
    )
    serve_description(listen, text, output, join_timeout, Console())


def _describe_files(contract: Study, text: str, files: dict[str, Path], output: Path) -> None:
    from rich.console import Console

    from medhive.reports.result import now
    from medhive.server.conduct import new_folder
    from medhive.server.describing import DescriptionProgress, leave_results
    from medhive.simulation.inline import describe_inline

    console = Console()
    found = describe_inline(contract, files, DescriptionProgress(Console(stderr=True)))
    folder = new_folder(output, contract, now().astimezone())
    leave_results(contract, text, found, folder, console)


def _require_no_listening(context: typer.Context) -> None:
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        typed = source is not None and source.name == "COMMANDLINE"
        if typed and parameter.name not in _WITHOUT_LISTENING:
            raise SettingError(
                "this option has no effect with --site, which waits for nobody",
                place=Place(setting=parameter.opts[0]),
                next_step="leave it out, or leave --site out",
            )
