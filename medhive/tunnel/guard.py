"""Run a program that must not outlive MedHive: ``python guard.py PROGRAM ARGUMENT...``.

MedHive holds the other end of this process's standard input. When MedHive ends in any way, even
killed, the input ends, and this process ends its whole process group, the program in it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main(command: list[str]) -> int:
    """Run `command` until it ends or MedHive does, and return its exit code."""
    # a handler, unlike SIG_IGN, is not handed down: SIGTERM ends the program, and then this
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - no shell
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        return 126
    threading.Thread(target=_end_with_medhive, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _end_with_medhive() -> None:
    # not sys.stdin: its lock would be held at the interpreter's exit
    while os.read(0, 1024):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
