"""``medhive client``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medhive.cli.options import check_address, check_site_name, find_authority, home


def client(
    server: Annotated[
        str,
        typer.Option(
            envvar="SERVER_ADDRESS",
            metavar="HOST:PORT",
            help="Address of the study's server.",
            show_default=False,
        ),
    ],
    site: Annotated[
        str,
        typer.Option(
            "--id",
            envvar="CLIENT_ID",
            metavar="SITE",
            help="Name of this site in the study.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            envvar="MEDHIVE_DATA",
            metavar="FILE",
            help="The site's rows, a CSV file. It is read here and never leaves.",
            show_default=False,
        ),
    ],
    ca: Annotated[
        Path | None,
        typer.Option(
            envvar="MEDHIVE_CA",
            metavar="FILE",
            help="Certificate of the study's authority, ca.pem of the server's home.",
            show_default="that of a server on this machine",
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            envvar="MEDHIVE_STUDY",
            metavar="STUDY.toml",
            help="Take part in exactly this study and no other.",
            show_default=False,
        ),
    ] = None,
    site_home: Annotated[
        Path | None,
        typer.Option(
            "--home", help="Folder of this site's key.", show_default="~/.medhive/sites/SITE"
        ),
    ] = None,
    give_up_after: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="End with an error when the server does not answer for so long.",
            show_default="wait for ever",
        ),
    ] = None,
) -> None:
    """Take part in a study with this site's rows; only sums over them leave.

    Waits for a server that does not run yet. Ends with exit code 0 after the study.
    """
    from medhive.client.runtime import ClientSettings, run_client
    from medhive.identity.keys import site_key
    from medhive.studyfile import read_study

    def say(sentence: str) -> None:
        typer.echo(f"{site}: {sentence}")

    check_site_name(site)
    address = check_address(server)
    settings = ClientSettings(
        server=address,
        site=site,
        data=data,
        root_certificates=find_authority(ca, address, say),
        key=site_key(site_home or home() / "sites" / site),
        pinned=None if study is None else read_study(study).sha256,
        give_up_after=give_up_after,
    )
    run_client(settings, say)
