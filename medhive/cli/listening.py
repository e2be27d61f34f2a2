"""The options of the commands that listen for hospitals, and what they mean together."""

from __future__ import annotations

import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medhive.cli.options import LOOPBACK, home, parse_run_config
from medhive.errors import Place, SettingError

if TYPE_CHECKING:
    from medhive.identity.roster import Roster
    from medhive.server.listen import ListenSettings
    from medhive.study import Study
    from medhive.tunnel import TunnelSettings


class TunnelChoice(StrEnum):
    """How hospitals outside reach the server."""

    NONE = "none"
    NGROK = "ngrok"
    COMMAND = "command"


Dataset = Annotated[
    str | None,
    typer.Option(
        envvar="MEDHIVE_DATASET",
        help="Run the study of a bundled data set instead: heart-disease or wdbc.",
        show_default=False,
    ),
]
Host = Annotated[
    str,
    typer.Option(envvar="MEDHIVE_HOST", help="Address to listen on; 0.0.0.0 for every one."),
]
Port = Annotated[
    int,
    typer.Option(
        min=0, max=65535, envvar="MEDHIVE_PORT", help="Port to listen on; 0 takes a free one."
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        envvar="MEDHIVE_NAME",
        metavar="HOST",
        help="Name or address under which sites reach this server, for its certificate."
        " May be given more than once.",
        show_default=False,
    ),
]
JoinTimeout = Annotated[
    float,
    typer.Option(
        min=1,
        envvar="MEDHIVE_JOIN_TIMEOUT",
        metavar="SECONDS",
        help="How long to wait for enough sites before giving up.",
    ),
]
OpenDemo = Annotated[
    bool,
    typer.Option(
        "--open-demo",
        envvar="MEDHIVE_OPEN_DEMO",
        help="Let anybody take part, unchecked, in a study of bundled public data.",
    ),
]
Tunnel = Annotated[
    TunnelChoice,
    typer.Option(
        envvar="MEDHIVE_TUNNEL",
        help="How hospitals outside reach this server: ngrok (token in NGROK_AUTHTOKEN or"
        " .env), or a command of your own.",
    ),
]
TunnelAddress = Annotated[
    str | None,
    typer.Option(
        envvar="MEDHIVE_TUNNEL_ADDRESS",
        metavar="HOST:PORT",
        help="The public address where it is known beforehand, such as one reserved at ngrok.",
        show_default=False,
    ),
]
TunnelCommand = Annotated[
    str | None,
    typer.Option(
        envvar="MEDHIVE_TUNNEL_COMMAND",
        metavar="COMMAND",
        help="Program that opens a TCP tunnel to {host}:{port} and prints its address.",
        show_default=False,
    ),
]
TunnelPattern = Annotated[
    str | None,
    typer.Option(
        envvar="MEDHIVE_TUNNEL_PATTERN",
        metavar="REGEX",
        help="What the address looks like in the command's output.",
        show_default="tcp://HOST:PORT or HOST:PORT",
    ),
]
TunnelTimeout = Annotated[
    float,
    typer.Option(
        envvar="MEDHIVE_TUNNEL_TIMEOUT",
        metavar="SECONDS",
        help="How long the tunnel may take to come up.",
    ),
]
OptionalStudy = Annotated[
    Path | None,
    typer.Argument(metavar="STUDY.toml", help="The study file.", show_default=False),
]


def read_contract(
    study: Path | None, dataset: str | None, run_config: str, command: str
) -> tuple[Study, str]:
    """Return the study of a file or a bundled data set, and its text.

    Raises
    ------
    SettingError
        If not just one of the two is given.
    StudyError
        If the study cannot be used.
    """
    from medhive.data.bundled import study_text
    from medhive.server.conduct import require_honourable
    from medhive.studyfile import parse_study, read_study

    if (study is None) == (dataset is None):
        raise SettingError(
            "give a study file, or --dataset for a bundled study, and not both",
            place=Place(setting="STUDY.toml"),
            next_step=f"medhive {command} STUDY.toml",
        )
    overrides = parse_run_config(run_config)
    if study is not None:
        contract = read_study(study, overrides)
        text = study.read_text(encoding="utf-8")
    else:
        text = study_text(str(dataset))
        contract = parse_study(text, file=f"{dataset}.toml", run_config=overrides)
    require_honourable(contract, study)
    return contract, text


def tunnel_settings(
    kind: TunnelChoice,
    address: str | None,
    command: str | None,
    pattern: str | None,
    timeout: float,
) -> TunnelSettings | None:
    """Return how hospitals outside reach this server; None where no tunnel is wanted."""
    from medhive.tunnel import TunnelKind, TunnelSettings

    # options that fit together are checked even where there is no tunnel
    settings = TunnelSettings(
        kind=TunnelKind(kind.value),
        address=address,
        command=command,
        pattern=pattern,
        timeout=timeout,
    )
    return None if settings.kind is TunnelKind.NONE else settings


def listen_settings(
    study: Study,
    *,
    dataset: str | None,
    host: str,
    port: int,
    name: list[str] | None,
    server_home: Path | None,
    open_demo: bool,
    tunnel: TunnelSettings | None,
) -> ListenSettings:
    """Return where to listen and for whom; make the server's identity where there is none.

    Raises
    ------
    SettingError
        If anybody could connect and nobody would be checked.
    """
    from medhive.identity.authority import prepare_server
    from medhive.identity.serverhome import host_of, own_names, read_address
    from medhive.server.listen import ListenSettings

    folder = server_home or home() / "server"
    roster = _roster(folder, host, open_demo, dataset, tunnel is not None)
    names = list(name or [])
    if host not in LOOPBACK:
        known = read_address(folder)
        names += [] if known is None else [host_of(known)]
        names += own_names() if host in ("0.0.0.0", "::") else [host]  # noqa: S104 - compared
    return ListenSettings(
        study=study,
        host=host,
        port=port,
        files=prepare_server(folder, names, datetime.datetime.now(datetime.UTC)),
        names=tuple(names),
        roster=roster,
        open_demo=open_demo,
        tunnel=tunnel,
    )


def _roster(
    folder: Path, host: str, open_demo: bool, dataset: str | None, tunnelled: bool
) -> Roster | None:
    """Return who may connect; None lets anyone, which only some cases allow."""
    from medhive.identity.serverhome import ROSTER, open_roster

    if open_demo:
        if dataset is None:
            raise SettingError(
                "an open demo runs bundled public data only",
                place=Place(setting="--open-demo"),
                next_step="add --dataset wdbc, or leave --open-demo out and invite the sites",
            )
        if (folder / ROSTER).exists():
            raise SettingError(
                "this home has a roster of enrolled sites, and an open demo checks nobody",
                place=Place(file=folder, setting="--open-demo"),
                next_step="give the demo another --home, or leave --open-demo out",
            )
        return None
    if (folder / ROSTER).exists():
        return open_roster(folder)
    if host in LOOPBACK and not tunnelled:
        return None
    raise SettingError(
        "other machines could connect, and this server has no roster of enrolled sites",
        place=Place(file=folder, setting="--tunnel" if tunnelled else "--host"),
        next_step=f"make one with: medhive init {folder} (then: medhive invite SITE)",
    )
