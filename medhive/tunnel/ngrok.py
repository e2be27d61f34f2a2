"""A TCP endpoint at ngrok.

pyngrok finds or installs ngrok's agent and parses its log. The agent is started here, with the
arguments that pyngrok would give, because pyngrok lets the agent print to the terminal (where a
refused token is shown in full) and puts NGROK_AUTHTOKEN in its command line.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyngrok.log import NgrokLog

from medhive.errors import Place, SettingError
from medhive.tunnel.ngrok_setup import find_agent, read_token
from medhive.tunnel.redact import HIDDEN
from medhive.tunnel.settings import TunnelSettings, join_address, split_address
from medhive.tunnel.supervisor import Down, Up

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT = 10.0
LOST = ("session closed", "failed to reconnect session", "heartbeat timeout")
_CODE = re.compile(r"ERR_NGROK_(\d+)")
_COPY_AGAIN = (
    "copy the authtoken again from https://dashboard.ngrok.com/get-started/your-authtoken"
    " into NGROK_AUTHTOKEN or the file .env"
)
_RESERVE = "reserve a TCP address at https://dashboard.ngrok.com/tcp-addresses for this account"
# https://ngrok.com/docs/errors/reference
KNOWN = {
    "105": ("NGROK_AUTHTOKEN", "ngrok refused the authtoken", _COPY_AGAIN),
    "106": (
        "NGROK_AUTHTOKEN",
        "ngrok refused the authtoken, which is of its version 1",
        _COPY_AGAIN,
    ),
    "107": ("NGROK_AUTHTOKEN", "ngrok refused the authtoken: reset or revoked", _COPY_AGAIN),
    "302": ("NGROK_AUTHTOKEN", "ngrok wants an authtoken for a TCP tunnel", _COPY_AGAIN),
    "4018": ("NGROK_AUTHTOKEN", "ngrok wants a verified account and its authtoken", _COPY_AGAIN),
    "108": (
        "NGROK_AUTHTOKEN",
        "the ngrok account has no free agent session",
        "stop the account's other agents: https://dashboard.ngrok.com/agents",
    ),
    "120": ("NGROK_PATH", "this ngrok agent is too old", "install the newest ngrok"),
    "121": ("NGROK_PATH", "this ngrok agent is too old", "install the newest ngrok"),
    "307": ("--tunnel-address", "the address is not reserved at ngrok", _RESERVE),
    "309": ("--tunnel-address", "the address is another ngrok account's", _RESERVE),
    "334": (
        "--tunnel-address",
        "the address is in use by another ngrok agent",
        "stop the other agent: https://dashboard.ngrok.com/agents",
    ),
    "8013": (
        "--tunnel",
        "ngrok gives a free account TCP endpoints only once a card is on file",
        "add one at https://dashboard.ngrok.com/settings#id-verification (ngrok says it is not"
        " charged), or use --tunnel command",
    ),
}


def ngrok_agent(settings: TunnelSettings, host: str, port: int) -> NgrokAgent:
    """Return the agent for these settings; raises SettingError without a token or a binary."""
    token = read_token(settings.folder)
    reserved = None if settings.address is None else join_address(*split_address(settings.address))
    return NgrokAgent(find_agent(), token, join_address(host, port), reserved)


class NgrokAgent:
    """ngrok's agent: how to start it, and what its log means.

    Parameters
    ----------
    binary : Path
        ngrok's program.
    token : str
        The account's authtoken.
    local : str
        ``host:port`` of the server.
    reserved : str, optional
        Public ``host:port`` reserved at ngrok.
    """

    assumed = None
    settle = 0.0

    def __init__(self, binary: Path, token: str, local: str, reserved: str | None) -> None:
        self._binary = binary
        self._token = token
        self._endpoint = {"name": "medhive", "proto": "tcp", "addr": local}
        if reserved is not None:
            self._endpoint["remote_addr"] = reserved
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._api: str | None = None
        self._address: str | None = None
        self._error = ""

    def prepare(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """Write a private configuration with the token, and return the command that reads it."""
        self._api = self._address = None
        self._error = ""
        self._folder = tempfile.TemporaryDirectory(prefix="medhive-ngrok-")
        path = Path(self._folder.name) / "ngrok.yml"
        # JSON is YAML; a server must not replace its programs by itself
        text = json.dumps({"version": "2", "authtoken": self._token, "update_check": False})
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        environment = {k: v for k, v in os.environ.items() if not _is_secret(k, v, self._token)}
        start = [str(self._binary), "start", "--none", "--log", "stdout"]
        return [*start, "--config", str(path)], environment

    def read(self, line: str) -> Up | Down | None:
        """Learn from a line of the agent's log."""
        line = self._hide(line)
        logger.debug("ngrok: %s", line)
        log = NgrokLog(line)
        message = log.msg or ""
        if log.err is not None and log.lvl in ("ERROR", "CRITICAL"):
            self._error = log.err
        self._raise_known(line)
        if "starting web service" in message and log.addr:
            self._api = f"http://{log.addr}"
        elif "client session established" in message:
            self.clean()  # the agent has read the token; it need not stay on disk
            # a session that was lost and came back keeps its endpoint
            return Up(self._address or self._open_endpoint())
        elif "started tunnel" in message and (url := getattr(log, "url", None)):
            return self._up(url)
        elif self._address is not None and message.startswith(LOST):
            return Down(f"ngrok lost its connection and is reconnecting: {self._error or message}")
        return None

    def failure(self, code: int | None, seconds: float) -> SettingError:
        """Say why the agent did not bring the tunnel up, or ended."""
        reason = f": {_sentence(self._error)}" if self._error else ""
        if code is None:
            return SettingError(
                f"ngrok gave no address within {seconds:g} seconds{reason}",
                place=Place(setting="--tunnel"),
                next_step="see that this computer may connect to ngrok's service"
                " (connect.ngrok-agent.com, port 443), or raise --tunnel-timeout",
            )
        return SettingError(
            f"ngrok's agent ended with exit code {code}{reason}",
            place=Place(setting="--tunnel"),
            next_step=f"try it by hand: {self._binary} version",
        )

    def clean(self) -> None:
        """Remove the configuration."""
        if self._folder is not None:
            self._folder.cleanup()

    def _hide(self, text: str) -> str:
        return text.replace(self._token, HIDDEN)

    def _open_endpoint(self) -> str:
        if self._api is None:
            raise self._refused("its log names no local interface")
        request = urllib.request.Request(  # noqa: S310 - http, see `_api`
            f"{self._api}/api/tunnels",
            data=json.dumps(self._endpoint).encode(),
            headers={"Content-Type": "application/json"},
        )
        # a proxy that HTTP_PROXY names must not be asked for this computer's own agent
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=REQUEST_TIMEOUT) as response:
                url = json.load(response)["public_url"]
        except urllib.error.HTTPError as error:
            answer = self._hide(error.read().decode("utf-8", "replace"))
            self._raise_known(answer)
            raise self._refused(_sentence(_detail(answer))) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._refused(f"its local interface failed: {error}") from None
        return self._up(str(url)).address

    def _up(self, url: str) -> Up:
        if not url.startswith("tcp://"):
            raise self._refused(f"{url} is no TCP address, so TLS would end at ngrok")
        self._address = join_address(*split_address(url))
        return Up(self._address)

    def _raise_known(self, text: str) -> None:
        found = _CODE.search(text)
        if found is not None and found[1] in KNOWN:
            setting, cause, step = KNOWN[found[1]]
            raise SettingError(
                f"{cause} ({found[0]})", place=Place(setting=setting), next_step=step
            )

    def _refused(self, reason: str) -> SettingError:
        return SettingError(
            f"ngrok did not open the endpoint: {reason}",
            place=Place(setting="--tunnel"),
            next_step="look the code up at https://ngrok.com/docs/errors"
            if _CODE.search(reason)
            else "install the newest ngrok, or use --tunnel command",
        )


def _is_secret(name: str, value: str, token: str) -> bool:
    return name in ("NGROK_AUTHTOKEN", "NGROK_API_KEY") or token in value


def _detail(answer: str) -> str:
    """Return the reason in an error answer of the agent's local interface."""
    try:
        return str(json.loads(answer)["details"]["err"])
    except (ValueError, KeyError, TypeError):
        return answer


def _sentence(text: str) -> str:
    """Return `text`, which ngrok breaks into lines, as one line."""
    return " ".join(text.replace("\\r", " ").replace("\\n", " ").split())
