"""Options that several commands share, and how their values are checked."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from medhive.errors import Place, SettingError

StudyFile = Annotated[
    Path, typer.Argument(metavar="STUDY.toml", help="The study file.", show_default=False)
]
ServerHome = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="MEDHIVE_SERVER_HOME",
        help="Folder of the server's keys, certificates and roster.",
        show_default="~/.medhive/server",
    ),
]
RunConfig = Annotated[
    str,
    typer.Option(
        "--run-config",
        "-c",
        envvar="MEDHIVE_RUN_CONFIG",
        metavar="'KEY=VALUE …'",
        help="Override keys of \\[run], as in Flower: \"num-server-rounds=10 strategy='fedprox'\".",
        show_default=False,
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        envvar="MEDHIVE_OUTPUT",
        help="Folder under which each run gets a folder of its own.",
    ),
]

_PAIR = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=\s*('[^']*'|\"[^\"]*\"|[^\s'\"]+)(?=\s|$)")


LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


def home() -> Path:
    """Return MedHive's folder for keys: ``MEDHIVE_HOME``, or ``.medhive`` at home."""
    return Path(os.environ.get("MEDHIVE_HOME", "~/.medhive")).expanduser()


def parse_run_config(text: str) -> dict[str, Any]:
    """Read ``KEY=VALUE`` pairs whose values are TOML; a bare word is text.

    Raises
    ------
    SettingError
        If something is not a pair.
    """
    values: dict[str, Any] = {}
    position = 0
    while text[position:].strip():
        pair = _PAIR.match(text, position)
        if pair is None:
            raise SettingError(
                f"{text[position:].strip()!r} is not KEY=VALUE",
                place=Place(setting="--run-config"),
                next_step='write pairs with a space between them: "num-server-rounds=10 C=0.5"',
            )
        key, value = pair[1], pair[2]
        try:
            values[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            values[key] = value
        position = pair.end()
    return values


def parse_sites(values: list[str]) -> dict[str, Path]:
    """Read ``NAME=FILE`` pairs."""
    from medhive.flower.wire import NAME_STEP, SITE_NAME

    files: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not path:
            raise SettingError(
                f"{value!r} is not NAME=FILE",
                place=Place(setting="--site"),
                next_step="write --site cleveland=cleveland.csv",
            )
        if SITE_NAME.fullmatch(name) is None:
            raise SettingError(
                f"{name!r} is not a name for a site",
                place=Place(setting="--site"),
                next_step=NAME_STEP,
            )
        if name in files:
            raise SettingError(
                f'site "{name}" is given twice',
                place=Place(setting="--site"),
                next_step="give every site a name of its own",
            )
        files[name] = Path(path)
    return files


def check_output_file(path: Path) -> None:
    """Make sure, before anything is computed, that a result can be written."""
    if path.is_dir():
        cause, step = "this is a folder", "name a file in it, such as result.json"
    elif not path.parent.is_dir():
        cause, step = f"there is no folder {path.parent}", "make it, or choose another"
    elif not os.access(path.parent, os.W_OK):
        cause, step = f"the folder {path.parent} cannot be written", "choose another"
    else:
        return
    raise SettingError(cause, place=Place(file=path, setting="--output"), next_step=step)
