"""What ngrok needs before it starts: its agent and the account's authtoken."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from pathlib import Path

import dotenv
from pyngrok import installer
from pyngrok.conf import PyngrokConfig
from pyngrok.exception import PyngrokError

from medhive.errors import Place, SettingError

TOKEN = "NGROK_AUTHTOKEN"  # noqa: S105 - a name
PATH = "NGROK_PATH"

logger = logging.getLogger(__name__)


def read_token(folder: Path) -> str:
    """Return ngrok's authtoken from the environment, or else from ``.env`` in `folder`.

    Raises
    ------
    SettingError
        If neither has one, or ``.env`` cannot be read.
    """
    file = folder / ".env"
    step = (
        f"copy your authtoken from https://dashboard.ngrok.com/get-started/your-authtoken, and"
        f" set {TOKEN} in the environment or write the line {TOKEN}=... in a file .env"
    )
    token = os.environ.get(TOKEN, "").strip()
    place = Place(setting=TOKEN)
    if not token and file.exists():
        place = Place(file=file, setting=TOKEN)
        try:
            # without interpolation: a "$" in a token is a "$"
            token = (dotenv.dotenv_values(file, interpolate=False).get(TOKEN) or "").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SettingError(
                f"the file cannot be read: {reason}", place=Place(file=file), next_step=step
            ) from None
    if not token:
        raise SettingError("ngrok's authtoken is missing", place=place, next_step=step)
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise SettingError("this is not one authtoken", place=place, next_step=step)
    return token


def find_agent() -> Path:
    """Return ngrok's agent: NGROK_PATH, else on PATH, else where pyngrok installs it.

    Raises
    ------
    SettingError
        If there is none and it cannot be downloaded.
    """
    if named := os.environ.get(PATH):
        found = shutil.which(named)
        if found is None:
            raise SettingError(
                f'there is no program "{named}"',
                place=Place(setting=PATH),
                next_step=f"give {PATH} the path of ngrok's program",
            )
        return Path(found)
    own = PyngrokConfig().ngrok_path
    found = shutil.which("ngrok") or shutil.which(own)
    return Path(found) if found is not None else _download(own)


def _download(path: str) -> Path:
    logger.info("ngrok's agent is being downloaded to %s", path)
    try:
        # pyngrok shows its progress on standard output, which is the result's place
        with contextlib.redirect_stdout(sys.stderr):
            installer.install_ngrok(path)
    except (PyngrokError, OSError) as error:
        logger.debug("the download failed: %s", error)
        raise SettingError(
            "ngrok's agent is not installed, and cannot be downloaded from here",
            place=Place(setting=PATH),
            next_step="get ngrok from https://ngrok.com/download on another computer, and put it"
            f" on the PATH or name it with {PATH}; or use --tunnel command",
        ) from None
    return Path(path)
