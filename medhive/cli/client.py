"""``medhive client``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medhive.cli.options import home
from medhive.errors import Place, SettingError


def client(
    join: Annotated[
        str | None,
        typer.Option(
            envvar="MEDHIVE_JOIN",
            metavar="CODE",
            help="Join code from the study's statistician. Needed once; later --id is enough.",
            show_default=False,
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            envvar="SERVER_ADDRESS",
            metavar="HOST:PORT",
            help="Address of the study's server.",
            show_default="where this site enrolled",
        ),
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(
            "--id",
            envvar="CLIENT_ID",
            metavar="SITE",
            help="Name of this site in the study.",
            show_default="that of the join code, or of the one site enrolled here",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="MEDHIVE_DATA",
            metavar="FILE",
            help="The site's rows, a CSV or Parquet file. It is read here and never leaves.",
            show_default="bundled public rows, for an open demo",
        ),
    ] = None,
    site_file: Annotated[
        Path | None,
        typer.Option(
            "--site",
            envvar="MEDHIVE_SITE_FILE",
            metavar="SITE.toml",
            help="In place of --data: the hospital's own file, which says where the rows are (a"
            " file, a database), how they are coded, and what the hospital allows.",
            show_default=False,
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            envvar="MEDHIVE_CA",
            metavar="FILE",
            help="Certificate of the study's authority, ca.pem of the server's home.",
            show_default="from the enrolment, or of a server on this machine",
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
            "--home",
            envvar="MEDHIVE_SITE_HOME",
            help="Folder of this site's key.",
            show_default="~/.medhive/sites/SITE",
        ),
    ] = None,
    allow_site_tables: Annotated[
        bool,
        typer.Option(
            "--allow-site-tables",
            envvar="MEDHIVE_ALLOW_SITE_TABLES",
            help="Let medhive describe show counts, means and standard deviations of this site on"
            " its own; small counts stay hidden.",
        ),
    ] = False,
    allow_drop: Annotated[
        bool,
        typer.Option(
            "--allow-drop",
            envvar="MEDHIVE_ALLOW_DROP",
            help="Leave out rows in which a feature breaks the contract, and say how many, instead"
            " of taking no part. See medhive data check.",
        ),
    ] = False,
    give_up_after: Annotated[
        float | None,
        typer.Option(
            min=0,
            envvar="MEDHIVE_GIVE_UP_AFTER",
            metavar="SECONDS",
            help="End with an error when the server does not answer for so long.",
            show_default="wait for ever",
        ),
    ] = None,
) -> None:
    """Take part in a study with this site's rows; only sums over them leave.

    Waits for a server that does not run yet. Ends with exit code 0 after the study.
    """
    from medhive.client.answer import Tables
    from medhive.client.joining import find_place, resolve_site
    from medhive.client.runtime import ClientSettings, run_client
    from medhive.data.sitefile import read_site_file
    from medhive.data.sources import open_source
    from medhive.studyfile import read_study

    if data is not None and site_file is not None:
        raise SettingError(
            "both --data and --site say where the rows are",
            place=Place(setting="--site"),
            next_step="leave one out (MEDHIVE_DATA and MEDHIVE_SITE_FILE count as well)",
        )
    rows = data if site_file is None else read_site_file(site_file)
    if allow_drop and rows is None:
        raise SettingError(
            "there are no rows of this site's own to leave out",
            place=Place(setting="--allow-drop"),
            next_step="add --data FILE or --site SITE.toml, or leave --allow-drop out",
        )
    asked = resolve_site(
        home(),
        join=join,
        server=server,
        site=site,
        data=rows,
        ca=ca,
        site_home=site_home,
        give_up_after=give_up_after,
    )

    def say(sentence: str) -> None:
        typer.echo(f"{asked.site}: {sentence}")

    pinned = None if study is None else read_study(study).sha256
    if rows is not None:
        # a file that cannot be read is told before a join code is used up
        open_source(rows)
    place = find_place(asked, say)
    settings = ClientSettings(
        server=place.address,
        site=place.site,
        data=rows,
        root_certificates=place.root_certificates,
        key=place.key,
        pinned=pinned,
        give_up_after=give_up_after,
        tables=Tables(allowed=allow_site_tables),
        allow_drop=allow_drop,
    )
    run_client(settings, say)
