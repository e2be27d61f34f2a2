"""Options that several commands share, and how their values are checked."""

from __future__ import annotations

import os
import re
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from medhive.errors import Place, SettingError

StudyFile = Annotated[
    Path, typer.Argument(metavar="STUDY.toml", help="The study file.", show_default=False)
]
RunConfig = Annotated[
    str,
    typer.Option(
        "--run-config",
        "-c",
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


def check_site_name(name: str) -> None:
    """Refuse a site name that is not safe in a file, a log and a metric."""
    from medhive.flower.wire import SITE_NAME

    if SITE_NAME.fullmatch(name) is None:
        raise SettingError(
            f"{name!r} is not a name for a site",
            place=Place(setting="--id"),
            next_step="use letters, digits, dot, dash and underscore, 63 at most",
        )


def check_address(text: str) -> str:
    """Return ``host:port``; refuse anything else."""
    match = re.fullmatch(r"(?:https://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})/?", text)
    if match is None or not 0 < int(match[2]) < 65536:
        raise SettingError(
            f"{text!r} is not HOST:PORT",
            place=Place(setting="--server"),
            next_step="take the address that the server prints, such as 127.0.0.1:9092",
        )
    return f"{match[1]}:{match[2]}"


def find_authority(given: Path | None, address: str, say: Callable[[str], None]) -> bytes:
    """Read the certificate of the study's authority.

    Without `given` it is the one that a server on this machine leaves in MedHive's folder; such a
    server may be started later than its clients, so they wait for it.
    """
    step = "ask the study's statistician for ca.pem from the server's home, and give it with --ca"
    path = given or home() / "server" / "ca.pem"
    place = Place(file=path, setting="--ca")
    if given is None and not path.exists():
        if address.rpartition(":")[0] not in ("127.0.0.1", "localhost", "[::1]"):
            raise SettingError(
                "no certificate of the study's authority is given", place=place, next_step=step
            )
        say(f"waiting for a server on this machine (it will leave {path})")
        while not path.exists():
            time.sleep(0.2)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingError(
            f"the certificate of the study's authority cannot be read ({error.strerror})",
            place=place,
            next_step=step,
        ) from None
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise SettingError("not a certificate in PEM form", place=place, next_step=step)
    return data


def parse_sites(values: list[str]) -> dict[str, Path]:
    """Read ``NAME=FILE`` pairs."""
    files: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not path:
            raise SettingError(
                f"{value!r} is not NAME=FILE",
                place=Place(setting="--site"),
                next_step="write --site cleveland=cleveland.csv",
            )
        check_site_name(name)
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
