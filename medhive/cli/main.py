"""The ``medhive`` command."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from medhive.cli import client, data, demo, describe, doctor, identity, server, simulate, study
from medhive.errors import MedHiveError

app = typer.Typer(
    name="medhive",
    help="Hospitals fit one statistical model together; no patient's row leaves any hospital.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    # every option is an environment variable too: MEDHIVE_COMMAND_OPTION where none is named
    context_settings={"auto_envvar_prefix": "MEDHIVE"},
    epilog="Exit codes: 0 done, 1 internal error, 2 input cannot be used, 3 protocol,"
    " 4 refused by a site, 5 the federation could not finish, 130 stopped by you,"
    " 143 stopped by the system.",
)
app.command("demo")(demo.demo)
app.command("server")(server.server)
app.command("describe")(describe.describe)
app.command("client")(client.client)
app.command("simulate")(simulate.simulate)
app.command("init")(identity.init)
app.command("invite")(identity.invite)
app.command("sites")(identity.sites)
app.command("revoke")(identity.revoke)
app.add_typer(data.app, name="data")
app.add_typer(doctor.app, name="doctor")
app.add_typer(study.app, name="study")

STOPPED, TERMINATED = 130, 143


class Terminated(SystemExit):
    """Somebody asked the process to end, as Docker and systemd do."""


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"medhive {version('medhive')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options of the command itself."""


def run() -> None:
    """Run the command line and end the process with the documented exit code."""
    # BLAS threads of several clients on one machine only get in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except MedHiveError as error:
        _print_error(error)
        sys.exit(error.exit_code)
    except SystemExit as end:
        # Typer itself turns Ctrl-C into this code, and says nothing
        if end.code == STOPPED:
            typer.echo("stopped", err=True)
        raise
    except BrokenPipeError:
        # whoever read the output has gone
        sys.stderr.close()
        sys.exit(1)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(TERMINATED)


def _print_error(error: MedHiveError) -> None:
    typer.echo(typer.style("error: ", fg="red", bold=True) + str(error), err=True)
    if error.next_step:
        typer.echo(typer.style(" next: ", bold=True) + error.next_step, err=True)
