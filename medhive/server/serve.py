"""The server's process: listen, run the study, keep the record, say where things are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid
from rich.console import Console

from medhive.flower.admission import Refusals
from medhive.flower.exchange import GridExchange
from medhive.flower.link import Link
from medhive.identity.authority import ServerFiles, prepare_server
from medhive.identity.enrolment import router
from medhive.identity.gatekeeper import Gatekeeper
from medhive.identity.roster import Roster
from medhive.identity.serverhome import host_of, write_address
from medhive.reports.result import Result, now
from medhive.reports.tracking import Tracking
from medhive.server.app import MLFLOW_GRACE, server_app
from medhive.server.conduct import conduct, new_folder
from medhive.server.console import ConsoleProgress
from medhive.study import Study
from medhive.tunnel import TunnelSettings, open_tunnel

FOLDER_LINE = "report folder:"
"""Begins the line that names the folder of a run's results."""


@dataclass(frozen=True)
class ServerSettings:
    """What a statistician says when starting a server.

    Parameters
    ----------
    study : Study
    study_text : str
        The study file as written.
    host, port
        Where to listen; port 0 takes a free one.
    files : ServerFiles
        The server's identity.
    names : tuple of str
        Names and addresses that the certificate covers.
    roster : Roster or None
        Who may connect; anyone where there is none.
    open_demo : bool
        Whether anyone may connect from anywhere, which only bundled data allow.
    output : Path
        Folder under which each run gets its own.
    mlflow : str
        Address of MLflow's store.
    mlflow_public : str or None
        Address under which people reach MLflow, where it is another one.
    join_timeout : float
        Seconds to wait for enough sites.
    serve_forever : bool
        Run the study again for whoever connects next, instead of ending.
    tunnel : TunnelSettings or None
        How hospitals outside reach this server.
    """

    study: Study
    study_text: str
    host: str
    port: int
    files: ServerFiles
    names: tuple[str, ...]
    roster: Roster | None
    open_demo: bool
    output: Path
    mlflow: str
    mlflow_public: str | None
    join_timeout: float
    serve_forever: bool
    tunnel: TunnelSettings | None = field(default=None)


def serve(settings: ServerSettings, console: Console) -> None:
    """Listen and run the study, once or for ever.

    Raises
    ------
    SettingError
        If the port is busy, a folder cannot be written, or the tunnel cannot be opened.
    FederationError
        If too few sites took part in time.
    """
    with _listening(settings, console) as link:
        while True:
            _run_once(settings, link, console)
            if not settings.serve_forever:
                return
            # a server that stays for years shows a certificate that is still good
            prepare_server(settings.files.home, settings.names, datetime.now(UTC))
            _print(console, "ready for the next run")


@contextmanager
def _listening(settings: ServerSettings, console: Console) -> Iterator[Link]:
    """Open the socket with its gatekeeper and its tunnel, and say how sites join."""

    def say(line: str) -> None:
        _print(console, line)

    refusals = Refusals(say)
    keeper = None if settings.roster is None else Gatekeeper(settings.roster, refusals, say)

    def enrolled(site: str) -> None:
        if keeper is not None:
            keeper.refresh()
        say(f'site "{site}" enrolled')

    enrolment = router(
        settings.files.ca.read_bytes(), settings.roster, enrolled, on_refused=refusals.add
    )
    with ExitStack() as stack:
        link = stack.enter_context(
            Link(
                settings.host,
                settings.port,
                settings.files.certificate,
                settings.files.key,
                admission=keeper,
                refusals=refusals,
                routes=[enrolment],
            )
        )
        if keeper is not None:
            stack.enter_context(keeper.watch(link))
        study, host = settings.study, settings.host
        say(
            f"study {study.study.name}, contract {study.sha256[:12]}: {study.run.strategy},"
            f" {study.run.num_server_rounds} rounds, from"
            f" {study.run.min_available_clients} sites on"
        )
        local = f"[{host}]:{link.port}" if ":" in host else f"{host}:{link.port}"
        say(f"listening on {local}")
        if settings.tunnel is None:
            _tell_how_to_join(settings, _reachable(settings, link.port), say)
        else:

            def announce(address: str) -> None:
                names = [*settings.names, host_of(address)]
                files = prepare_server(settings.files.home, names, datetime.now(UTC))
                link.refresh_certificate()
                write_address(files.home, address)
                say(f"public address: {address}")
                _tell_how_to_join(settings, address, say)

            tunnel = open_tunnel(settings.tunnel, host, link.port, announce, say)
            announce(stack.enter_context(tunnel).address)
        yield link


def _reachable(settings: ServerSettings, port: int) -> str:
    """Return an address that another machine can use, as far as this one knows."""
    host = settings.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = settings.names[0] if settings.names else "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tell_how_to_join(settings: ServerSettings, address: str, say: Callable[[str], None]) -> None:
    if settings.open_demo:
        say(
            "OPEN DEMO: anybody who reaches this address may take part, nobody is checked."
            " It runs bundled public data only."
        )
        docker = f'docker run -e SERVER_ADDRESS="{address}" -e CLIENT_ID="1" fl-client'
        say(f"a client joins with: {docker}")
        say(f"                 or: medhive client --server {address} --id 1")
    elif settings.roster is not None:
        home = settings.files.home
        say(f"invite a site with: medhive invite SITE --home {home} --address {address}")
        say("it then joins with: medhive client --join CODE --data FILE")
        say("         or Docker: docker run -e MEDHIVE_JOIN=CODE -v /data:/data:ro fl-client")
    else:
        say(
            f"a site joins with: medhive client --server {address} --id SITE --data FILE"
            f" --ca {settings.files.ca}"
        )


def _run_once(settings: ServerSettings, link: Link, console: Console) -> None:
    study = settings.study
    grid, context = link.start_run()
    folder = new_folder(settings.output, study, now().astimezone())
    progress = ConsoleProgress(console, study.run.num_server_rounds)
    tracking = Tracking(folder / "outbox.jsonl", settings.mlflow)
    results: list[Result] = []

    def main(grid: Grid, context: Context) -> None:
        exchange = GridExchange(grid, study, progress, settings.join_timeout)
        try:
            result = conduct(study, settings.study_text, exchange, progress, folder, tracking)
        except BaseException:
            exchange.finish("the server ended the run before there was a result", completed=False)
            raise
        results.append(result)
        exchange.finish(f"the study is over: {result.rounds} rounds, the result is at the server")

    try:
        server_app(main)(grid, context)
    finally:
        link.finish_run(grid)
        delivered = tracking.close(MLFLOW_GRACE)
    for line in _conclusion(results[0], folder, settings, tracking, delivered):
        _print(console, line)


def _conclusion(
    result: Result, folder: Path, settings: ServerSettings, tracking: Tracking, delivered: bool
) -> list[str]:
    metrics = result.metrics
    numbers = ", ".join(
        f"{name} {metrics[name]:.4f}"
        for name in ("accuracy", "loss", "auc")
        if metrics.get(name) is not None
    )
    lines = [f"result on {result.evaluated_on} of {len(result.sites)} sites: {numbers}"]
    lines += [f"note: {warning}" for warning in result.warnings]
    lines += [f"{FOLDER_LINE} {folder}", f"MLflow: {_page(settings, tracking.run_url)}"]
    if not delivered:
        lines.append(f"{tracking.health}; what is missing stays in {folder / 'outbox.jsonl'}")
    return lines


def _page(settings: ServerSettings, page: str | None) -> str:
    """Return the address of the run's page as people reach it, or of the store."""
    if page is None:
        return settings.mlflow
    if settings.mlflow_public is None:
        return page
    return settings.mlflow_public.rstrip("/") + page[page.index("/#/") :]


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True, markup=False)
