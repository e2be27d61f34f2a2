"""A PostgreSQL server of the tests' own, from the system's package."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

OWNER = "owner"
PASSWORD = "s3cret-owner"  # noqa: S105


@dataclass
class Postgres:
    """A running server on a free port, whose owner has a password."""

    port: int
    folder: Path
    programs: Path

    @classmethod
    def programs_here(cls) -> Path | None:
        """Return the folder of the server's programs."""
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        found = shutil.which("initdb")
        if found is not None:
            folders.append(Path(found).resolve().parent)
        return next((f for f in reversed(folders) if (f / "pg_ctl").exists()), None)

    @classmethod
    def start(cls) -> Self:
        programs = cls.programs_here()
        assert programs is not None
        folder = Path(tempfile.mkdtemp(prefix="medhive-postgres-"))
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            # the server refuses to run as root
            user = pwd.getpwnam("postgres")
            for path in (folder, folder / "password"):
                os.chown(path, user.pw_uid, user.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = cls(port, folder, programs)
        options = "-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        try:
            server.run(
                "initdb", "-U", OWNER, "-A", "scram-sha-256", "--pwfile", folder / "password"
            )
            log = folder / "log"
            server.run("pg_ctl", "-w", "-t", "60", "-l", log, "-o", f"{options} -p {port}", "start")
        except BaseException:
            server.close()
            raise
        return server

    def run(self, program: str, *arguments: object) -> None:
        user = "postgres" if os.geteuid() == 0 else None
        # not a pipe, which the server would inherit and keep open
        with (self.folder / "errors").open("w+") as errors:
            done = subprocess.run(
                [self.programs / program, "-D", self.folder / "data", *map(str, arguments)],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                user=user,
                cwd=self.folder,
                check=False,
            )
            errors.seek(0)
            if done.returncode:
                log = self.folder / "log"
                raise RuntimeError(errors.read() + (log.read_text() if log.exists() else ""))

    def url(self, user: str = OWNER, database: str = "postgres") -> str:
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def close(self) -> None:
        # it never started where it cannot be stopped
        with suppress(RuntimeError):
            self.run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(self.folder)
