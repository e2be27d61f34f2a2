"""A real TCP forwarder: ``forwarder.py HOST PORT`` prints the address that leads there."""

from __future__ import annotations

import socket
import sys
import threading


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        try:
            end.shutdown(how)
        except OSError:
            continue


def forward(listener: socket.socket, host: str, port: int) -> None:
    """Carry every connection of `listener` to `host` and `port`."""
    while True:
        outer, _ = listener.accept()
        try:
            inner = socket.create_connection((host, port))
        except OSError:
            outer.close()
            continue
        for ends in ((outer, inner), (inner, outer)):
            threading.Thread(target=pump, args=ends, daemon=True).start()


def main(host: str, port: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"12:00:01 [main.go:12] carrying {host}:{port} with token=hunter2hunter2\n")
    sys.stdout.write(f"\x1b[32mListening at 127.0.0.1:{listener.getsockname()[1]}.\x1b[0m\n")
    sys.stdout.flush()
    forward(listener, host, port)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
