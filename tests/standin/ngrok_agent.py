"""A stand-in for ngrok's agent, because ngrok's cloud cannot be had in a test.

It takes the agent's arguments and configuration, prints the agent's log lines, answers its local
interface as pyngrok uses it (``/api/tunnels``), and really forwards TCP: its public addresses are
ports of this computer. What ngrok's cloud would decide, the token decides here: ``refused…``,
``nocard…`` and ``offline…``. SIGUSR1 is a connection that is lost and comes back.

Each start leaves a file in the folder that STANDIN_RECORD names: arguments, environment,
configuration and its permissions, as the agent found them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from forwarder import forward


def log(level: str, message: str, **fields: str) -> None:
    pairs = {"lvl": level, "msg": message, **fields}
    text = " ".join(f"{key}={json.dumps(value)}" for key, value in pairs.items())
    sys.stdout.write(f"t=2025-06-01T12:00:00+0000 {text}\n")
    sys.stdout.flush()


def record(path: Path) -> None:
    data = {
        "pid": os.getpid(),
        "arguments": sys.argv,
        "environment": dict(os.environ),
        "configuration": str(path),
        "mode": oct(path.stat().st_mode & 0o777),
        "folder_mode": oct(path.parent.stat().st_mode & 0o777),
    }
    target = Path(os.environ["STANDIN_RECORD"]) / f"{os.getpid()}.json"
    draft = target.with_suffix(".part")
    draft.write_text(json.dumps(data), encoding="utf-8")
    draft.rename(target)


class LocalInterface(BaseHTTPRequestHandler):
    token = ""

    def do_GET(self) -> None:
        self._answer(200, {"tunnels": [], "uri": "/api/tunnels"})

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.token.startswith("nocard"):
            reason = "failed to start tunnel: You must add a card.\r\n\r\nERR_NGROK_8013\r\n"
            self._answer(502, {"error_code": 103, "status_code": 502, "details": {"err": reason}})
            return
        assert wanted["proto"] == "tcp"
        host, _, port = wanted["addr"].rpartition(":")
        listener = socket.create_server(
            ("127.0.0.1", int(wanted.get("remote_addr", ":0").rpartition(":")[2]))
        )
        threading.Thread(target=forward, args=(listener, host, int(port)), daemon=True).start()
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        log("info", "started tunnel", obj="tunnels", name=wanted["name"], url=url)
        self._answer(201, {"name": wanted["name"], "proto": "tcp", "public_url": url})

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> int:
    arguments = sys.argv[1:]
    assert arguments[:4] == ["start", "--none", "--log", "stdout"], arguments
    path = Path(arguments[arguments.index("--config") + 1])
    record(path)
    configuration = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert configuration["version"] == "2"
    token = configuration["authtoken"]
    log("info", "open config file", path=str(path), err="nil")
    if token.startswith("refused"):
        # the agent shows the token, on standard error and in its log
        reason = (
            "The authtoken you specified is properly formed, but it is invalid.\r\n"
            f"Your authtoken: {token}\r\n\r\nERR_NGROK_107\r\n"
        )
        sys.stderr.write(f"ERROR:  authentication failed: {reason}")
        sys.stderr.flush()
        log("eror", "failed to auth", obj="tunnels.session", err=reason)
        log("crit", "command failed", err=f"authentication failed: {reason}")
        return 1
    LocalInterface.token = token
    interface = ThreadingHTTPServer(("127.0.0.1", 0), LocalInterface)
    threading.Thread(target=interface.serve_forever, daemon=True).start()
    log("info", "starting web service", obj="web", addr=f"127.0.0.1:{interface.server_port}")
    if token.startswith("offline"):
        reason = "dial tcp: lookup connect.ngrok-agent.com: no such host"
        log("eror", "failed to reconnect session", obj="tunnels.session", err=reason)
    else:
        log("info", "tunnel session started", obj="tunnels.session")
        log("info", "client session established", obj="csess", id="1c907e548f56")
    while True:
        signal.sigwait({signal.SIGUSR1})
        log("eror", "session closed, starting reconnect loop", obj="csess", err="read EOF")
        log("info", "tunnel session started", obj="tunnels.session")
        log("info", "client session established", obj="csess", id="1c907e548f56")


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    sys.exit(main())
