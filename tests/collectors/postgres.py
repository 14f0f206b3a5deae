"""A real PostgreSQL server on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from tests.ports import free_port


class Server:
    """PostgreSQL on loopback, in a folder of its own; it refuses root, so root becomes `postgres`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        self._as = (
            ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"] if os.getuid() == 0 else []
        )
        if self._as:
            shutil.chown(folder, "postgres", "postgres")
        self.run("initdb", "-D", f"{folder}/db", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *words: str) -> None:
        """One of its programs, as the user it wants."""
        command = [*self._as, str(self.programs / program), *words]
        with (self.folder.parent / "pg.out").open("ab") as said:
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=60, cwd="/")

    def start(self, more: str = "") -> None:
        """Start and wait; `more` are options of the server."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=32MB"
        self.run(
            "pg_ctl", "-D", f"{self.folder}/db", "-w", "-l", f"{self.folder}/log", "-o", f"{options} {more}", "start"
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop; `immediate` is a crash."""
        self.run("pg_ctl", "-D", f"{self.folder}/db", "-w", "-m", mode, "stop")

    def connect(self) -> psycopg.Connection[Any]:
        """As the owner."""
        return psycopg.connect(self.url)
